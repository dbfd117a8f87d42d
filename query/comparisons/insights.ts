/**
 * Who has it bad now, and did not before, and is not everybody? The segments over all dimensions that got worse beyond the rest of the
 * fleet, the control group: where everybody got worse there is no segment to blame. Two questions, one per window, whatever the number
 * of segments; the search itself is `statistics/segments.ts`.
 */
import { z } from 'zod'
import { type Answer, type Desk, metaOf, subjectOf } from '../metrics/answer.ts'
import { METRICS, type MetricId } from '../metrics/catalogue.ts'
import { DIMENSIONS, type Dimension, type Filter } from '../metrics/filter.ts'
import { Mistake } from '../metrics/mistake.ts'
import type { Question } from '../metrics/question.ts'
import { behindQuestion, paramsOf, type Subject } from '../metrics/questions.ts'
import { iso, type Moment, type Window } from '../metrics/range.ts'
import { groupedSql } from '../metrics/sql.ts'
import { FALSE_DISCOVERY_RATE, type Finding, type Fleet, findSegments, UNKNOWN } from '../statistics/segments.ts'
import { inSlices } from '../statistics/slices.ts'
import { studentQuantile } from '../statistics/tail.ts'
import { shapeOf } from './shape.ts'

/** What players feel, each for another reason. Ratios of sums whose numerator is bad. */
export const INSIGHT_METRICS = [
  'stutter_time_pct',
  'freeze_time_pct',
  'frames_dropped_pct',
  'packet_loss_pct',
] as const satisfies readonly MetricId[]

/** More are drawn by lot: which, follows from their ids. The search then takes a second of CPU at most, in slices. */
const SESSIONS_MAX = 10_000
/** The default past: so many times as long as the window, right before it. */
const PAST_WINDOWS = 4
const TAIL = 0.025

export interface Insight {
  readonly metric: (typeof INSIGHT_METRICS)[number]
  readonly unit: string
  readonly segment: Partial<Record<Dimension, string>>
  readonly value_now: number
  readonly value_before: number
  readonly rest_now: number
  readonly rest_before: number
  /** Of value_now over what is expected of it; in the metric's unit. */
  readonly excess: number
  readonly excess_low: number
  readonly excess_high: number
  readonly sessions: number
  readonly share_of_bad: number
  readonly p: number
  readonly q: number
  readonly sentence: string
}

export interface Search {
  readonly baseline_from: string
  readonly baseline_to: string
  readonly metrics: typeof INSIGHT_METRICS
  /** A segment and a metric each. */
  readonly tested: number
  readonly sessions_now: number
  readonly sessions_before: number
  /** Whether only some of the sessions were looked at. */
  readonly sampled: boolean
  readonly false_discovery_rate: number
}

export interface InsightsWanted {
  readonly from: Moment
  readonly to: Moment
  readonly baseline?: { readonly from: Moment; readonly to: Moment } | undefined
  readonly filters: readonly Filter[]
  readonly limit: number
}

/** @throws Mistake naming the parameter */
export async function insights(desk: Desk, wanted: InsightsWanted): Promise<Answer<Insight> & { search: Search }> {
  const asked = { metric: INSIGHT_METRICS[0], filters: wanted.filters }
  const { subject, freshness } = await subjectOf(desk, { ...asked, from: wanted.from, to: wanted.to })
  const baseline = wanted.baseline ?? pastOf(subject.window)
  const { subject: past } = await subjectOf(desk, { ...asked, ...baseline }).catch(namingBaseline)
  if (past.window.to > subject.window.from)
    throw new Mistake('bad_range', 'baseline_to', 'the past ends where the window begins, or earlier')
  const [[now], [before], [behind], fresh] = await Promise.all([
    desk.ask(sessionsQuestion(subject)),
    desk.ask(sessionsQuestion(past)),
    desk.ask(behindQuestion(subject)),
    freshness,
  ])
  const { fleet, labels } = fleetOf(now ?? NOBODY, before ?? NOBODY)
  const { findings, tested } = await inSlices(findSegments(fleet))
  const data = findings
    .sort((one, other) => harm(other) - harm(one))
    .slice(0, wanted.limit)
    .map(finding => told(finding, labels))
  return {
    data,
    meta: metaOf(null, subject, fresh, behind),
    search: {
      baseline_from: iso(past.window.from * 1_000),
      baseline_to: iso(past.window.to * 1_000),
      metrics: INSIGHT_METRICS,
      tested,
      sessions_now: now?.total ?? 0,
      sessions_before: before?.total ?? 0,
      sampled: [now, before].some(side => (side?.total ?? 0) > SESSIONS_MAX),
      false_discovery_rate: FALSE_DISCOVERY_RATE,
    },
  }
}

function pastOf({ from, to }: Window): { from: Moment; to: Moment } {
  const from_ms = (from - PAST_WINDOWS * (to - from)) * 1_000
  return { from: { at_ms: Math.max(0, from_ms) }, to: { at_ms: from * 1_000 } }
}

const namingBaseline = (error: unknown): never => {
  if (!(error instanceof Mistake) || error.parameter !== 'from') throw error
  throw new Mistake(error.code, 'baseline_from', `of the baseline: ${error.message}`)
}

