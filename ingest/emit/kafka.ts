/**
 * The topic's end of emitting: an idempotent kafkajs producer that many emitters share. It keeps one request under way, and whatever
 * arrives meanwhile goes with the next one: the busier, the fuller the requests. Messages of one key stay in order.
 * A caller is told once every replica has its messages; on a failure they may or may not be there, and sending again is safe (`seq`).
 */
import kafkajs, { type Kafka, type Producer } from 'kafkajs'
import type { Message } from './emitter.ts'

/** Bytes as they are, without an emitter: for replaying what was refused, and for resending. */
export interface RawMessage {
  readonly key: Buffer | string | null
  readonly value: Buffer | string | null
  readonly headers?: Readonly<Record<string, Buffer | string>>
}

export interface KafkaSenderOptions {
  readonly brokers: readonly string[]
  readonly topic: string
  readonly client_id?: string
}

export interface KafkaSender {
  connect(): Promise<void>
  /** As an emitter's `send`. Rejects when the broker could not be reached for about half a minute, or refused. */
  send(messages: readonly Message[]): Promise<void>
  sendRaw(messages: readonly RawMessage[]): Promise<void>
  /** Waits for what is under way; the rest is rejected. */
  disconnect(): Promise<void>
}

/** Uncompressed; gzip makes a fifth of it. Below the topic's limit by far, and what the broker checks first. */
const REQUEST_BYTES = 800_000
const REQUEST_MESSAGES = 5_000
/** In all under five minutes: beyond that a message's `sent_at_ms` would pass for a wrong clock. Emitters stamp and try again. */
const RETRY = { initialRetryTime: 100, maxRetryTime: 5_000, retries: 8 }
const REQUEST_TIMEOUT_MS = 15_000

interface Waiting {
  readonly messages: readonly RawMessage[]
  readonly resolve: () => void
  readonly reject: (error: unknown) => void
}

export function createKafkaSender({
  brokers,
  topic,
  client_id = 'stream-quality-emit',
}: KafkaSenderOptions): KafkaSender {
  const producer = createProducer(
    new kafkajs.Kafka({
      clientId: client_id,
      brokers: [...brokers],
      logLevel: kafkajs.logLevel.NOTHING,
      requestTimeout: REQUEST_TIMEOUT_MS,
      retry: RETRY,
    }),
  )
  let waiting: Waiting[] = []
  let sending: Promise<void> | undefined

  async function sendWaiting(): Promise<void> {
    while (waiting.length > 0) {
      const taken = takeRequest(waiting)
      waiting = waiting.slice(taken.length)
      try {
        await producer.send({
          topic,
          acks: -1,
          compression: kafkajs.CompressionTypes.GZIP,
          messages: taken.flatMap(({ messages }) => messages.map(toKafka)),
        })
        for (const { resolve } of taken) resolve()
      } catch (error) {
        for (const { reject } of taken) reject(error)
      }
    }
    sending = undefined
  }

  const sendRaw = (messages: readonly RawMessage[]): Promise<void> => {
    if (messages.length === 0) return Promise.resolve()
    return new Promise((resolve, reject) => {
      waiting.push({ messages, resolve, reject })
      sending ??= sendWaiting()
    })
  }

  return {
    connect: () => producer.connect(),
    send: sendRaw,
    sendRaw,
    async disconnect() {
      const left = waiting
      waiting = []
      for (const { reject } of left) reject(new Error('the sender was disconnected'))
      await sending
      await producer.disconnect()
    },
  }
}

const createProducer = (kafka: Kafka): Producer =>
  kafka.producer({
    // One request at a time: kafkajs keeps its sequence numbers in order only so.
    idempotent: true,
    maxInFlightRequests: 1,
    createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
    retry: RETRY,
  })

/** The first callers whose messages fit into one request; at least one. */
function takeRequest(waiting: readonly Waiting[]): readonly Waiting[] {
  let bytes = 0
  let count = 0
  const end = waiting.findIndex(({ messages }, index) => {
    count += messages.length
    bytes += messages.reduce((sum, { value }) => sum + (value?.length ?? 0), 0)
    return index > 0 && (bytes > REQUEST_BYTES || count > REQUEST_MESSAGES)
  })
  return end < 0 ? waiting : waiting.slice(0, end)
}

const toKafka = ({ key, value, headers }: RawMessage) => ({
  key,
  value,
  ...(headers ? { headers: { ...headers } } : {}),
})
