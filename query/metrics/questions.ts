/**
 * The questions about a metric: over a range, over time, and by dimension. Pure: each is text and parameters, ready to be asked.
 */
import { z } from 'zod'
import { type CubeDimension, EVERYBODY } from '../../ingest/store/cube.ts'
import { TIERS } from '../../ingest/store/settle.ts'
import { ANSWER_TIERS, type AnswerTier, METRIC_IDS, METRICS, type Metric, type MetricId } from './catalogue.ts'
import { type Condition, DIMENSIONS, type Dimension } from './filter.ts'
import type { Question } from './question.ts'
import type { Window } from './range.ts'
import { cellsOf, groupedSql, isSessionFree, moment, readsHistograms } from './sql.ts'

/**
 * Where a tier stands in for a coarser one, in epoch seconds: hours are taken from `hours_from` to `hours_to`, minutes up to `minute`;
 * minutes without sessions up to `cube_to`, but for `holes`.
 */
export interface Cut {
  readonly hours_from: number
  readonly hours_to: number
  readonly minute: number
  readonly cube_to: number
  readonly holes: readonly number[]
}

/** Which cells: a window of a tier, up to where it is settled, and whose. */
export interface Subject {
  readonly window: Window
  readonly cut: Cut
  readonly condition: Condition
  /** Asked of the cube, by this dimension. */
  readonly cube?: CubeDimension | undefined
}

export const grouping = ({ window, cut, condition, cube: dimension }: Subject) => {
  const whole = cut.cube_to >= window.to && cut.holes.length === 0
  return { tier: window.tier, where: condition, cube: dimension === undefined ? undefined : { dimension, whole } }
}
export const paramsOf = ({ window: { from, to, tier }, cut, condition, cube }: Subject) => ({
  from,
  to,
  ...(cube === undefined ? {} : { cube_to: cut.cube_to, holes: cut.holes }),
  ...(tier === 'minute' || tier === 'hour' ? { cut: cut.minute } : {}),
  ...(tier === 'hour' ? { hours_from: cut.hours_from, hours_to: cut.hours_to } : {}),
  ...condition.params,
})

/**
 * For what needs nothing of single sessions, about everybody or about one dimension: minutes without sessions, where most of the range
 * is settled into them. They are merged from the same cells, and so are the numbers.
 */
export function cubed(subject: Subject, by: readonly Dimension[], expressions: readonly string[]): Subject {
  const { window, cut, condition } = subject
  const [dimension = EVERYBODY, another] = new Set([...by, ...condition.dimensions])
  if (window.tier !== 'minute' || another !== undefined || dimension === 'session_id') return subject
  const known_s = cut.cube_to - window.from - cut.holes.length * TIERS.minute.seconds
  return known_s * 2 >= window.to - window.from && isSessionFree(expressions)
    ? { ...subject, cube: dimension }
    : subject
}

/**
 * For what is asked of the range as one: hours where whole ones are settled, minutes around them. Merged cells are the same, of a sixth
 * of the reading. Not where a dimension is asked about, which within an hour may have had two values.
 */
export function asOne(subject: Subject): Subject {
  const { window, cut, condition, cube } = subject
  if (cube !== undefined) return subject
  const coarser = window.tier === 'minute' && cut.hours_to > cut.hours_from && condition.sql === condition.session_sql
  return coarser ? { ...subject, window: { ...window, tier: 'hour' } } : subject
}

/** The metric's value, or NULL where fewer values than its least are behind it. */
export const valueSql = (metric: Metric, one_session: boolean): string =>
  `if(${metric.count} >= ${one_session ? 1 : metric.min_count}, ${metric.value}, NULL)`

export const behind = {
  sessions: z.number(),
  frames: z.number(),
  cells: z.number(),
  completeness_pct: z.number().nullable(),
}
export const BEHIND_SQL = {
  sessions: 'sessions',
  frames: 'frames',
  cells: 'cells',
  completeness_pct: '100 * seqs_distinct / nullIf(seqs_expected, 0)',
}
const value = { value: z.number().nullable(), n: z.number() }
const valueAndCount = (metric: Metric, { condition }: Subject) => ({
  value: valueSql(metric, condition.one_session),
  n: metric.count,
})

