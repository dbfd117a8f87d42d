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
import { type Asked, bucketSeconds, chooseWindow, iso, type Moment, type Window } from '../metrics/range.ts'
import { groupedSql } from '../metrics/sql.ts'
import { FALSE_DISCOVERY_RATE, type Finding, type Found, findSegments, UNKNOWN } from '../statistics/segments.ts'
import { inSlices, type Steps } from '../statistics/slices.ts'
import { studentQuantile } from '../statistics/tail.ts'
import { shapeOf } from './shape.ts'

/** What players feel, each for another reason. Ratios of sums whose numerator is bad. */
export const INSIGHT_METRICS = [
  'stutter_time_pct',
  'freeze_time_pct',
  'frames_dropped_pct',
  'packet_loss_pct',
] as const satisfies readonly MetricId[]

/** Of more, so many are drawn by lot (which, follows from their ids): what a question costs us is bounded, and steps stay short. */
const SESSIONS_MAX = 6_000
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
  const chosen = ({ from, to }: Pick<Asked, 'from' | 'to'>) =>
    chooseWindow({ from, to }, desk.now(), desk.retention).tier
  // In whole minutes at least, so that the past, which is longer and comes from a coarser tier, can end where the window begins.
  const tier = chosen(wanted) === '10s' ? 'minute' : chosen(wanted)
  const { subject, freshness } = await subjectOf(desk, { ...asked, from: wanted.from, to: wanted.to, tier })
  const baseline = wanted.baseline ?? pastOf(subject.window)
  const past = await (async () => {
    const coarse = chosen(baseline)
    const fits = subject.window.from % bucketSeconds(coarse) === 0
    return (await subjectOf(desk, { ...asked, ...baseline, tier: fits ? coarse : tier })).subject
  })().catch(namingBaseline)
  if (past.window.to > subject.window.from)
    throw new Mistake('bad_range', 'baseline_to', 'the past ends where the window begins, or earlier')
  const [[now], [before], [behind], fresh] = await Promise.all([
    desk.ask(sessionsQuestion(subject)),
    desk.ask(sessionsQuestion(past)),
    desk.ask(behindQuestion(subject)),
    freshness,
  ])
  const { found, labels } = await inSlices(searched(now ?? NOBODY, before ?? NOBODY))
  const data = [...found.findings]
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
      tested: found.tested,
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
function sessionsQuestion(subject: Subject): Question<SessionsRow> {
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

type Labels = readonly (readonly string[])[]

/** The same sessions in both windows are one each; its context is that of now. */
function* searched(now: SessionsRow, before: SessionsRow): Steps<{ found: Found; labels: Labels }> {
  const at = new Map<number, number>()
  const placesOf = (ids: readonly number[]): Int32Array =>
    Int32Array.from(ids, id => {
      const place = at.get(id) ?? at.size
      at.set(id, place)
      return place
    })
  const sides = [before, now].map(side => ({ ...side, places: placesOf(side.ids) }))
  const sessions = at.size
  const dimensions: { codes: Int32Array; values: number }[] = []
  const labels: string[][] = []
  for (const d of DIMENSIONS.keys()) {
    const known = new Map<string, number>()
    const codes = new Int32Array(sessions).fill(UNKNOWN)
    for (const side of sides) {
      const column = side.labels[d] ?? []
      for (let i = 0; i < column.length; i++) {
        const label = column[i] ?? ''
        if (label === '') continue
        const code = known.get(label) ?? known.size
        known.set(label, code)
        codes[side.places[i] ?? 0] = code
      }
    }
    dimensions.push({ codes, values: known.size })
    labels.push([...known.keys()])
    yield
  }
  const placed = (places: Int32Array | undefined, column: readonly number[] | undefined): Float64Array => {
    const list = new Float64Array(sessions)
    places?.forEach((place, i) => {
      list[place] = column?.[i] ?? 0
    })
    return list
  }
  const [past, present] = sides
  const metrics = AMOUNTS.map((_, m) => ({
    ...{ x1: placed(present?.places, now.bad[m]), y1: placed(present?.places, now.of[m]) },
    ...{ x0: placed(past?.places, before.bad[m]), y0: placed(past?.places, before.of[m]) },
  }))
  return { found: yield* findSegments({ dimensions, metrics, sessions }), labels }
}

/** How much of all that is bad now would not be, without the excess. */
const harm = ({ excess, group, share_of_bad }: Finding): number => (excess / group.now) * share_of_bad

function told(finding: Finding, labels: Labels): Insight {
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
