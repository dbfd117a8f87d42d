/**
 * Which range, tier and step a panel is answered from: the catalogue's own rule (`query/metrics/range.ts`), as SQL over the times that
 * Grafana puts in. Two windows, as the API has them: one for the range as a whole, one for steps, whose tier must be such that steps
 * are made of its buckets. Coarser tiers are read as far as they are settled. A test holds every value equal to what the API takes.
 */
import type { Retention } from '../../../ingest/store/migrate.ts'
import { settledQuestion } from '../../../query/metrics/freshness.ts'
import {
  AUTO_BUCKETS,
  AUTO_HOURS_FROM_S,
  AUTO_STEPS_S,
  bucketSeconds,
  chooseWindow,
  RANGE_MAX_S,
} from '../../../query/metrics/range.ts'
import { type Expressions, printed, substituted } from './print.ts'

const DAY_S = 86_400
const HOUR_S = bucketSeconds('hour')
const BUCKETS_S = `[${(['10s', 'minute', 'hour'] as const).map(bucketSeconds)}]`

/** Epoch seconds. */
export const DASHBOARD_RANGE = {
  from: 'toUnixTimestamp64Milli($__fromTime_ms) / 1000',
  to: 'toUnixTimestamp64Milli($__toTime_ms) / 1000',
}

export const WHOLE = 'whole'
export const STEPPED = 'stepped'
export type Span = typeof WHOLE | typeof STEPPED

/** What a window is made of: the length of its tier's buckets, what the SQL of cells takes, in epoch seconds, and the step. */
const PARTS = ['step_s', 'tier_s', 'from', 'to', 'cut', 'hours_from', 'hours_to'] as const
export type Part = (typeof PARTS)[number]
/** Each needs those before it at most. */
export const partsOf = (span: Span): readonly Part[] =>
  span === WHOLE ? PARTS.filter(part => part !== 'step_s') : PARTS
/** How far something is settled has to be asked for. */
const SETTLED_PARTS: readonly Part[] = ['cut', 'hours_from', 'hours_to']

/** The name of the hidden variable that holds a part. */
export const variableOf = (span: Span, part: Part): string =>
  span === WHOLE ? `range_${part}` : part === 'step_s' ? part : `steps_${part}`
const held = (span: Span, part: Part): string => `\${${variableOf(span, part)}}`

const fits = (buckets: string): string =>
  `arrayFilter(bucket -> range_s <= multiIf(bucket = ${bucketSeconds('10s')}, ${RANGE_MAX_S['10s']}, bucket = ${bucketSeconds('minute')}, ${RANGE_MAX_S.minute}, inf), ${buckets})`

type Alias = readonly [name: string, sql: string]

/** Which tiers reach back so far. */
function reaching(kept: Retention): Alias[] {
  const kept_s = (days: number): string => `asked_from >= now_s - ${days * DAY_S}`
  return [
    ['range_s', 'asked_to - asked_from'],
    ['now_s', 'toUnixTimestamp64Milli(now64(3)) / 1000'],
    [
      'reaching',
      `arrayFilter(bucket -> multiIf(bucket = ${bucketSeconds('10s')}, ${kept_s(kept.cell_days)}, bucket = ${bucketSeconds('minute')}, ${kept_s(kept.minute_days)}, 1), ${BUCKETS_S})`,
    ],
  ]
}

const STEPS: readonly Alias[] = [
  ['least_s', `if(range_s > ${AUTO_HOURS_FROM_S}, ${HOUR_S}, reaching[1])`],
  ['steps', `arrayFilter(step -> step >= least_s AND range_s / step <= ${AUTO_BUCKETS}, [${AUTO_STEPS_S.join(', ')}])`],
]

/** The finest that is fast enough, or else the coarsest that there is. */
const tierOf = (candidates: string): Alias[] => [
  ['candidates', candidates],
  ['fitting', fits('candidates')],
]

/** The range in whole buckets. */
const SNAPPED: readonly Alias[] = [
  ['begin_s', 'toUInt32(floor(asked_from / bucket_s) * bucket_s)'],
  ['end_s', 'toUInt32(ceil(asked_to / bucket_s) * bucket_s)'],
]

/** From when on rows are counted, and the whole hours in the range. */
function hours(kept: Retention): Alias[] {
  const remembered = `toInt64(intDiv(toUInt32(now()), 60) * 60) - ${(Math.min(kept.raw_days, kept.cell_days) - 1) * DAY_S}`
  return [
    ['counted_s', `toUInt32(least(greatest(toInt64(intDiv(begin_s, 60) * 60), ${remembered}, 0), toInt64(end_s)))`],
    ['first_hour_s', `toUInt32(least(ceil(begin_s / ${HOUR_S}) * ${HOUR_S}, end_s))`],
    ['last_hour_s', `toUInt32(greatest(first_hour_s, intDiv(end_s, ${HOUR_S}) * ${HOUR_S}))`],
  ]
}

