/**
 * What sessions like this one sustained: cohorts of sessions over a day, each session with one vote, and of each cohort the quantiles. Pure;
 * computed in steps, since it runs beside requests. Lower bounds count as what they are (`statistics/survival.ts`).
 *
 * **Like this one** is said by levels, from the narrowest: whoever shares all of isp, region, access, device and game; then without the
 * game, which changes what is asked of a network and hardly what that carries; then without the device, the region (how far the host is),
 * the isp, and at last the access. The first level with enough sessions answers. One that names a dimension the caller does not know is none.
 */
import { DEFAULTS, type Variables } from '../../ingest/runtime/variables.ts'
import type { Steps } from '../statistics/slices.ts'
import { plainQuantile, survivalQuantiles } from '../statistics/survival.ts'
import { type Cohorts, cohortsOf, type PriorContext } from './priors-cohorts.ts'
import type { Sustained } from './priors-evidence.ts'
import type { Prior } from './state.ts'

/** From the widest. */
const LEVELS = [
  'global',
  'access',
  'isp+access',
  'isp+region+access',
  'isp+region+access+device',
  'isp+region+access+device+game',
] as const

export interface PriorSession extends Sustained {
  readonly context: Readonly<PriorContext>
}

export interface PriorOptions {
  /** Sessions that a level needs to answer. */
  readonly sessions_min: number
  /** Where a session should begin: what all but this share sustained. */
  readonly start_share: number
  /** What only the rest beyond this share sustained is above the cap. */
  readonly cap_share: number
}
export const priorOptionsOf = (variables: Variables): PriorOptions => ({
  sessions_min: variables.ABR_PRIOR_SESSIONS_MIN,
  start_share: variables.ABR_START_PERCENTILE / 100,
  cap_share: variables.ABR_CAP_PERCENTILE / 100,
})
export const PRIOR_OPTIONS = priorOptionsOf(DEFAULTS)

const TOLD = [0.1, 0.25, 0.5, 0.75, 0.9] as const
/** A quantile that stands on fewer is what one session more or less makes of it. */
const AT_RISK_MIN = 3

type Figures = Omit<Prior, 'level' | 'levels'>
const UNKNOWN: Figures = {
  ...{ p10_kbps: null, p25_kbps: null, p50_kbps: null, p75_kbps: null, p90_kbps: null },
  ...{ rtt_p50_us: null, packet_loss_pct: null, start_bitrate_kbps: null, cap_kbps: null },
}

export class Priors {
  readonly #cohorts: Cohorts
  /** By level, from the widest, and where the cohort begins; of those with enough sessions. */
  readonly #figures: readonly ReadonlyMap<number, Figures>[]

  constructor(cohorts: Cohorts, figures: readonly ReadonlyMap<number, Figures>[]) {
    this.#cohorts = cohorts
    this.#figures = figures
  }

  get sessions(): number {
    return this.#cohorts.order.length
  }

  /** Of the narrowest level that has enough sessions; nothing but how many there are, where not even all of them are enough. */
  of(context: PriorContext): Prior {
    let answer = UNKNOWN
    let level: string = LEVELS[0]
    const levels = this.#cohorts.rangesOf(context).map(({ from, to }, i) => {
      const name = LEVELS[i] ?? ''
      const figures = to > from ? this.#figures[i]?.get(from) : undefined
      if (figures) {
        answer = figures
        level = name
      }
      return { level: name, n: to - from }
    })
    return { ...answer, level, levels: levels.reverse() }
  }
}

/** Between two looks at the clock. */
const COHORTS_A_STEP = 500

/** What is known of the sessions, in the order of the cohorts; NaN is unknown. Numbers side by side: twenty thousand take a millisecond. */
interface Columns {
  readonly kbps: Float64Array
  readonly censored: Uint8Array
  readonly rtt_us: Float64Array
  readonly loss_pct: Float64Array
}

export function* priorsOf(sessions: readonly PriorSession[], options: PriorOptions = PRIOR_OPTIONS): Steps<Priors> {
  const cohorts = yield* cohortsOf(sessions.map(({ context }) => context))
  yield
  const columns = columnsOf(sessions, cohorts.order)
  yield
  const figures = LEVELS.map(() => new Map<number, Figures>())
  let seen = 0
  for (const { level, from, to } of cohorts.ranges()) {
    if (to - from >= options.sessions_min) figures[level]?.set(from, yield* figuresOf(columns, from, to, options))
    else if (++seen % COHORTS_A_STEP === 0) yield
  }
  return new Priors(cohorts, figures)
}

function columnsOf(sessions: readonly PriorSession[], order: Int32Array): Columns {
  const column = (): Float64Array => new Float64Array(order.length)
  const [kbps, rtt_us, loss_pct, censored] = [column(), column(), column(), new Uint8Array(order.length)]
  for (let i = 0; i < order.length; i++) {
    const session = sessions[order[i] ?? 0]
    kbps[i] = session?.kbps ?? Number.NaN
    censored[i] = session?.censored ? 1 : 0
    rtt_us[i] = session?.rtt_p50_us ?? Number.NaN
    loss_pct[i] = session?.packet_loss_pct ?? Number.NaN
  }
  return { kbps, censored, rtt_us, loss_pct }
}

function* figuresOf(columns: Columns, from: number, to: number, options: PriorOptions): Steps<Figures> {
  const { kbps, censored, rtt_us, loss_pct } = columns
  const observed = sorted(kbps, from, to, n => censored[n] === 0)
  yield
  const bounds = sorted(kbps, from, to, n => censored[n] === 1)
  yield
  const told = survivalQuantiles(observed, bounds, TOLD, AT_RISK_MIN)
  const quantile = (p: number): number | null => survivalQuantiles(observed, bounds, [p], AT_RISK_MIN)[0] ?? null
  const [start, cap_kbps] = [quantile(options.start_share), quantile(options.cap_share)]
  yield
  const all = (): boolean => true
  // Where too few were ever at a limit to tell how much is sustained, this much is at least.
  const start_bitrate_kbps = start ?? plainQuantile(sorted(kbps, from, to, all), options.start_share)
  yield
  const rtt_p50_us = plainQuantile(sorted(rtt_us, from, to, all), 0.5)
  yield
  const losses = sorted(loss_pct, from, to, all)
  const packet_loss_pct = losses.length > 0 ? losses.reduce((sum, pct) => sum + pct, 0) / losses.length : null
  yield
  const [p10_kbps = null, p25_kbps = null, p50_kbps = null, p75_kbps = null, p90_kbps = null] = told
  return {
    ...{ p10_kbps, p25_kbps, p50_kbps, p75_kbps, p90_kbps },
    ...{ rtt_p50_us, packet_loss_pct, start_bitrate_kbps, cap_kbps },
  }
}

/** Of members [from, to) what is known, ascending. */
function sorted(column: Float64Array, from: number, to: number, which: (member: number) => boolean): Float64Array {
  const values = new Float64Array(to - from)
  let known = 0
  for (let n = from; n < to; n++) {
    const value = column[n] ?? Number.NaN
    if (!Number.isNaN(value) && which(n)) values[known++] = value
  }
  return values.subarray(0, known).sort()
}
