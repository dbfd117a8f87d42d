/**
 * What sessions like this one sustained: cohorts of sessions over a day, each session with one vote, and of each cohort the quantiles. Pure;
 * computed in steps, since it runs beside requests. Lower bounds count as what they are (`statistics/survival.ts`).
 *
 * **Like this one** is said by levels, from the narrowest: whoever shares all of isp, region, access, device and game; then without the
 * game, which changes what is asked of a network and hardly what that carries; then without the device, the region (how far the host is),
 * the isp, and at last the access. The first level with enough sessions answers. One that names a dimension the caller does not know is none.
 */
import type { Context } from '../../ingest/contract/events.ts'
import type { Steps } from '../statistics/slices.ts'
import { plainQuantile, survivalQuantiles } from '../statistics/survival.ts'
import type { Sustained } from './priors-evidence.ts'
import type { Prior } from './state.ts'

/** Of a context what a cohort may have in common. */
export const PRIOR_DIMENSIONS = [
  'isp',
  'region',
  'access',
  'device',
  'game',
] as const satisfies readonly (keyof Context)[]
export type PriorContext = Pick<Context, (typeof PRIOR_DIMENSIONS)[number]>

export const GLOBAL = 'global'
const LEVELS = [
  ['isp', 'region', 'access', 'device', 'game'],
  ['isp', 'region', 'access', 'device'],
  ['isp', 'region', 'access'],
  ['isp', 'access'],
  ['access'],
  [],
] as const satisfies readonly (readonly (keyof PriorContext)[])[]
const nameOf = (level: (typeof LEVELS)[number]): string => level.join('+') || GLOBAL
export const PRIOR_LEVELS = LEVELS.map(nameOf)

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
export const PRIOR_OPTIONS: PriorOptions = { sessions_min: 30, start_share: 0.25, cap_share: 0.9 }

const TOLD = [0.1, 0.25, 0.5, 0.75, 0.9] as const
/** A quantile that stands on fewer is what one session more or less makes of it. */
const AT_RISK_MIN = 3

type Figures = Omit<Prior, 'level' | 'levels'>
const UNKNOWN: Figures = {
  ...{ p10_kbps: null, p25_kbps: null, p50_kbps: null, p75_kbps: null, p90_kbps: null },
  ...{ rtt_p50_us: null, packet_loss_pct: null, start_bitrate_kbps: null, cap_kbps: null },
}

/** Sessions that share a level's values. */
interface Cohort {
  readonly n: number
  /** Undefined: too few. */
  readonly figures: Figures | undefined
}

/** Undefined: the context does not know a dimension of the level. */
function keyOf(level: (typeof LEVELS)[number], context: PriorContext): string | undefined {
  let key = nameOf(level)
  for (const dimension of level) {
    const value = context[dimension]
    if (value === undefined) return undefined
    // No value holds a control character.
    key += `\n${value}`
  }
  return key
}

export class Priors {
  readonly #cohorts: ReadonlyMap<string, Cohort>
  readonly sessions: number

  constructor(cohorts: ReadonlyMap<string, Cohort>) {
    this.#cohorts = cohorts
    this.sessions = cohorts.get(GLOBAL)?.n ?? 0
  }

  /** Of the narrowest level that has enough sessions; nothing but how many there are, where not even all of them are enough. */
  of(context: PriorContext): Prior {
    const levels: { level: string; n: number }[] = []
    let answer: (Figures & { level: string }) | undefined
    for (const dimensions of LEVELS) {
      const key = keyOf(dimensions, context)
      if (key === undefined) continue
      const cohort = this.#cohorts.get(key)
      const level = nameOf(dimensions)
      levels.push({ level, n: cohort?.n ?? 0 })
      if (!answer && cohort?.figures) answer = { ...cohort.figures, level }
    }
    return { ...(answer ?? { ...UNKNOWN, level: GLOBAL }), levels }
  }
}

/** Between two looks at the clock. */
const SESSIONS_A_STEP = 200

export function* priorsOf(sessions: Iterable<PriorSession>, options: PriorOptions = PRIOR_OPTIONS): Steps<Priors> {
  const members = new Map<string, PriorSession[]>()
  let taken = 0
  for (const session of sessions) {
    for (const level of LEVELS) {
      const key = keyOf(level, session.context)
      if (key === undefined) continue
      const like = members.get(key)
      if (like) like.push(session)
      else members.set(key, [session])
    }
    if (++taken % SESSIONS_A_STEP === 0) yield
  }
  const cohorts = new Map<string, Cohort>()
  for (const [key, like] of members) {
    const figures = like.length < options.sessions_min ? undefined : yield* figuresOf(like, options)
    cohorts.set(key, { n: like.length, figures })
    if (figures || cohorts.size % SESSIONS_A_STEP === 0) yield
  }
  return new Priors(cohorts)
}

function* figuresOf(sessions: readonly PriorSession[], options: PriorOptions): Steps<Figures> {
  const sorted = (of: (session: PriorSession) => number | null | undefined): Float64Array =>
    Float64Array.from(sessions.flatMap(session => of(session) ?? [])).sort()
  const observed = sorted(({ kbps, censored }) => (censored ? null : kbps))
  yield
  const bounds = sorted(({ kbps, censored }) => (censored ? kbps : null))
  yield
  const quantile = (p: number): number | null => survivalQuantiles(observed, bounds, [p], AT_RISK_MIN)[0] ?? null
  const [p10_kbps = null, p25_kbps = null, p50_kbps = null, p75_kbps = null, p90_kbps = null] = survivalQuantiles(
    ...([observed, bounds, TOLD, AT_RISK_MIN] as const),
  )
  yield
  const rtt_p50_us = plainQuantile(
    sorted(({ rtt_p50_us }) => rtt_p50_us),
    0.5,
  )
  yield
  const losses = sessions.flatMap(({ packet_loss_pct }) => packet_loss_pct ?? [])
  return {
    ...{ p10_kbps, p25_kbps, p50_kbps, p75_kbps, p90_kbps, rtt_p50_us },
    packet_loss_pct: losses.length > 0 ? losses.reduce((sum, pct) => sum + pct, 0) / losses.length : null,
    // Where too few were ever at a limit to tell how much is sustained, this much is at least.
    start_bitrate_kbps:
      quantile(options.start_share) ??
      plainQuantile(
        sorted(({ kbps }) => kbps),
        options.start_share,
      ),
    cap_kbps: quantile(options.cap_share),
  }
}
