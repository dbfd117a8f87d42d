/**
 * From a question of a caller to the answer: asks the store, fills what it left out, and says what is behind the numbers.
 * Every answer is `{ data, meta }`. An empty range is an empty list, an empty step a null: never a zero.
 */
import type { Retention } from '../../ingest/store/migrate.ts'
import { TIERS } from '../../ingest/store/settle.ts'
import { ANSWER_TIERS, type AnswerTier, METRICS, type MetricId } from './catalogue.ts'
import { type Condition, conditionOf, type Dimension, type Filter } from './filter.ts'
import {
  type Fresh,
  freshnessQuestion,
  HOLES_MAX,
  isComplete,
  NOT_SETTLED,
  type SettledRow,
  settledQuestion,
  wholeHours,
} from './freshness.ts'
import { Mistake } from './mistake.ts'
import { type Model, modelQuestion, NO_MODEL } from './model.ts'
import type { Ask } from './question.ts'
import {
  type BehindRow,
  behindQuestion,
  breakdownQuestion,
  type Cut,
  groupsQuestion,
  type Order,
  overallQuestion,
  type PointRow,
  type Subject,
  timeseriesQuestion,
} from './questions.ts'
import { type Asked, bucketStarts, chooseWindow, iso, type Window } from './range.ts'

export interface Meta {
  readonly metric: MetricId | null
  readonly unit: string | null
  readonly definition_version: number | null
  /** What the range was snapped to. */
  readonly from: string | null
  readonly to: string | null
  readonly step_s: number | null
  readonly tier: string | null
  readonly sessions: number | null
  readonly frames: number | null
  readonly cells: number | null
  readonly completeness_pct: number | null
  readonly as_of: string | null
  readonly ingest_lag_ms: number | null
  readonly complete: boolean | null
  /** Of a grouped answer: how many groups there are, of which `data` may show the first. */
  readonly groups_total?: number
  /** Of an answer that stands on opinion scores. */
  readonly model?: Model
}

export interface Answer<Row> {
  readonly data: Row[]
  readonly meta: Meta
}

export type NullReason = 'no_data' | 'too_few_values' | 'not_reported'
export interface Value {
  readonly value: number | null
  /** Why there is no value. */
  readonly reason?: NullReason
  /** How many frames, intervals … (the catalogue's `counted`) are behind it. */
  readonly n: number
}

export interface Desk {
  readonly ask: Ask
  readonly retention: Retention
  readonly now: () => number
}

export interface Wanted extends Asked {
  readonly metric: MetricId
  readonly filters: readonly Filter[]
}

/** More points than this are more than anybody draws, and more than the store hands over. */
const POINTS_MAX = 50_000
const DIMENSIONS_MAX = 2

/** One number for the range. */
export async function overall(desk: Desk, wanted: Wanted): Promise<Answer<Value>> {
  const metric = METRICS[wanted.metric]
  const { subject, freshness } = await subjectOf(desk, wanted)
  const [[row], [behind], model, fresh] = await Promise.all([
    desk.ask(overallQuestion(metric, subject)),
    desk.ask(behindQuestion(subject)),
    modelOf(desk, wanted.metric, subject),
    freshness,
  ])
  return {
    data: row ? [valued(wanted.metric, subject.condition, row)] : [],
    meta: { ...metaOf(wanted.metric, subject, fresh, behind), ...model },
  }
}

export type Point = Value & { readonly t: string } & Dimensions
export type Dimensions = Partial<Record<Dimension, string | null>>

