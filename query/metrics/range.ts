/**
 * Which time is asked for, and which tier answers it. Pure: `now` and the retention are given.
 * A range is [from, to), snapped outward to whole buckets of its tier; the answer says to what.
 */
import type { Retention } from '../../ingest/store/migrate.ts'
import { TIERS } from '../../ingest/store/settle.ts'
import type { AnswerTier } from './catalogue.ts'
import { Mistake } from './mistake.ts'

/** A moment as asked: absolute, or some way before now. */
export type Moment = { readonly at_ms: number } | { readonly before_now_ms: number }

const UNIT_MS = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const
const isUnit = (text: string): text is keyof typeof UNIT_MS => Object.hasOwn(UNIT_MS, text)
/** Where `DateTime` ends for us. */
const LAST_MS = Date.UTC(2100, 0, 1)
const ISO_8601 = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2}(\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2}))?$/

function lengthMs(text: string): number | undefined {
  const [, count, unit] = /^(\d{1,6})([smhd])$/.exec(text) ?? []
  return count !== undefined && unit !== undefined && isUnit(unit) ? Number(count) * UNIT_MS[unit] : undefined
}

/** `now`, `now-15m`, epoch milliseconds, or ISO 8601 with its zone (a date alone is midnight UTC). Undefined: none of these. */
export function parseMoment(text: string): Moment | undefined {
  if (text === 'now') return { before_now_ms: 0 }
  if (text.startsWith('now-')) {
    const before_now_ms = lengthMs(text.slice('now-'.length))
    return before_now_ms === undefined ? undefined : { before_now_ms }
  }
  const at_ms = /^\d{1,13}$/.test(text) ? Number(text) : ISO_8601.test(text) ? Date.parse(text) : Number.NaN
  return at_ms >= 0 && at_ms <= LAST_MS ? { at_ms } : undefined
}

/** `auto`, or a whole number of ten seconds: `10s`, `1m`, `90s`, `6h`, `1d`. Seconds; undefined: neither. */
export function parseStep(text: string): number | 'auto' | undefined {
  if (text === 'auto') return 'auto'
  const step_s = (lengthMs(text) ?? 0) / 1_000
  return step_s > 0 && step_s % TIERS['10s'].seconds === 0 ? step_s : undefined
}

export interface Asked {
  readonly from: Moment
  readonly to: Moment
  readonly tier?: AnswerTier | undefined
  /** Undefined: the range as one. */
  readonly step?: number | 'auto' | undefined
}

/** What is answered. Times are epoch seconds, whole buckets of the tier. */
export interface Window {
  readonly from: number
  readonly to: number
  readonly tier: AnswerTier
  readonly step_s: number | undefined
  readonly now_ms: number
}

export const BUCKETS_MAX = 5_000
/** From the finest: up to here a tier is as fast as anybody notices, and its tail is fresher. */
export const RANGE_MAX_S = { '10s': 30 * 60, minute: 12 * 3_600, hour: Number.POSITIVE_INFINITY } as const
const COARSENING = ['10s', 'minute', 'hour'] as const satisfies readonly (keyof typeof RANGE_MAX_S)[]
/** Cells computed on the fly cost a hundred times what settled ones do. */
const EVENTS_RANGE_MAX_S = 6 * 3_600
/** About as many points as a chart has room for. */
export const AUTO_BUCKETS = 360
/** Over more than this a chart has a point an hour: finer ones would have to be read from minutes. */
export const AUTO_HOURS_FROM_S = 2 * 86_400
export const AUTO_STEPS_S = [10, 30, 60, 300, 900, 1_800, 3_600, 7_200, 21_600, 43_200, 86_400, 7 * 86_400, 30 * 86_400]
const DAY_S = 86_400

export const bucketSeconds = (tier: AnswerTier): number => TIERS[tier === 'events' ? '10s' : tier].seconds

