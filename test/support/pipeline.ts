/**
 * One pipeline of a test's own on the shared Kafka and ClickHouse: a topic, a database, an ingester process, and the emitter's
 * sender in front of it. The ingester can be stopped and started again on what it left.
 */
import { type Admin, Kafka, type KafkaMessage, logLevel } from 'kafkajs'
import { createKafkaSender, type KafkaSender } from '../../ingest/emit/kafka.ts'
import type { Environment } from '../../ingest/runtime/config.ts'
import { openStore, type Store } from '../../ingest/store/clickhouse.ts'
import { type ClickHouseAccess, type Service, sharedServices, startIngester, unique } from './services.ts'
import { logEnds, until, untilSettled, untilStored, vitalOf } from './verify.ts'

/** Generous: the machine may be busy with something else entirely. */
export const DEADLINE_MS = 120_000

/** `partition/offset`: where a message stands in a topic of one test. */
export type Place = `${number}/${number}`
const placeOf = (partition: number, offset: number): Place => `${partition}/${offset}`

export class Pipeline {
  readonly topic: string
  readonly database: string
  readonly kafka: Kafka
  readonly store: Store
  readonly sender: KafkaSender
  readonly #environment: Environment
  readonly #clickhouse: ClickHouseAccess
  #ingester: (Service & { readonly vitals_url: string }) | undefined

  private constructor(name: string, environment: Environment, ingesters: ClickHouseAccess) {
    const { brokers, clickhouse } = sharedServices()
    this.topic = name
    this.database = name
    this.kafka = new Kafka({ brokers: [brokers], logLevel: logLevel.NOTHING })
    this.store = openStore({ ...clickhouse, database: name })
    this.sender = createKafkaSender({ brokers: [brokers], topic: name })
    this.#environment = environment
    this.#clickhouse = ingesters
  }

  /** Starts the ingester, which makes the topic and the tables. `through`: another way to ClickHouse, for the ingester alone. */
  static async start(
    prefix: string,
    environment: Environment = {},
    through: (clickhouse: ClickHouseAccess) => Promise<ClickHouseAccess> = async clickhouse => clickhouse,
  ): Promise<Pipeline> {
    const pipeline = new Pipeline(unique(prefix), environment, await through(sharedServices().clickhouse))
    await pipeline.startIngester()
    await pipeline.sender.connect()
    return pipeline
  }

  get brokers(): string[] {
    return [sharedServices().brokers]
  }

  async startIngester(): Promise<void> {
    const { topic, database } = this
    const { brokers } = sharedServices()
    const environment = { KAFKA_SESSION_TIMEOUT_MS: '60000', LOG_LEVEL: 'warn', ...this.#environment }
    this.#ingester = await startIngester({ brokers, clickhouse: this.#clickhouse, topic, database, environment })
  }

  async stopIngester(): Promise<void> {
    await this.#ingester?.part.stop()
    this.#ingester = undefined
  }

  /** Waits until the tables hold the topic to its end. */
  readonly stored = (): Promise<void> => untilStored(this.store, this.brokers, this.topic, DEADLINE_MS)
  /** Waits until every cell is what its rows say. */
  readonly settled = (): Promise<void> => untilSettled(this.store, DEADLINE_MS)

  async admin<T>(use: (admin: Admin) => Promise<T>): Promise<T> {
    const admin = this.kafka.admin()
    await admin.connect()
    try {
      return await use(admin)
    } finally {
      await admin.disconnect()
    }
  }

  /** A vital of the ingester, by its name and label. 0 if nothing was counted yet. */
  async vital(name: string, label = ''): Promise<number> {
    return (await vitalOf(this.#ingester?.vitals_url ?? '', `${name}${label}`)) || 0
  }

  messages(): Promise<Map<Place, KafkaMessage>> {
    return readTopic(this.kafka, this.topic)
  }

  async close(): Promise<void> {
    await this.sender.disconnect()
    await this.store.close()
  }
}

/** Every message of a topic that Kafka delivers, from its beginning to its present end. */
export async function readTopic(kafka: Kafka, topic: string): Promise<Map<Place, KafkaMessage>> {
  const ends = await logEnds([sharedServices().brokers], topic)
  const left = new Map([...ends].filter(([, { low, high }]) => high > low).map(([p, { high }]) => [p, high]))
  const messages = new Map<Place, KafkaMessage>()
  if (left.size === 0) return messages
  const consumer = kafka.consumer({ groupId: unique('reader'), maxWaitTimeInMs: 100 })
  try {
    await consumer.connect()
    await consumer.subscribe({ topic, fromBeginning: true })
    // Also of a fetch of which no message is delivered.
    consumer.on(consumer.events.END_BATCH_PROCESS, ({ payload: { partition, lastOffset } }) => {
      if (Number(lastOffset) + 1 >= (left.get(partition) ?? 0)) left.delete(partition)
    })
    await consumer.run({
      autoCommit: false,
      eachBatch: async ({ batch }) => {
        for (const message of batch.messages) messages.set(placeOf(batch.partition, Number(message.offset)), message)
      },
    })
    await until(`${topic} read to its end`, DEADLINE_MS, () => left.size === 0)
  } finally {
    await consumer.disconnect()
  }
  return messages
}
