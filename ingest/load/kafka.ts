/**
 * Kafka as the loader sees it: a topic, an assignment, fetched batches, seeks and commits. The only file that consumes with kafkajs.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Consumer, type EachBatchPayload, Kafka, type KafkaMessage, logLevel } from 'kafkajs'
import type { Log } from '../runtime/log.ts'

export interface FetchedBatch {
  readonly partition: number
  /** Where the fetch was asked to start. */
  readonly fetched_offset: number
  /** The last offset it covers, Kafka's own records included. */
  readonly last_offset: number
  readonly high_watermark: number
  readonly messages: readonly KafkaMessage[]
  /** Keeps the membership while we wait. Throws once the group rebalances. */
  heartbeat(): Promise<void>
}

export interface Listener {
  /** A (re)join of the group: these partitions, from now on. Called before any of their batches. */
  onAssigned(partitions: readonly number[]): void
  /** The group confirmed the membership. */
  onHeartbeat(): void
  onBatch(batch: FetchedBatch): Promise<void>
  /** Offsets [first, last] hold nothing but Kafka's own records or aborted ones. */
  onUndelivered(partition: number, first: number, last: number): void
  /** What a broker answered to a fetch that was sent at this moment (epoch ms) has been handed over. */
  onFetched?(broker: string, asked_ms: number): void
  /** The consumer failed; `restarts`: it tries again by itself. */
  onCrash(error: Error, restarts: boolean): void
}

export interface KafkaOptions {
  readonly brokers: readonly string[]
  readonly topic: string
  readonly group_id: string
  readonly session_timeout_ms: number
  readonly log: Log
}

/** First and behind-last offset of each partition. */
export type LogEnds = ReadonlyMap<number, { readonly low: number; readonly high: number }>

/** How long a fetch may wait for `FETCH_MIN_BYTES`: fewer, fuller fetches cost less; this is part of the freshness. */
const FETCH_WAIT_MS = 100
const FETCH_MIN_BYTES = 64 * 1024
const FETCH_MAX_BYTES_PER_PARTITION = 1024 * 1024
const PARTITIONS_AT_ONCE = 8
/**
 * How long the group waits for a member that does not join again, in session timeouts. kafkajs waits 60 s by default: one member that
 * got lost in a rebalance would hold up all the others for that long.
 */
const REBALANCE_SESSIONS = 2
/** Said here, as kafkajs has other defaults where NODE_ENV is `test`. A consumer that failed starts again after the longest of these. */
const RETRY = { initialRetryTime: 200, maxRetryTime: 5_000, retries: 8 }
/** New partitions are noticed within this. */
const METADATA_MAX_AGE_MS = 30_000
/** Far above what the contract accepts, so that an oversized message arrives and is refused instead of sticking. */
const TOPIC_MAX_MESSAGE_BYTES = 20_000_000

/** The topic's clock is the client's: ages and lags would be whatever a stranger says. */
export class WrongTimestampType extends Error {
  override readonly name = 'WrongTimestampType'
}

/** The group no longer knows us. The type is what kafkajs joins anew for. */
class NoMember extends Error {
  override readonly name = 'NoMember'
  readonly type = 'UNKNOWN_MEMBER_ID'
}

export class KafkaSource {
  readonly #options: KafkaOptions
  readonly #kafka: Kafka
  readonly #consumer: Consumer
  /** When the group last confirmed the membership. */
  #confirmed_ms = Number.POSITIVE_INFINITY