/** Every metric (of those named, in their order) at once, as an array; NULL where the tier, or if none is named any tier, cannot answer. */
export const everyMetricSql = (
  one_session: boolean,
  tier?: AnswerTier,
  ids: readonly MetricId[] = METRIC_IDS,
): string => {
  const answers = ({ tiers }: Metric): boolean => (tier ? [tier] : ANSWER_TIERS).every(one => tiers.includes(one))
  const values = ids.map(id => (answers(METRICS[id]) ? valueSql(METRICS[id], one_session) : 'NULL'))
  return `[${values.map(sql => `toFloat64(${sql})`).join(', ')}]`
}

const behindRow = z.object(behind)
export type BehindRow = z.infer<typeof behindRow>

/** What is behind an answer; apart from its values, since it merges by session and they are faster without. No row: nothing. */
export function behindQuestion(subject: Subject): Question<BehindRow> {
  const one = subject.condition.one_session ? subject : asOne(subject)
  return {
    id: 'behind',
    sql: groupedSql({
      ...grouping(one),
      keys: {},
      values: { ...BEHIND_SQL, ...(one === subject ? {} : cellsBehind(subject)) },
    }),
    params: paramsOf(one),
    row: behindRow,
  }
}

/** The cells of the tier that was asked, where fewer are read. */
export function cellsBehind(subject: Subject): Record<string, string> {
  if (asOne(subject) === subject) return {}
  return { cells: `(SELECT count() FROM ${cellsOf(subject.window.tier, [], subject.condition)})` }
}

const overallRow = z.object(value)

export function overallQuestion(metric: Metric, subject: Subject): Question<z.infer<typeof overallRow>> {
  const values = valueAndCount(metric, subject)
  const one = asOne(cubed(subject, [], Object.values(values)))
  return {
    id: 'overall',
    sql: groupedSql({ ...grouping(one), keys: {}, values }),
    params: paramsOf(one),
    row: overallRow,
    reads_little: one.cube !== undefined,
  }
}

/** '' in a cell is unknown, and unknown is null in an answer. One per dimension, in the order asked. */
export const labels = { labels: z.array(z.string().transform(text => (text === '' ? null : text))) }
export const labelsSql = (by: readonly Dimension[]): string =>
  `[${by.map(name => `toString(${name})`).join(', ')}] AS labels`
export const keysOf = (by: readonly Dimension[]) => Object.fromEntries(by.map(name => [name, name] as const))

const pointRow = z.object({ t: z.number(), ...value, ...labels, groups_total: z.number().optional() })
export type PointRow = z.infer<typeof pointRow>

/** The groups with the most frames, as a condition on cells. */
function topGroups(subject: Subject, by: readonly Dimension[]): string {
  const groups = groupedSql({
    ...grouping(subject),
    keys: keysOf(by),
    values: { frames: 'frames' },
  })
  const names = by.join(', ')
  return `(${names}) IN (SELECT ${names} FROM (${groups}) ORDER BY frames DESC, ${names} LIMIT {groups:UInt32})`
}

/** Where the step of a cell begins. */
export const STEP = 'intDiv(toUnixTimestamp(t), {step_s:UInt32}) * {step_s:UInt32}'
/** Seconds of a step, as far as they lie in the range. */
export const STEP_COVERED_S = 'least(key_t + {step_s:UInt32}, {to:UInt32}) - greatest(key_t, {from:UInt32})'

/** Of all groups' rows those of the largest, and how many there are: of the cube, whose rows are few, all are merged at once. */
const largestSql = (groups: string): string => `SELECT t, labels, value, n, groups_total FROM (
  SELECT *, max(place) OVER () AS groups_total FROM (
    SELECT *, dense_rank() OVER (ORDER BY group_frames DESC, labels) AS place
    FROM (SELECT *, sum(frames) OVER (PARTITION BY labels) AS group_frames FROM (${groups}))
  )
) WHERE place <= {groups:UInt32} ORDER BY labels, t`

/**
 * Per step, and per group if `by` names dimensions: of the `groups` largest. Steps without a cell have no row. How many groups there are
 * is in every row where that costs nothing; else it is a question of its own.
 */