/** How far minutes and hours are settled from all that is below them. */
function settled(kept: Retention): Alias[] {
  const { sql } = settledQuestion({ from: 0, to: 0, tier: 'hour', step_s: undefined, now_ms: 0 }, kept)
  const whatIs = substituted(sql, {
    since: 'counted_s',
    to: 'end_s',
    hours_from: 'first_hour_s',
    hours_to: 'last_hour_s',
  })
  return [
    ['settled', `(SELECT tuple(ifNull(cut, end_s), ifNull(cut_hour, end_s)) FROM (${whatIs}))`],
    ['minutes_to_s', 'greatest(begin_s, least(tupleElement(settled, 1), end_s))'],
    ['hours_settled_s', `least(tupleElement(settled, 2), intDiv(minutes_to_s, ${HOUR_S}) * ${HOUR_S})`],
  ]
}

/** A tier that is not read has an empty span at the beginning. */
const VALUES: Readonly<Record<Part, string>> = {
  from: 'begin_s',
  to: 'end_s',
  cut: `if(bucket_s = ${bucketSeconds('10s')}, begin_s, minutes_to_s)`,
  hours_from: `if(bucket_s = ${HOUR_S}, first_hour_s, begin_s)`,
  hours_to: `if(bucket_s = ${HOUR_S}, greatest(first_hour_s, least(last_hour_s, hours_settled_s)), begin_s)`,
  step_s: `if(empty(steps), ceil(range_s / ${AUTO_BUCKETS} / ${DAY_S}) * ${DAY_S}, steps[1])`,
  tier_s: 'multiIf(notEmpty(fitting), fitting[1], notEmpty(candidates), candidates[-1], reaching[1])',
}

const withAliases = (aliases: readonly Alias[]): string =>
  `WITH ${aliases.map(([name, sql]) => `${sql} AS ${name}`).join(', ')}`

/**
 * What a hidden variable asks. Those that build upon others take them from their variables: as aliases ClickHouse would copy each
 * wherever its name occurs, and take a second to read the last one.
 */
export function partSql(span: Span, part: Part, kept: Retention): string {
  const asked: Alias[] = [
    ['asked_from', DASHBOARD_RANGE.from],
    ['asked_to', DASHBOARD_RANGE.to],
  ]
  const bucket: Alias = ['bucket_s', held(span, 'tier_s')]
  const range: Alias[] = [
    ['begin_s', `toUInt32(${held(span, 'from')})`],
    ['end_s', `toUInt32(${held(span, 'to')})`],
  ]
  const candidates =
    span === STEPPED ? `arrayFilter(bucket -> ${held(span, 'step_s')} % bucket = 0, reaching)` : 'reaching'
  const aliases: Readonly<Record<Part, readonly Alias[]>> = {
    step_s: [...asked, ...reaching(kept), ...STEPS],
    tier_s: [...asked, ...reaching(kept), ...tierOf(candidates)],
    from: [...asked, bucket, ...SNAPPED],
    to: [...asked, bucket, ...SNAPPED],
    cut: [bucket, ...range, ...hours(kept), ...settled(kept)],
    hours_from: [bucket, ...range, ...hours(kept)],
    hours_to: [bucket, ...range, ...hours(kept), ...settled(kept)],
  }
  return printed(`${withAliases(aliases[part])} SELECT toUInt32(${VALUES[part]}) AS ${variableOf(span, part)}`, {})
}

/** For panels: hidden variables in the place of a window's parameters. */
export const windowVariables = (span: Span): Expressions =>
  Object.fromEntries(partsOf(span).map(part => [part, held(span, part)]))

/**
 * For alerts, which have no variables: the last `range_s` as aliases in front of the statement, and their names for its parameters. How
 * long the range is decides the tier, here.
 */
export function lastSeconds(range_s: number, kept: Retention): { readonly sql: string; readonly names: Expressions } {
  const asked = { from: { before_now_ms: range_s * 1_000 }, to: { before_now_ms: 0 } }
  const bucket_s = bucketSeconds(chooseWindow(asked, Date.UTC(2026, 0, 1), kept).tier)
  const finest = bucket_s === bucketSeconds('10s')
  const parts = partsOf(WHOLE).filter(part => part !== 'tier_s')
  const within = (part: Part): string => {
    if (finest && SETTLED_PARTS.includes(part)) return VALUES.from
    return bucket_s < HOUR_S && (part === 'hours_from' || part === 'hours_to') ? VALUES.from : VALUES[part]
  }
  const aliases: Alias[] = [
    ['asked_to', DASHBOARD_RANGE.to],
    ['asked_from', `asked_to - ${range_s}`],
    ['bucket_s', String(bucket_s)],
    ...SNAPPED,
    ...(finest ? [] : [...hours(kept), ...settled(kept)]),
    ...parts.map((part): Alias => [variableOf(WHOLE, part), `toUInt32(${within(part)})`]),
  ]
  return { sql: withAliases(aliases), names: Object.fromEntries(parts.map(part => [part, variableOf(WHOLE, part)])) }
}
