/**
 * A rebalance storm: three ingesters, one of them joining or leaving every so often, in order, as in a deployment that cannot make up
 * its mind, while events flow. Says how old the oldest record was that was not stored, at every moment, and judges at the end.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Part } from '../../local/supervise.ts'
import { quantile } from '../support/report.ts'
import { until, type Verdict } from '../support/verify.ts'
import { Load } from './load.ts'
import { type Age, type Recovery, recoveryOf } from './recovery.ts'
import { dead, type IngesterSpec, PARTITIONS, Stand } from './stand.ts'

export interface StormOptions {
  readonly for_ms: number
  readonly every_ms: number
  /** Events a second. */
  readonly rate: number
  /** Uniform in [0, 1). */
  readonly dice: () => number
  readonly say: (line: string) => void
}

interface Change extends Recovery {
  readonly what: 'joins' | 'leaves'
  /** Ingesters that run once it is done. */
  readonly ingesters: number
}

export interface StormResult {
  /** What an age must be below to be as before. */
  readonly before_ms: number
  readonly changes: readonly Change[]
  /** Events a second, as they came. */
  readonly rate: number
  readonly verdict: Verdict
}

interface Lane extends IngesterSpec {
  part: Part | undefined
  /** Joining or leaving. */
  busy: boolean
}

const INGESTERS = 3
/** Code gets warm. */
const WARM_UP_MS = 15_000
/** With a whole minute in it, which is settled at its end. */
const CALM_MS = 65_000
const LOOK_EVERY_MS = 100
const READY_WITHIN_MS = 120_000

export class Storm {
  readonly #options: StormOptions
  readonly #stand: Stand
  readonly #lanes: Lane[] = []
  readonly #ages: Age[] = []
  #load: Load | undefined
  #stopped = false

  private constructor(stand: Stand, options: StormOptions) {
    this.#stand = stand
    this.#options = options
  }

  /** The shipped configuration: sessions of 30 s, batches of half a second. */
  static async start(options: StormOptions): Promise<Storm> {
    const storm = new Storm(await Stand.start({}), options)
    try {
      for (let lane = 0; lane < INGESTERS; lane++) {
        const ingester = await storm.#stand.ingester(`ingester-${lane}`)
        storm.#lanes.push({ ...ingester, part: await storm.#stand.start(ingester.spec), busy: false })
      }
      storm.#load = await Load.start(storm.#stand.brokers, options.rate)
      await until(
        'every partition is stored',
        READY_WITHIN_MS,
        async () => (await storm.#age()) < Number.POSITIVE_INFINITY,
      )
    } catch (error) {
      await storm.stop()
      throw error
    }
    return storm
  }

  async run(): Promise<StormResult> {
    const { for_ms, every_ms, say } = this.#options
    const watching = this.#watch()
    const [started_ms, before] = [performance.now(), this.#load?.produced ?? 0]
    await sleep(WARM_UP_MS)
    this.#ages.length = 0
    await sleep(CALM_MS)
    const calm = this.#ages.splice(0)
    const before_ms = quantile(
      calm.map(({ age_ms }) => age_ms),
      1,
    )
    say(`calm for ${CALM_MS / 1_000} s: the oldest record that is not stored is ${before_ms} ms old at most`)
    const begun: { readonly at_ms: number; readonly what: Change['what']; readonly ingesters: number }[] = []
    const changing: Promise<void>[] = []
    const first_ms = Date.now()
    for (let n = 0; n < Math.floor(for_ms / every_ms) && !this.#stopped; n++) {
      await sleep(first_ms + n * every_ms - Date.now())
      const lane = this.#chosen()
      if (!lane) continue
      const what = lane.part ? 'leaves' : 'joins'
      begun.push({ at_ms: Date.now(), what, ingesters: this.#running + (lane.part ? -1 : 1) })
      changing.push(this.#change(lane))
      say(`${((Date.now() - first_ms) / 1_000).toFixed(0)} s: ${lane.spec.name} ${what}`)
    }
    const end_ms = first_ms + Math.floor(for_ms / every_ms) * every_ms
    await sleep(end_ms - Date.now())
    await Promise.all(changing)
    const changes = begun.map(({ at_ms, what, ingesters }, n) => ({
      what,
      ingesters,
      ...recoveryOf(this.#ages, before_ms, at_ms, begun[n + 1]?.at_ms ?? end_ms),
    }))
    const rate = ((this.#load?.produced ?? 0) - before) / ((performance.now() - started_ms) / 1_000)
    this.#stopped = true
    await watching
    return { before_ms, changes, rate, verdict: await this.#judge() }
  }

  get #running(): number {
    return this.#lanes.filter(({ part }) => part).length
  }

  /** One that may change: at least one stays, and nobody is hurried. */
  #chosen(): Lane | undefined {
    const settled = this.#lanes.filter(({ part, busy }) => !busy && (part === undefined || this.#running > 1))
    return settled[Math.floor(this.#options.dice() * settled.length)]
  }

  async #change(lane: Lane): Promise<void> {
    lane.busy = true
    const { part } = lane
    if (part) {
      lane.part = undefined
      await part.stop()
    } else lane.part = await this.#stand.start(lane.spec)
    lane.busy = false
  }

  /** Kafka gets something new for every partition all the time, so the newest record stored says how old the oldest is that is not. */
  async #age(): Promise<number> {
    const rows = await this.#stand.store.query<{ newest_ms: number }>(
      `SELECT toUnixTimestamp64Milli(max(appended_at)) AS newest_ms FROM events_v1
       WHERE ingested_at > now() - INTERVAL 5 MINUTE AND kind != 'gap' GROUP BY kafka_partition`,
    )
    if (rows.length < PARTITIONS) return Number.POSITIVE_INFINITY
    return Date.now() - Math.min(...rows.map(row => row.newest_ms))
  }

  async #watch(): Promise<void> {
    while (!this.#stopped) {
      const age_ms = await this.#age()
      this.#ages.push({ at_ms: Date.now(), age_ms })
      await sleep(LOOK_EVERY_MS)
    }
  }

  async #judge(): Promise<Verdict> {
    await this.#load?.pause()
    return this.#stand.judge(READY_WITHIN_MS)
  }

  keepLogs(into: string): void {
    this.#stand.keepLogs(into)
  }

  async stop(): Promise<void> {
    this.#stopped = true
    await this.#load?.stop()
    for (const { part } of this.#lanes) if (part) await dead(part)
    await this.#stand.stop()
  }
}