const numbers = z.array(z.number())
const sessionsRow = z.object({
  total: z.number(),
  ids: numbers,
  labels: z.array(z.array(z.string())),
  bad: z.array(numbers),
  of: z.array(numbers),
})
type SessionsRow = z.infer<typeof sessionsRow>
const NOBODY: SessionsRow = { total: 0, ids: [], labels: [], bad: [], of: [] }

/** By metric: what is bad, in the metric's unit, and what it is measured in. */
const AMOUNTS = INSIGHT_METRICS.map(id => {
  const shape = shapeOf(METRICS[id])
  if (shape?.kind !== 'ratio') throw new Error(`${id} is no ratio of sums`)
  return { bad: `${shape.factor} * (${shape.numerator})`, of: shape.denominator }
})

/** Every session's amounts in the window, column by column: one row. Ids are 52 bits of their hash: to JSON a number. */
export function sessionsQuestion(subject: Subject): Question<SessionsRow> {
  const sessions = groupedSql({
    tier: subject.window.tier,
    where: subject.condition,
    keys: { id: 'bitShiftRight(cityHash64(session_id), 12)' },
    values: {
      ...Object.fromEntries(DIMENSIONS.map(name => [`of_${name}`, `toString(${name})`])),
      ...Object.fromEntries(
        AMOUNTS.flatMap(({ bad, of }, i) => [
          [`bad_${i}`, `toFloat64(${bad})`],
          [`of_${i}`, `toFloat64(${of})`],
        ]),
      ),
    },
  })
  const columns = (names: readonly string[]): string => `[${names.map(name => `groupArray(${name})`).join(', ')}]`
  return {
    id: 'sessions_amounts',
    sql: `SELECT any(sessions_total) AS total, groupArray(id) AS ids, ${columns(DIMENSIONS.map(name => `of_${name}`))} AS labels,
  ${columns(AMOUNTS.map((_, i) => `bad_${i}`))} AS bad, ${columns(AMOUNTS.map((_, i) => `of_${i}`))} AS of
FROM (SELECT *, count() OVER () AS sessions_total FROM (${sessions}) ORDER BY id LIMIT {sessions_max:UInt32})`,
    params: { ...paramsOf(subject), sessions_max: SESSIONS_MAX },
    row: sessionsRow,
  }
}

/** Of a session that is in both windows its context now. */
export function fleetOf(
  now: SessionsRow,
  before: SessionsRow,
): { fleet: Fleet; labels: readonly (readonly string[])[] } {
  const at = new Map([...now.ids, ...before.ids].map(id => [id, -1]))
  for (const [i, id] of [...at.keys()].entries()) at.set(id, i)
  const sessions = at.size
  const placed = (side: SessionsRow, column: readonly number[] | undefined): Float64Array => {
    const list = new Float64Array(sessions)
    for (const [i, id] of side.ids.entries()) list[at.get(id) ?? 0] = column?.[i] ?? 0
    return list
  }
  const metrics = AMOUNTS.map((_, m) => ({
    ...{ x1: placed(now, now.bad[m]), y1: placed(now, now.of[m]) },
    ...{ x0: placed(before, before.bad[m]), y0: placed(before, before.of[m]) },
  }))
  const coded = DIMENSIONS.map((_, d) => {
    const known = new Map<string, number>()
    const codes = new Int32Array(sessions).fill(UNKNOWN)
    for (const side of [before, now]) {
      for (const [i, id] of side.ids.entries()) {
        const label = side.labels[d]?.[i] ?? ''
        if (label === '') continue
        const code = known.get(label) ?? known.size
        known.set(label, code)
        codes[at.get(id) ?? 0] = code
      }
    }
    return { codes, values: known.size, labels: [...known.keys()] }
  })
  return { fleet: { dimensions: coded, metrics, sessions }, labels: coded.map(({ labels }) => labels) }
}

/** How much of all that is bad now would not be, without the excess. */
const harm = ({ excess, group, share_of_bad }: Finding): number => (excess / group.now) * share_of_bad

function told(finding: Finding, labels: readonly (readonly string[])[]): Insight {
  const metric = INSIGHT_METRICS[finding.metric] ?? INSIGHT_METRICS[0]
  const { group, rest, excess, error, freedom, sessions, share_of_bad, p, q } = finding
  const segment: Partial<Record<Dimension, string>> = {}
  for (const { dimension, code } of finding.name) {
    const name = DIMENSIONS[dimension]
    if (name !== undefined) segment[name] = labels[dimension]?.[code] ?? ''
  }
  const reach = studentQuantile(TAIL, freedom) * error
  return {
    ...{ metric, unit: METRICS[metric].unit, segment },
    ...{ value_now: group.now, value_before: group.before, rest_now: rest.now, rest_before: rest.before },
    ...{ excess, excess_low: excess - reach, excess_high: excess + reach },
    ...{ sessions, share_of_bad, p, q },
    sentence: `${METRICS[metric].title} of ${Object.entries(segment)
      .map(([name, label]) => `${name} ${label}`)
      .join(
        ', ',
      )}: ${percent(group.now)} now, ${percent(group.before)} before; everybody else ${percent(rest.now)} now, ${percent(rest.before)} before.`,
  }
}

const percent = (value: number): string => `${Number(value.toPrecision(2))} %`