  constructor(options: KafkaOptions) {
    this.#options = options
    this.#kafka = new Kafka({
      clientId: 'stream-quality-ingest',
      brokers: [...options.brokers],
      logLevel: logLevel.WARN,
      logCreator:
        () =>
        ({ namespace, log }) => {
          // kafkajs logs each retry as an error; what matters reaches us as a crash or a join.
          options.log.debug({ namespace, message: log.message, error: log.error }, 'kafkajs')
        },
      retry: RETRY,
    })
    this.#consumer = this.#kafka.consumer({
      groupId: options.group_id,
      sessionTimeout: options.session_timeout_ms,
      rebalanceTimeout: REBALANCE_SESSIONS * options.session_timeout_ms,
      heartbeatInterval: Math.min(3_000, options.session_timeout_ms / 3),
      metadataMaxAge: METADATA_MAX_AGE_MS,
      maxBytesPerPartition: FETCH_MAX_BYTES_PER_PARTITION,
      minBytes: FETCH_MIN_BYTES,
      maxWaitTimeInMs: FETCH_WAIT_MS,
      retry: { ...RETRY, restartOnFailure: async () => true },
    })
  }

  /**
   * Creates the topic if it is missing.
   * @throws WrongTimestampType if it exists without `message.timestamp.type=LogAppendTime`
   */
  async ensureTopic(partitions: number): Promise<void> {
    const { topic } = this.#options
    await this.#withAdmin(async admin => {
      const topics = await admin.listTopics()
      if (!topics.includes(topic)) {
        await admin.createTopics({
          waitForLeaders: true,
          topics: [
            {
              topic,
              numPartitions: partitions,
              configEntries: [
                { name: 'message.timestamp.type', value: 'LogAppendTime' },
                { name: 'max.message.bytes', value: String(TOPIC_MAX_MESSAGE_BYTES) },
              ],
            },
          ],
        })
      }
      const TOPIC_RESOURCE = 2
      const { resources } = await admin.describeConfigs({
        includeSynonyms: false,
        resources: [{ type: TOPIC_RESOURCE, name: topic, configNames: ['message.timestamp.type'] }],
      })
      const type = resources[0]?.configEntries.find(entry => entry.configName === 'message.timestamp.type')?.configValue
      if (type !== 'LogAppendTime') {
        throw new WrongTimestampType(
          `topic ${topic} has message.timestamp.type=${type}; set it to LogAppendTime (kafka-configs --alter --topic ${topic} --add-config message.timestamp.type=LogAppendTime)`,
        )
      }
    })
  }

  async logEnds(): Promise<LogEnds> {
    return this.#withAdmin(async admin => {
      const offsets = await admin.fetchTopicOffsets(this.#options.topic)
      return new Map(offsets.map(({ partition, low, high }) => [partition, { low: Number(low), high: Number(high) }]))
    })
  }

  /** Of each partition the first offset that was appended then or later; where there is none, the one behind the last. */
  async offsetsSince(appended_at_ms: number): Promise<ReadonlyMap<number, number>> {
    return this.#withAdmin(async admin => {
      const offsets = await admin.fetchTopicOffsetsByTimestamp(this.#options.topic, appended_at_ms)
      return new Map(offsets.map(({ partition, offset }) => [partition, Number(offset)]))
    })
  }

  async #withAdmin<T>(use: (admin: ReturnType<Kafka['admin']>) => Promise<T>): Promise<T> {
    const admin = this.#kafka.admin()
    await admin.connect()
    try {
      return await use(admin)
    } finally {
      await admin.disconnect()
    }
  }

  async start(listener: Listener): Promise<void> {
    const { topic } = this.#options
    const consumer = this.#consumer
    const { GROUP_JOIN, HEARTBEAT, CRASH, FETCH_START, FETCH, START_BATCH_PROCESS } = consumer.events
    consumer.on(GROUP_JOIN, ({ payload }) => {
      this.#confirmed_ms = Date.now()
      listener.onAssigned(payload.memberAssignment[topic] ?? [])
    })
    consumer.on(HEARTBEAT, () => {
      this.#confirmed_ms = Date.now()
      listener.onHeartbeat()
    })
    const { onFetched } = listener
    if (onFetched) {
      // Of each broker one fetch at a time, and the next is sent when all of this one's batches were worked off.
      const asked = new Map<number, number>()
      const answered = new Map<number, number>()
      consumer.on(FETCH_START, ({ payload: { nodeId } }) => {
        const asked_ms = answered.get(nodeId)
        if (asked_ms !== undefined) onFetched(String(nodeId), asked_ms)
        answered.delete(nodeId)
        asked.set(nodeId, Date.now())
      })
      consumer.on(FETCH, ({ payload: { nodeId } }) => answered.set(nodeId, asked.get(nodeId) ?? 0))
    }
    consumer.on(CRASH, ({ payload }) => listener.onCrash(payload.error, payload.restart))
    // kafkajs does not hand over a fetch of nothing but control records; it only says that it went by.
    consumer.on(START_BATCH_PROCESS, ({ payload: { partition, batchSize, firstOffset, lastOffset } }) => {
      if (batchSize === 0 && firstOffset) listener.onUndelivered(partition, Number(firstOffset), Number(lastOffset))
    })
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    await consumer.run({
      autoCommit: false,
      partitionsConsumedConcurrently: PARTITIONS_AT_ONCE,
      eachBatch: async payload => {
        this.#mustBeMember()
        const heartbeat = async (): Promise<void> => {
          await payload.heartbeat()
          this.#mustBeMember()
        }
        await listener.onBatch(fetchedBatch(payload, heartbeat))
      },
    })
  }

  /**
   * kafkajs goes on fetching, without heartbeats and for ever, when the group has thrown it out and the broker went away while it joined
   * again. Unconfirmed for a session we are out, whatever it thinks.
   * @throws NoMember, upon which it joins again
   */
  #mustBeMember(): void {
    const silent_ms = Date.now() - this.#confirmed_ms
    if (silent_ms > this.#options.session_timeout_ms) throw new NoMember(`not confirmed for ${silent_ms} ms`)
  }

  seek(partition: number, offset: number): void {
    this.#consumer.seek({ topic: this.#options.topic, partition, offset: String(offset) })
  }

  /** Tells Kafka (and lag tools) how far we are. Advice: the data is the truth. */
  async commit(next: ReadonlyMap<number, number>): Promise<void> {
    const { topic } = this.#options
    await this.#consumer.commitOffsets(
      [...next].map(([partition, offset]) => ({ topic, partition, offset: String(offset) })),
    )
  }

  /** Leaves the group; batches in work are waited for. */
  async stop(): Promise<void> {
    await this.#consumer.disconnect()
  }
}

function fetchedBatch({ batch }: EachBatchPayload, heartbeat: () => Promise<void>): FetchedBatch {
  // Present in kafkajs 2.2.4 though not in its types; without it a jump of position could not be told from a gap.
  const { fetchedOffset } = batch as typeof batch & { fetchedOffset: string }
  return {
    partition: batch.partition,
    fetched_offset: Number(fetchedOffset),
    last_offset: Number(batch.lastOffset()),
    high_watermark: Number(batch.highWatermark),
    messages: batch.messages,
    heartbeat,
  }
}

const HEARTBEAT_EVERY_MS = 1_000

/** Waits for `work` while keeping the membership of the group. Throws what the heartbeat throws: the group rebalances. */
export async function heartbeating(work: Promise<unknown>, heartbeat: () => Promise<void>): Promise<void> {
  let done = false
  const finished = work.then(() => {
    done = true
  })
  while (!done) {
    const timer = new AbortController()
    await Promise.race([finished, sleep(HEARTBEAT_EVERY_MS, undefined, { signal: timer.signal }).catch(() => {})])
    timer.abort()
    await heartbeat()
  }
}