/** Per step; the series of several groups one after the other. */
export async function timeseries(
  desk: Desk,
  wanted: Wanted,
  by: readonly Dimension[],
  limit: number,
): Promise<Answer<Point>> {
  const { subject, freshness } = await subjectOf(desk, wanted)
  const { window } = subject
  const step_s = window.step_s ?? window.to - window.from
  const { first, count } = bucketStarts(window.from, window.to, step_s)
  const series = by.length > 0 ? limit : 1
  if (count * series > POINTS_MAX)
    throw new Mistake(
      'too_many_buckets',
      'step',
      `${count} steps of ${series} groups are more than ${POINTS_MAX} points`,
    )
  const question = timeseriesQuestion(METRICS[wanted.metric], subject, step_s, by, limit)
  const [rows, [behind], [groups], model, fresh] = await Promise.all([
    desk.ask(question),
    desk.ask(behindQuestion(subject)),
    by.length > 0 && !question.counts_groups ? desk.ask(groupsQuestion(subject, by)) : [],
    modelOf(desk, wanted.metric, subject),
    freshness,
  ])
  const data = [...groupByLabels(rows)].flatMap(points => {
    const known = new Map(points.map(point => [point.t, point]))
    const dimensions = named(by, points[0]?.labels ?? [])
    return Array.from({ length: count }, (_, i) => {
      const t = first + i * step_s
      const point = known.get(t)
      const value = point ? valued(wanted.metric, subject.condition, point) : NOTHING
      return { t: iso(t * 1_000), ...dimensions, ...value }
    })
  })
  const groups_total = groups?.groups_total ?? rows[0]?.groups_total ?? 0
  const counted = by.length > 0 ? { groups_total } : {}
  return { data, meta: { ...metaOf(wanted.metric, subject, fresh, behind), ...counted, ...model } }
}

export type Slice = Value &
  Dimensions &
  Pick<BehindRow, 'sessions' | 'frames'> & { readonly share_of_bad: number | null }

/** Per value of one or two dimensions. */
export async function breakdown(
  desk: Desk,
  wanted: Wanted,
  by: readonly Dimension[],
  asked: Order | undefined,
  limit: number,
): Promise<Answer<Slice>> {
  const metric = METRICS[wanted.metric]
  if (by.length === 0 || by.length > DIMENSIONS_MAX)
    throw new Mistake('bad_parameter', 'by', `name one to ${DIMENSIONS_MAX} dimensions`)
  const order = orderOf(wanted.metric, asked)
  const { subject, freshness } = await subjectOf(desk, wanted)
  const [rows, [behind], model, fresh] = await Promise.all([
    desk.ask(breakdownQuestion(metric, subject, by, order, limit)),
    desk.ask(behindQuestion(subject)),
    modelOf(desk, wanted.metric, subject),
    freshness,
  ])
  const data = rows.map(row => ({
    ...named(by, row.labels),
    ...valued(wanted.metric, subject.condition, row),
    sessions: row.sessions,
    frames: row.frames,
    share_of_bad: row.share_of_bad,
  }))
  const groups_total = rows[0]?.groups_total ?? 0
  return { data, meta: { ...metaOf(wanted.metric, subject, fresh, behind), groups_total, ...model } }
}

/** @throws Mistake naming `order` */
export function orderOf(id: MetricId, asked: Order | undefined): Order {
  const countsBad = METRICS[id].bad !== undefined
  if (asked === 'impact' && !countsBad)
    throw new Mistake('bad_order', 'order', `${id} counts nothing bad, so no group has an impact on it`)
  return asked ?? (countsBad ? 'impact' : 'value')
}

const NOTHING: Value = { value: null, reason: 'no_data', n: 0 }

export function valued(id: MetricId, condition: Condition, { value, n }: Pick<Value, 'value' | 'n'>): Value {
  if (value !== null) return { value, n }
  if (n === 0) return NOTHING
  const few = !condition.one_session && n < METRICS[id].min_count
  return { value, reason: few ? 'too_few_values' : 'not_reported', n }
}

export const named = (by: readonly Dimension[], labels: readonly (string | null)[]): Dimensions =>
  Object.fromEntries(by.map((name, i) => [name, labels[i] ?? null]))

/** Rows arrive ordered by labels. */
function groupByLabels(rows: readonly PointRow[]): Iterable<PointRow[]> {
  const groups = new Map<string, PointRow[]>()
  for (const row of rows) {
    const key = JSON.stringify(row.labels)
    const group = groups.get(key)
    if (group) group.push(row)
    else groups.set(key, [row])
  }
  return groups.values()
}