export function timeseriesQuestion(
  metric: Metric,
  subject: Subject,
  step_s: number,
  by: readonly Dimension[],
  groups: number,
): Question<PointRow> & { readonly counts_groups: boolean } {
  const values = valueAndCount(metric, subject)
  const asked = cubed(subject, by, Object.values(values))
  const grouped = by.length > 0
  const counts_groups = grouped && asked.cube !== undefined
  const merged = groupedSql({
    ...grouping(asked),
    keys: { t: STEP, ...keysOf(by) },
    values: counts_groups ? { ...values, frames: 'frames' } : values,
    covered_s: STEP_COVERED_S,
    ...(grouped && !counts_groups ? { and: topGroups(asked, by) } : {}),
  })
  return {
    id: 'timeseries',
    sql: counts_groups
      ? largestSql(`SELECT t, ${labelsSql(by)}, value, n, frames FROM (${merged})`)
      : `SELECT t, ${labelsSql(by)}, value, n FROM (${merged}) ORDER BY labels, t`,
    params: { ...paramsOf(asked), step_s, ...(grouped ? { groups } : {}) },
    row: pointRow,
    counts_groups,
  }
}

const groupsRow = z.object({ groups_total: z.number() })

/** How many groups there are, of which an answer may show only the largest. */
export const groupsQuestion = (subject: Subject, by: readonly Dimension[]): Question<z.infer<typeof groupsRow>> => ({
  id: 'groups',
  sql: `SELECT count() AS groups_total FROM (${groupedSql({ ...grouping(subject), keys: keysOf(by), values: { cells: 'cells' } })})`,
  params: paramsOf(subject),
  row: groupsRow,
})

export const breakdownRow = z.object({
  ...labels,
  ...value,
  sessions: z.number(),
  frames: z.number(),
  share_of_bad: z.number().nullable(),
  groups_total: z.number(),
})
export type BreakdownRow = z.infer<typeof breakdownRow>

export const ORDERS = ['value', 'impact'] as const
export type Order = (typeof ORDERS)[number]
/** The worst first, or those that hold most of what is bad; unknown values last. */
export const orderedSql = (order: Order, better: Metric['better']): string =>
  order === 'impact' ? 'bad DESC' : `isNull(value), value ${better === 'higher' ? 'ASC' : 'DESC'}`

/** Per value of the dimensions. */
export function breakdownQuestion(
  metric: Metric,
  subject: Subject,
  by: readonly Dimension[],
  order: Order,
  limit: number,
): Question<BreakdownRow> {
  const values = { ...valueAndCount(metric, subject), frames: 'frames', bad: metric.bad ?? 'NULL' }
  // The cube does not know whose its rows are: how many there were is asked of cells, and so is the rest where that is but a few numbers more.
  const asked = readsHistograms(Object.values(values)) ? cubed(subject, by, Object.values(values)) : subject
  const grouped = (of: Subject, what: Record<string, string>): string =>
    groupedSql({ ...grouping(of), keys: keysOf(by), values: what })
  const sessions = { sessions: 'sessions' }
  const groups =
    asked === subject
      ? grouped(subject, { ...values, ...sessions })
      : `SELECT * FROM (${grouped(asked, values)}) AS figures INNER JOIN (${grouped(subject, sessions)}) AS counts USING (${by.join(', ')})`
  return {
    id: 'breakdown',
    sql: `SELECT ${labelsSql(by)}, value, n, sessions, frames, bad / nullIf(sum(bad) OVER (), 0) AS share_of_bad, count() OVER () AS groups_total
FROM (${groups}) ORDER BY ${orderedSql(order, metric.better)}, sessions DESC, labels LIMIT {limit:UInt32}`,
    params: { ...paramsOf(asked), limit },
    row: breakdownRow,
  }
}

const valuesRow = z.record(z.string(), z.array(z.string()))

/** Sessions that began a moment ago have no minute yet. */
const RECENT_S = 300

/** The values each dimension takes, the most common ones. Read without FINAL: a value that a later settling took back may be among them. */
export function knownValuesQuestion(from: number, to: number, limit: number): Question<z.infer<typeof valuesRow>> {
  const of = (table: string, since: string): string =>
    `SELECT ${DIMENSIONS.join(', ')} FROM ${table} WHERE t >= ${moment(since)} AND t < ${moment('to')}`
  return {
    id: 'known_values',
    sql: `SELECT ${DIMENSIONS.map(name => `arraySort(topKIf(${limit})(toString(${name}), ${name} != '')) AS known_${name}`).join(', ')}
FROM (${of(TIERS.minute.table, 'from')} UNION ALL ${of(TIERS['10s'].table, 'recent')})`,
    params: { from, to, recent: Math.max(from, to - RECENT_S) },
    row: valuesRow,
  }
}