/** @throws Mistake naming the parameter */
export function chooseWindow(asked: Asked, now_ms: number, retention: Retention): Window {
  const { from_s, to_s } = resolveRange(asked, now_ms)
  const reaching = COARSENING.filter(tier => !isForgotten(tier, from_s, now_ms / 1_000, retention))
  const least_s = bucketSeconds(asked.tier ?? reaching[0] ?? 'hour')
  const step_s = asked.step === 'auto' ? autoStep(to_s - from_s, least_s, asked.tier) : asked.step
  const tier = asked.tier ?? chooseTier(to_s - from_s, step_s, reaching)
  const bucket_s = bucketSeconds(tier)
  checkTier(tier, asked.tier === undefined ? 'step' : 'tier', from_s, to_s, now_ms / 1_000, retention)
  if (step_s !== undefined && step_s % bucket_s !== 0)
    throw new Mistake('bad_step', 'step', `step must be a whole number of the ${tier} tier's ${bucket_s} s`)
  const { from, to } = snapped(from_s, to_s, bucket_s)
  if (step_s !== undefined && bucketStarts(from, to, step_s).count > BUCKETS_MAX)
    throw new Mistake('too_many_buckets', 'step', `the range has more than ${BUCKETS_MAX} steps; take a longer step`)
  return { from, to, tier, step_s, now_ms }
}

/** The range in raw events, snapped to ten seconds: of what no cell holds. @throws Mistake naming the parameter */
export function rawWindow(asked: Pick<Asked, 'from' | 'to'>, now_ms: number): Window {
  const { from_s, to_s } = resolveRange(asked, now_ms)
  return { ...snapped(from_s, to_s, bucketSeconds('events')), tier: 'events', step_s: undefined, now_ms }
}

function resolveRange(asked: Pick<Asked, 'from' | 'to'>, now_ms: number): { from_s: number; to_s: number } {
  const from_s = resolve(asked.from, now_ms) / 1_000
  const to_s = resolve(asked.to, now_ms) / 1_000
  if (from_s < 0) throw new Mistake('bad_time', 'from', 'from lies before 1970')
  if (from_s >= to_s) throw new Mistake('bad_range', 'from', 'from must lie before to')
  return { from_s, to_s }
}

export const snapped = (from_s: number, to_s: number, bucket_s: number): { from: number; to: number } => ({
  from: Math.floor(from_s / bucket_s) * bucket_s,
  to: Math.ceil(to_s / bucket_s) * bucket_s,
})

const resolve = (moment: Moment, now_ms: number): number =>
  'at_ms' in moment ? moment.at_ms : now_ms - moment.before_now_ms

function autoStep(range_s: number, tier_s: number, forced: AnswerTier | undefined): number {
  const least_s = forced === undefined && range_s > AUTO_HOURS_FROM_S ? TIERS.hour.seconds : tier_s
  const fitting = AUTO_STEPS_S.find(step => step >= least_s && range_s / step <= AUTO_BUCKETS)
  return fitting ?? Math.ceil(range_s / AUTO_BUCKETS / DAY_S) * DAY_S
}

/** The finest that is fast enough, or else the coarsest whose buckets the step can be made of. */
function chooseTier(
  range_s: number,
  step_s: number | undefined,
  reaching: readonly (typeof COARSENING)[number][],
): AnswerTier {
  const fitting = reaching.filter(tier => step_s === undefined || step_s % bucketSeconds(tier) === 0)
  return fitting.find(tier => range_s <= RANGE_MAX_S[tier]) ?? fitting.at(-1) ?? reaching[0] ?? 'hour'
}

/** How far back a tier reaches; undefined: as far as anything does. */
const keptDays = (tier: AnswerTier, kept: Retention): number | undefined =>
  ({ events: kept.raw_days, '10s': kept.cell_days, minute: kept.minute_days, hour: undefined })[tier]

export function isForgotten(tier: AnswerTier, from: number, now: number, kept: Retention): boolean {
  const days = keptDays(tier, kept)
  return days !== undefined && from < now - days * DAY_S
}

/** A tier that has forgotten the beginning of the range would answer with too little, silently. */
function checkTier(
  tier: AnswerTier,
  parameter: 'step' | 'tier',
  from: number,
  to: number,
  now: number,
  kept: Retention,
): void {
  if (isForgotten(tier, from, now, kept))
    throw new Mistake(
      `bad_${parameter}`,
      parameter,
      `the ${tier} tier reaches back ${keptDays(tier, kept)} days; ask for longer steps, or a coarser tier`,
    )
  if (tier === 'events' && to - from > EVENTS_RANGE_MAX_S)
    throw new Mistake('too_expensive', parameter, `the events tier answers up to ${EVENTS_RANGE_MAX_S / 3_600} h`)
}

/** The steps that [from, to) touches, aligned to the epoch. The first may begin before `from`. */
export function bucketStarts(from: number, to: number, step_s: number): { first: number; count: number } {
  const first = Math.floor(from / step_s) * step_s
  return { first, count: Math.ceil((to - first) / step_s) }
}

export const iso = (epoch_ms: number): string => new Date(epoch_ms).toISOString()
