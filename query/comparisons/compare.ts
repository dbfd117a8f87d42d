/**
 * Is it better there than here, now than before? Two sides of one metric, each the same number as asked for alone, their difference
 * and ratio with intervals over sessions, and a verdict. Below a number of sessions there is no interval and no verdict but that.
 */
import {
  type Answer,
  type Desk,
  type NullReason,
  overall,
  subjectOf,
  type Value,
  type Wanted,
} from '../metrics/answer.ts'
import { METRICS, type Metric, type MetricId } from '../metrics/catalogue.ts'
import type { Filter } from '../metrics/filter.ts'
import { Mistake } from '../metrics/mistake.ts'
import type { Moment } from '../metrics/range.ts'
import { type Difference, differenceOf, type Interval, ROUNDS } from '../statistics/difference.ts'
import type { Limits } from '../statistics/estimators.ts'
import { inSlices } from '../statistics/slices.ts'
import { CLUSTERS_MAX, type ClusterRow, clustersQuestion, sidesOf } from './clusters.ts'
import { narrowed } from './cohort.ts'
import { type Shape, shapeOf } from './shape.ts'

/** Fewer say too little about how sessions differ. */
export const SESSIONS_MIN = 20

/** Of side a, seen from side b. `different`: of a metric of which neither more nor less is better. */
export const VERDICTS = ['better', 'worse', 'different', 'no_difference_shown', 'too_few'] as const
export type Verdict = (typeof VERDICTS)[number]

interface SideAnswer {
  readonly from: string | null
  readonly to: string | null
  readonly tier: string | null
  readonly value: number | null
  readonly reason?: NullReason
  readonly n: number
  readonly sessions: number
  readonly frames: number
  readonly completeness_pct: number | null
}

/** Limits are null where there is no interval; `high` alone where there is no upper one. */
export interface Measured {
  readonly value: number
  readonly low: number | null
  readonly high: number | null
}

export interface Comparison {
  readonly a: SideAnswer
  readonly b: SideAnswer
  /** a − b */
  readonly difference: Measured | null
  /** a / b; null where b is 0. */
  readonly ratio: Measured | null
  readonly verdict: Verdict
  /** How often sessions were drawn again; 0 where there is no interval. */
  readonly rounds: number
}

export interface ComparisonWanted extends Wanted {
  /** Whom to compare; empty where windows are. */
  readonly a: readonly Filter[]
  readonly b: readonly Filter[]
  readonly baseline?: { readonly from: Moment; readonly to: Moment } | undefined
}

/** @throws Mistake naming the parameter */
export async function compare(desk: Desk, wanted: ComparisonWanted): Promise<Answer<Comparison>> {
  const shape = comparable(wanted.metric)
  const [wantedA, wantedB] = sidesWanted(wanted)
  const naming = wanted.baseline === undefined ? <T>(answer: Promise<T>) => answer : namingBaseline
  const [answerA, answerB] = await Promise.all([overall(desk, wantedA), naming(overall(desk, wantedB))])
  const [a, b] = [sideOf(answerA), sideOf(answerB)]
  const enough = [a, b].every(side => side.value !== null && side.sessions >= SESSIONS_MIN)
  const found = enough ? await resampled(desk, shape, [wantedA, a], [wantedB, b]) : undefined
  const comparison: Comparison = {
    ...{ a, b },
    difference: a.value === null || b.value === null ? null : measured(a.value - b.value, found?.difference),
    ratio: a.value === null || !b.value ? null : measured(a.value / b.value, found?.ratio),
    verdict: found === undefined ? 'too_few' : verdictOf(METRICS[wanted.metric], found.difference),
    rounds: found === undefined ? 0 : ROUNDS,
  }
  return { data: [comparison], meta: answerA.meta }
}

function comparable(id: MetricId): Shape {
  const shape = shapeOf(METRICS[id])
  if (shape === undefined)
    throw new Mistake(
      'not_comparable',
      'id',
      `${id} is neither a ratio of sums nor a percentile: drawing sessions again says nothing true about it`,
    )
  return shape
}

function sidesWanted({ a, b, baseline, ...common }: ComparisonWanted): [Wanted, Wanted] {
  if (baseline !== undefined) {
    if (a.length === 0 && b.length === 0) return [common, { ...common, ...baseline }]
    throw new Mistake('bad_parameter', 'baseline_from', 'compare two cohorts or two windows, not both at once')
  }
  if (a.length === 0 || b.length === 0)
    throw new Mistake(
      'bad_parameter',
      a.length === 0 ? 'a' : 'b',
      'say what to compare: cohorts by a and b, or windows by baseline_from and baseline_to',
    )
  return [
    { ...common, filters: narrowed(common.filters, a, 'a') },
    { ...common, filters: narrowed(common.filters, b, 'b') },
  ]
}

/** The second window's mistakes are about its own parameters. */
const namingBaseline = <T>(answer: Promise<T>): Promise<T> =>
  answer.catch(error => {
    if (!(error instanceof Mistake) || error.parameter !== 'from') throw error
    throw new Mistake(error.code, 'baseline_from', error.message.replaceAll(/\b(from|to)\b/g, 'baseline_$1'))
  })

const sideOf = ({ data: [found], meta }: Answer<Value>): SideAnswer => ({
  from: meta.from,
  to: meta.to,
  tier: meta.tier,
  ...(found ?? { value: null, reason: 'no_data' as const, n: 0 }),
  sessions: meta.sessions ?? 0,
  frames: meta.frames ?? 0,
  completeness_pct: meta.completeness_pct,
})

type AskedSide = readonly [Wanted, SideAnswer]

async function resampled(desk: Desk, shape: Shape, ...asked: [AskedSide, AskedSide]): Promise<Difference | undefined> {
  const blocks = asked.some(([, { sessions }]) => sessions > CLUSTERS_MAX) ? CLUSTERS_MAX : 0
  const clusters = async ([wanted]: AskedSide): Promise<ClusterRow[]> => {
    const { subject } = await subjectOf(desk, wanted)
    return desk.ask(clustersQuestion(shape, subject, blocks))
  }
  const [a, b] = await Promise.all([clusters(asked[0]), clusters(asked[1])])
  const sides = sidesOf(shape, a, b)
  return inSlices(differenceOf(sides.a, sides.b, sides.shared))
}

export const measured = (value: number, interval: Interval | null | undefined): Measured => ({
  value,
  low: interval?.low ?? null,
  high: interval?.high ?? null,
})

export function verdictOf({ better }: Pick<Metric, 'better'>, { low, high }: Limits): Verdict {
  if (low <= 0 && high >= 0) return 'no_difference_shown'
  if (better === 'neither') return 'different'
  return (better === 'higher') === low > 0 ? 'better' : 'worse'
}
