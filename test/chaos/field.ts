/**
 * A whole pipeline under load that things can be killed in: a broker, ClickHouse, two ingesters, each with a proxy of its own that
 * says when a step is under way. After any number of kills, `judge` says what was lost, doubled or wrong.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Part } from '../../local/supervise.ts'
import { until, type Verdict, vitalOf } from '../support/verify.ts'
import { Load } from './load.ts'
import { ClickHouseProxy } from './proxy.ts'
import type { Kind, Shot } from './shots.ts'
import { dead, type IngesterSpec, PARTITIONS, Stand } from './stand.ts'

/** One ingester and its own way to ClickHouse. */
interface Lane extends IngesterSpec {
  readonly proxy: ClickHouseProxy
  part: Part
  /** Being started beside what else happens. */
  starting: Promise<void> | undefined
}

/** What became of a shot. */
export interface Hit {
  /** False: the window did not open in time, nothing was done. */
  readonly landed: boolean
  /** From the shot until every partition had stored a record that Kafka took after it. */
  readonly recovered_ms: number
}

const SETTINGS = {
  /** The dead are noticed after this, which is most of what a kill takes. */
  KAFKA_SESSION_TIMEOUT_MS: '2000',
  INGEST_FLUSH_MS: '100',
  SETTLE_EVERY_MS: '500',
}
/** Kills take what processor there is for starting again: a load that takes less of it makes room for more of them. */
const EVENTS_PER_SECOND = 1_000
/** An ingester told to stop while ClickHouse is dead. */
const STOP_WITHIN_MS = 5_000
/** How long a window may take to open, and everything to work again after a kill. */
const OPEN_WITHIN_MS = 90_000
const RECOVER_WITHIN_MS = 120_000

export class Field {
  readonly #stand: Stand
  readonly #lanes: Lane[] = []
  #load: Load | undefined

  private constructor(stand: Stand) {
    this.#stand = stand
  }

  static async start(): Promise<Field> {
    const field = new Field(await Stand.start(SETTINGS))
    try {
      await field.#start()
    } catch (error) {
      await field.stop()
      throw error
    }
    return field
  }

  get produced(): number {
    return this.#load?.produced ?? 0
  }

  async #start(): Promise<void> {
    for (let lane = 0; lane < 2; lane++) {
      const proxy = await ClickHouseProxy.start(this.#stand.clickhouse_url)
      const ingester = await this.#stand.ingester(`ingester-${lane}`, proxy.url)
      this.#lanes.push({ proxy, ...ingester, part: await this.#stand.start(ingester.spec), starting: undefined })
    }
    this.#load = await Load.start(this.#stand.brokers, EVENTS_PER_SECOND)
  }

  /** Fires once, and returns when everything works again. */
  async shoot({ kind, window }: Shot, lane_index: number): Promise<Hit> {
    const lane = this.#laneAt(lane_index)
    const hit = { at_ms: 0, done: Promise.resolve() }
    const fire = (): Promise<void> => {
      hit.at_ms = Date.now()
      hit.done = this.#hit(kind, lane)
      return hit.done
    }
    if (window === 'random') {
      await sleep(Math.random() * 500)
      await fire()
    } else {
      const opened = new Promise<void>(resolve => {
        lane.proxy.aim({
          window,
          cut: kind === 'cut_connection',
          fire: () => {
            resolve()
            return fire()
          },
        })
      })
      if (window === 'during_take') this.#provokeTake(lane)
      const timer = new AbortController()
      await Promise.race([opened, sleep(OPEN_WITHIN_MS, undefined, { signal: timer.signal }).catch(() => {})])
      timer.abort()
      if (!lane.proxy.lower()) return { landed: false, recovered_ms: 0 }
      await hit.done
    }
    await this.#recover(hit.at_ms)
    return { landed: true, recovered_ms: Date.now() - hit.at_ms }
  }

  async #hit(kind: Kind, lane: Lane): Promise<void> {
    if (kind === 'kill_ingester') await dead(lane.part)
    else if (kind === 'kill_clickhouse') await dead(this.#stand.clickhouse)
    else if (kind === 'kill_broker') await dead(this.#stand.broker)
    else if (kind === 'freeze_ingester') await this.#freeze(lane)
  }

  /** Frozen past its session, until the other ingester has taken everything; then awake again. */
  async #freeze(lane: Lane): Promise<void> {
    const other = this.#otherThan(lane)
    lane.part.kill('SIGSTOP')
    try {
      await until(
        'the other ingester holds all partitions',
        RECOVER_WITHIN_MS,
        async () => (await vitalOf(other.vitals_url, 'ingest_partitions')) === PARTITIONS,
      )
    } finally {
      lane.part.kill('SIGCONT')
    }
  }

  /** The other ingester leaves and comes back: whoever stays must take again. It need not be back yet: what it needs may die. */
  #provokeTake(lane: Lane): void {
    const other = this.#otherThan(lane)
    other.starting = other.part
      .stop(STOP_WITHIN_MS)
      .then(() => this.#stand.start(other.spec))
      .then(part => {
        other.part = part
      })
    other.starting.catch(() => {})
  }

  /** Starts what is dead, all at once, and waits until each partition has something new. */
  async #recover(since_ms: number): Promise<void> {
    const servers = this.#stand.revive().then(({ broker }) => (broker ? this.#load?.reconnect() : undefined))
    const lanes = this.#lanes.map(async lane => {
      await lane.starting?.catch(() => {})
      lane.starting = undefined
      if (lane.part.pid === undefined) lane.part = await this.#stand.start(lane.spec)
    })
    await Promise.all([servers, ...lanes])
    await until('every partition has new rows', RECOVER_WITHIN_MS, async () => {
      const rows = await this.#stand.store.query<{ newest_ms: number }>(
        `SELECT toUnixTimestamp64Milli(max(appended_at)) AS newest_ms FROM events_v1
         WHERE kind != 'gap' GROUP BY kafka_partition`,
      )
      return rows.length === PARTITIONS && rows.every(({ newest_ms }) => newest_ms > since_ms)
    })
  }

  #laneAt(index: number): Lane {
    const lane = this.#lanes[index % this.#lanes.length]
    if (!lane) throw new Error('no lanes')
    return lane
  }

  readonly #otherThan = (lane: Lane): Lane => this.#laneAt(this.#lanes.indexOf(lane) + 1)

  async judge(): Promise<Verdict> {
    await this.#load?.pause()
    return this.#stand.judge(RECOVER_WITHIN_MS)
  }

  /** Copies what the parts said to where somebody can read it after the end. */
  keepLogs(into: string): void {
    this.#stand.keepLogs(into)
  }

  async stop(): Promise<void> {
    await this.#load?.stop()
    await this.#stand.stop()
    for (const lane of this.#lanes) await lane.proxy.stop()
  }
}
