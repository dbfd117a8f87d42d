/**
 * The real parts that something is done to: a broker, ClickHouse and any number of ingesters, in a directory that goes with them.
 * What dies here stays dead until it is started again; at the end all of it is killed, since nobody needs what it holds.
 */
import { cpSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { type Environment, readConfig } from '../../ingest/runtime/config.ts'
import { openStore, type Store } from '../../ingest/store/clickhouse.ts'
import { brokerPart } from '../../local/kafka/broker.ts'
import { clickHousePart, ingesterPart } from '../../local/parts.ts'
import { freePort } from '../../local/ports.ts'
import { type Part, type PartSpec, startPart } from '../../local/supervise.ts'
import { untilSettled, untilStored, type Verdict, verify } from '../support/verify.ts'

export const TOPIC = 'chaos.events'
export const PARTITIONS = 4

export interface IngesterSpec {
  readonly spec: PartSpec
  readonly vitals_url: string
}

export class Stand {
  readonly brokers: string
  readonly clickhouse_url: string
  readonly store: Store
  readonly #data_dir: string
  readonly #environment: Environment
  readonly #specs: { readonly broker: PartSpec; readonly clickhouse: PartSpec }
  readonly #stopping = new AbortController()
  readonly #starting = new Set<Promise<Part>>()
  readonly #started: Set<Part>
  broker: Part
  clickhouse: Part

  private constructor(
    data_dir: string,
    environment: Environment,
    specs: { readonly broker: PartSpec; readonly clickhouse: PartSpec },
    parts: readonly [Part, Part],
  ) {
    const config = readConfig(environment)
    this.#data_dir = data_dir
    this.#environment = environment
    this.#specs = specs
    this.#started = new Set(parts)
    ;[this.broker, this.clickhouse] = parts
    this.brokers = config.brokers.join(',')
    this.clickhouse_url = config.clickhouse.url
    this.store = openStore(config.clickhouse)
  }

  static async start(settings: Environment): Promise<Stand> {
    const data_dir = mkdtempSync(join(tmpdir(), 'stream-quality-chaos-'))
    const [kafka_port, clickhouse_port] = [await freePort(), await freePort()]
    const environment: Environment = {
      ...process.env,
      DATA_DIR: data_dir,
      CLICKHOUSE_PORT: String(clickhouse_port),
      CLICKHOUSE_URL: undefined,
      CLICKHOUSE_DATABASE: 'chaos',
      KAFKA_BROKERS: `127.0.0.1:${kafka_port}`,
      KAFKA_TOPIC: TOPIC,
      KAFKA_PARTITIONS: String(PARTITIONS),
      KAFKA_GROUP_ID: 'chaos',
      ...settings,
    }
    const specs = {
      broker: brokerPart({ data_dir, port: kafka_port, environment, heap_mb: 256, short_lived: true }),
      clickhouse: clickHousePart({ config: readConfig(environment), environment }),
    }
    const starting = [startHere(specs.broker, data_dir), startHere(specs.clickhouse, data_dir)] as const
    try {
      return new Stand(data_dir, environment, specs, await Promise.all(starting))
    } catch (error) {
      await endAll(starting)
      discard(data_dir)
      throw error
    }
  }

  /** An ingester that may be started and started again. `url`: its own way to ClickHouse. */
  async ingester(name: string, url = this.clickhouse_url): Promise<IngesterSpec> {
    const vitals_port = await freePort()
    const { CLICKHOUSE_PASSWORD = readConfig(this.#environment).clickhouse.password } = this.#environment
    const environment = {
      ...this.#environment,
      CLICKHOUSE_URL: url,
      CLICKHOUSE_PASSWORD,
      INGEST_VITALS_PORT: String(vitals_port),
    }
    return {
      spec: { ...ingesterPart({ config: readConfig(environment), environment }), name },
      vitals_url: `http://127.0.0.1:${vitals_port}`,
    }
  }

  async start(spec: PartSpec): Promise<Part> {
    const starting = startHere(spec, this.#data_dir, this.#stopping.signal)
    this.#starting.add(starting)
    try {
      const part = await starting
      this.#started.add(part)
      return part
    } finally {
      this.#starting.delete(starting)
    }
  }

  /** Broker and ClickHouse, where they are dead. */
  async revive(): Promise<{ readonly broker: boolean }> {
    const broker_died = this.broker.pid === undefined
    const clickhouse_died = this.clickhouse.pid === undefined
    const [broker, clickhouse] = await Promise.all([
      broker_died ? this.start(this.#specs.broker) : this.broker,
      clickhouse_died ? this.start(this.#specs.clickhouse) : this.clickhouse,
    ])
    this.broker = broker
    this.clickhouse = clickhouse
    return { broker: broker_died }
  }

  /** Waits until all that was produced is stored and settled, and compares topic, rows and cells. Nothing may be produced meanwhile. */
  async judge(within_ms: number): Promise<Verdict> {
    await untilStored(this.store, [this.brokers], TOPIC, within_ms)
    await untilSettled(this.store, within_ms)
    return verify(this.store, [this.brokers], TOPIC)
  }

  /** Copies what the parts said to where somebody can read it after the end. */
  keepLogs(into: string): void {
    cpSync(join(this.#data_dir, 'logs'), into, { recursive: true })
  }

  async stop(): Promise<void> {
    this.#stopping.abort()
    await endAll(this.#starting)
    await Promise.all([...this.#started].map(dead))
    await this.store.close()
    discard(this.#data_dir)
  }
}

const startHere = (spec: PartSpec, data_dir: string, signal?: AbortSignal): Promise<Part> =>
  startPart(spec, { data_dir, report: () => {}, restart: false, ...(signal && { signal }) })

async function endAll(starting: Iterable<Promise<Part>>): Promise<void> {
  for (const part of await Promise.allSettled(starting)) if (part.status === 'fulfilled') await dead(part.value)
}

const discard = (data_dir: string): void => rmSync(data_dir, { recursive: true, force: true, maxRetries: 3 })

/** Killed, and gone. */
export async function dead(part: Part): Promise<void> {
  part.kill('SIGKILL')
  await part.ended
}
