/**
 * A whole pipeline under load that things can be killed in: a broker, ClickHouse, two ingesters, each with a proxy of its own that
 * says when a step is under way. After any number of kills, `judge` says what was lost, doubled or wrong.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { createKafkaSender, type KafkaSender } from '../../ingest/emit/kafka.ts'
import { type Environment, readConfig } from '../../ingest/runtime/config.ts'
import { openStore, type Store } from '../../ingest/store/clickhouse.ts'
import { brokerPart } from '../../local/kafka/broker.ts'
import { clickHousePart, ingesterPart } from '../../local/parts.ts'
import { freePort } from '../../local/ports.ts'
import { type Part, type PartSpec, startPart } from '../../local/supervise.ts'
import { eventOf } from '../support/events.ts'
import { until, untilSettled, untilStored, type Verdict, verify } from '../support/verify.ts'
import { ClickHouseProxy, type Window } from './proxy.ts'

export const KINDS = ['kill_ingester', 'freeze_ingester', 'kill_clickhouse', 'kill_broker', 'cut_connection'] as const
export type Kind = (typeof KINDS)[number]

export interface Shot {
  readonly kind: Kind
  readonly window: Window | 'random'
}

/** One ingester and its own way to ClickHouse. */
interface Lane {
  readonly proxy: ClickHouseProxy
  readonly spec: PartSpec
  readonly vitals_port: number
  part: Part
  /** Being started beside what else happens. */
  starting: Promise<void> | undefined
}

const TOPIC = 'chaos.events'
const PARTITIONS = 4
const SESSIONS = 40
const SESSION_TIMEOUT_MS = 3_000
/** An ingester told to stop while ClickHouse is dead. */
const STOP_WITHIN_MS = 5_000
/** How long a window may take to open, and everything to work again after a kill. */
const OPEN_WITHIN_MS = 90_000
const RECOVER_WITHIN_MS = 120_000

export class Field {
  readonly #data_dir = mkdtempSync(join(tmpdir(), 'stream-quality-chaos-'))
  readonly #lanes: Lane[] = []
  #broker: Part | undefined
  #clickhouse: Part | undefined
  #brokerSpec: PartSpec | undefined
  #clickhouseSpec: PartSpec | undefined
  #brokers = ''
  #store: Store | undefined
  #sender: KafkaSender | undefined
  #loading: Promise<void> = Promise.resolve()
  #load = true
  #produced = 0
  #seq = 0
  readonly #start_ms = Date.now() - 60_000

  static async start(): Promise<Field> {
    const field = new Field()
    await field.#start()
    return field
  }

  get produced(): number {
    return this.#produced
  }