/** What is settled has to be known first: coarser tiers reach as far, and no answer may seem newer than it. */
export async function subjectOf(
  desk: Desk,
  wanted: Omit<Wanted, 'metric'> & { readonly metric?: MetricId },
): Promise<{ subject: Subject; freshness: Promise<Fresh> }> {
  const window = windowOf(desk, wanted)
  const condition = conditionOf(wanted.filters)
  const settled = await settledOf(desk, window)
  const freshness = freshOf(desk, window, settled)
  // Whoever awaits it hears of its failure; this is for when another question fails first.
  freshness.catch(() => {})
  return { subject: { window, cut: cutOf(window, settled), condition }, freshness }
}

export async function settledOf(desk: Desk, window: Window): Promise<SettledRow> {
  if (window.tier === 'events') return NOT_SETTLED
  const [row] = await desk.ask(settledQuestion(window, desk.retention))
  return row ?? NOT_SETTLED
}

export async function freshOf(desk: Desk, window: Window, settled: SettledRow): Promise<Fresh> {
  const [row] = await desk.ask(freshnessQuestion(window, desk.retention, settled))
  return { ...(row ?? { raw_rows: 0, as_of_ms: null, ingest_lag_ms: null }), settled_rows: settled.settled_rows }
}

/** What is chosen from range and step, unless that tier cannot answer the metric: then the one that can, if it reaches so far. */
function windowOf(desk: Desk, wanted: Asked & { readonly metric?: MetricId }): Window {
  const tiers = wanted.metric === undefined ? ANSWER_TIERS : METRICS[wanted.metric].tiers
  const can = (tier: AnswerTier): boolean => tiers.includes(tier)
  if (wanted.tier !== undefined && !can(wanted.tier))
    throw new Mistake('bad_tier', 'tier', `${wanted.metric} is answered by ${tiers.join(', ')}`)
  const now_ms = desk.now()
  const chosen = chooseWindow(wanted, now_ms, desk.retention)
  return can(chosen.tier) ? chosen : chooseWindow({ ...wanted, tier: '10s' }, now_ms, desk.retention)
}

/** Of a metric that stands on opinion scores: what was scored. */
async function modelOf(desk: Desk, id: MetricId, subject: Subject): Promise<{ model?: Model }> {
  if (METRICS[id].scored === undefined) return {}
  const [model = NO_MODEL] = await desk.ask(modelQuestion(METRICS[id], subject))
  return { model }
}

/**
 * From where on the finer tier stands in. An hour in which a minute is behind is behind itself, whatever it was settled from; the cube
 * reaches as far as it is known to be settled, but for a few holes.
 */
export function cutOf(window: Window, { cut, cut_hour, cube_behind, counted_since }: SettledRow): Cut {
  const { from, to } = window
  const minute = Math.max(from, Math.min(cut ?? to, to))
  const { hours_from, hours_to } = wholeHours(window)
  const settled_to = Math.min(cut_hour ?? to, Math.floor(minute / TIERS.hour.seconds) * TIERS.hour.seconds)
  const cube_to = counted_since > from ? from : Math.min(minute, cube_behind[HOLES_MAX] ?? minute)
  return {
    minute,
    hours_from,
    hours_to: Math.max(hours_from, Math.min(hours_to, settled_to)),
    cube_to,
    holes: cube_behind.filter(t => t < cube_to),
  }
}

export function metaOf(
  id: MetricId | null,
  { window }: Pick<Subject, 'window'>,
  fresh: Fresh,
  behind: BehindRow | undefined,
): Meta {
  return {
    metric: id,
    unit: id && METRICS[id].unit,
    definition_version: id && METRICS[id].definition_version,
    from: iso(window.from * 1_000),
    to: iso(window.to * 1_000),
    step_s: window.step_s ?? null,
    tier: window.tier,
    sessions: behind?.sessions ?? 0,
    frames: behind?.frames ?? 0,
    cells: behind?.cells ?? 0,
    completeness_pct: behind?.completeness_pct ?? null,
    as_of: fresh.as_of_ms === null ? null : iso(fresh.as_of_ms),
    ingest_lag_ms: fresh.ingest_lag_ms,
    complete: isComplete(window, fresh),
  }
}