  get store(): Store {
    if (!this.#store) throw new Error('not started')
    return this.#store
  }

  async #start(): Promise<void> {
    const [kafka_port, clickhouse_port] = [await freePort(), await freePort()]
    this.#brokers = `127.0.0.1:${kafka_port}`
    const environment = (more: Environment): Environment => ({
      ...process.env,
      DATA_DIR: this.#data_dir,
      CLICKHOUSE_PORT: String(clickhouse_port),
      CLICKHOUSE_URL: undefined,
      CLICKHOUSE_DATABASE: 'chaos',
      KAFKA_BROKERS: this.#brokers,
      KAFKA_TOPIC: TOPIC,
      KAFKA_PARTITIONS: String(PARTITIONS),
      KAFKA_GROUP_ID: 'chaos',
      KAFKA_SESSION_TIMEOUT_MS: String(SESSION_TIMEOUT_MS),
      INGEST_FLUSH_MS: '100',
      SETTLE_EVERY_MS: '200',
      ...more,
    })
    const base = environment({})
    this.#brokerSpec = brokerPart({
      data_dir: this.#data_dir,
      port: kafka_port,
      environment: process.env,
      heap_mb: 256,
      announce: () => {},
    })
    this.#clickhouseSpec = clickHousePart({ config: readConfig(base), environment: base })
    ;[this.#broker, this.#clickhouse] = await Promise.all([
      this.#startPart(this.#brokerSpec),
      this.#startPart(this.#clickhouseSpec),
    ])
    const { clickhouse } = readConfig(base)
    for (let lane = 0; lane < 2; lane++) {
      const vitals_port = await freePort()
      const proxy = await ClickHouseProxy.start(clickhouse.url)
      const own = environment({
        CLICKHOUSE_URL: proxy.url,
        CLICKHOUSE_PASSWORD: clickhouse.password,
        INGEST_VITALS_PORT: String(vitals_port),
      })
      const spec = { ...ingesterPart({ config: readConfig(own), environment: own }), name: `ingester-${lane}` }
      this.#lanes.push({ proxy, spec, vitals_port, part: await this.#startPart(spec), starting: undefined })
    }
    this.#store = openStore(clickhouse)
    this.#sender = createKafkaSender({ brokers: [this.#brokers], topic: TOPIC })
    await this.#sender.connect()
    this.#loading = this.#produce()
  }

  #startPart(spec: PartSpec): Promise<Part> {
    return startPart(spec, { data_dir: this.#data_dir, report: () => {}, restart: false })
  }

  /** About 2,000 events a second, as long as the broker takes them. What fails is sent again: a resend, as a client would. */
  async #produce(): Promise<void> {
    for (; this.#load; this.#seq++) {
      const seq = this.#seq
      const messages = Array.from({ length: SESSIONS }, (_, n) => {
        const event = eventOf(n, seq, this.#start_ms)
        return { key: Buffer.from(event.session_id), value: Buffer.from(JSON.stringify(event)) }
      })
      if (seq % 10 === 3) messages.push({ key: Buffer.from('poison'), value: Buffer.from(`{"v":1,"seq":${seq}`) })
      while (this.#load) {
        try {
          await this.#sender?.sendRaw(messages)
          this.#produced += messages.length
          break
        } catch {
          await sleep(200)
        }
      }
      await sleep(20)
    }
  }

  /** Fires once, and returns when everything works again. False if the window did not open in time. */
  async shoot({ kind, window }: Shot, lane_index: number): Promise<boolean> {
    const lane = this.#laneAt(lane_index)
    if (window === 'random') {
      await sleep(Math.random() * 500)
      await this.#hit(kind, lane)
      if (kind === 'cut_connection') return false
    } else {
      const hit = { done: Promise.resolve() }
      let fired = (): void => {}
      const opened = new Promise<void>(resolve => {
        fired = resolve
      })
      lane.proxy.aim({
        window,
        cut: kind === 'cut_connection',
        fire: () => {
          hit.done = this.#hit(kind, lane)
          fired()
          return hit.done
        },
      })
      if (window === 'during_take') this.#provokeTake(lane)
      const timer = new AbortController()
      await Promise.race([opened, sleep(OPEN_WITHIN_MS, undefined, { signal: timer.signal }).catch(() => {})])
      timer.abort()
      if (!lane.proxy.lower()) return false
      await hit.done
    }
    await this.#recover()
    return true
  }

  async #hit(kind: Kind, lane: Lane): Promise<void> {
    if (kind === 'kill_ingester') await dead(lane.part)
    else if (kind === 'kill_clickhouse') await dead(this.#clickhouse)
    else if (kind === 'kill_broker') await dead(this.#broker)
    else if (kind === 'freeze_ingester') await this.#freeze(lane)
  }

  /** Frozen past its session, until the other ingester has taken everything; then awake again. */
  async #freeze(lane: Lane): Promise<void> {
    const other = this.#lanes.find(each => each !== lane)
    lane.part.kill('SIGSTOP')
    try {
      await until(
        'the other ingester holds all partitions',
        RECOVER_WITHIN_MS,
        async () => (await vital(other, 'ingest_partitions')) === PARTITIONS,
      )
    } finally {
      lane.part.kill('SIGCONT')
    }
  }

  /** The other ingester leaves and comes back: whoever stays must take again. It need not be back yet: what it needs may die. */
  #provokeTake(lane: Lane): void {
    const other = this.#lanes.find(each => each !== lane)
    if (!other) return
    other.starting = other.part
      .stop(STOP_WITHIN_MS)
      .then(() => this.#startPart(other.spec))
      .then(part => {
        other.part = part
      })
    other.starting.catch(() => {})
  }

  /** Starts what is dead and waits until new rows arrive. */
  async #recover(): Promise<void> {
    if (this.#clickhouse?.pid === undefined && this.#clickhouseSpec)
      this.#clickhouse = await this.#startPart(this.#clickhouseSpec)
    if (this.#broker?.pid === undefined && this.#brokerSpec) this.#broker = await this.#startPart(this.#brokerSpec)
    for (const lane of this.#lanes) {
      await lane.starting?.catch(() => {})
      lane.starting = undefined
      if (lane.part.pid === undefined) lane.part = await this.#startPart(lane.spec)
    }
    const before = await this.#rows()
    await until('rows arrive again', RECOVER_WITHIN_MS, async () => (await this.#rows()) > before)
  }

  async #rows(): Promise<number> {
    const rows = await this.store.query<{ n: number }>('SELECT count() AS n FROM events_v1')
    return rows[0]?.n ?? 0
  }

  #laneAt(index: number): Lane {
    const lane = this.#lanes[index % this.#lanes.length]
    if (!lane) throw new Error('no lanes')
    return lane
  }

  /** Stops the load, waits until all is stored and settled, and compares topic, rows and cells. `resume`: the load goes on. */
  async judge(resume = false): Promise<Verdict> {
    this.#load = false
    await this.#loading
    await untilStored(this.store, [this.#brokers], TOPIC, RECOVER_WITHIN_MS)
    await untilSettled(this.store, RECOVER_WITHIN_MS)
    const verdict = await verify(this.store, [this.#brokers], TOPIC)
    if (resume) {
      this.#load = true
      this.#loading = this.#produce()
    }
    return verdict
  }

  async stop(): Promise<void> {
    this.#load = false
    await this.#loading
    await this.#sender?.disconnect().catch(() => {})
    await this.#store?.close()
    for (const lane of this.#lanes) {
      await lane.part.stop()
      await lane.proxy.stop()
    }
    await this.#clickhouse?.stop()
    await this.#broker?.stop()
    rmSync(this.#data_dir, { recursive: true, force: true, maxRetries: 3 })
  }
}

async function dead(part: Part | undefined): Promise<void> {
  part?.kill('SIGKILL')
  await part?.ended
}

async function vital(lane: Lane | undefined, name: string): Promise<number> {
  const response = await fetch(`http://127.0.0.1:${lane?.vitals_port}/metrics`, { signal: AbortSignal.timeout(1_000) })
  const line = (await response.text()).split('\n').find(each => each.startsWith(`${name} `))
  return Number(line?.split(' ')[1] ?? Number.NaN)
}
