/**
 * Were the decisions good? By policy and version, from the ledger beside what the sessions lived through; and, of two policies, whether
 * one is better: the difference of each figure with its interval over sessions, as `query/comparisons` has it.
 */

import { CLUSTERS_MAX } from '../comparisons/clusters.ts'
import { type Measured, measured, SESSIONS_MIN, type Verdict, verdictOf } from '../comparisons/compare.ts'
import { type Answer, type Desk, freshOf, metaOf } from '../metrics/answer.ts'
import { NOT_SETTLED } from '../metrics/freshness.ts'
import { Mistake } from '../metrics/mistake.ts'
import { chooseWindow, type Moment, type Window } from '../metrics/range.ts'
import { differenceOf, ROUNDS } from '../statistics/difference.ts'
import { type Estimator, ratioEstimator } from '../statistics/estimators.ts'
import { inSlices } from '../statistics/slices.ts'
import {
  JUDGED_MS,
  REGRET_IDS,
  REGRET_METRICS,
  type RegretId,
  type RegretMetric,
  regretValue,
} from './regret-metrics.ts'
import {
  type PolicyRow,
  policiesQuestion,
  type RegretCluster,
  regretClustersQuestion,
  type Whose,
} from './regret-questions.ts'

export interface PolicyRegret extends Whose {
  readonly sessions: number
  readonly decisions: number
  readonly regret: Readonly<Record<RegretId, number | null>>
}

interface RegretDifference {
  /** a − b, and a / b; null where a side has no value, the ratio also where b is 0. */
  readonly difference: Measured | null
  readonly ratio: Measured | null
  readonly verdict: Verdict
}

export interface RegretComparison {
  /** Null: no decision of it in the range. */
  readonly a: PolicyRegret | null
  readonly b: PolicyRegret | null
  readonly regret: Readonly<Record<RegretId, RegretDifference>>
  readonly rounds: number
}

export interface RegretWanted {
  readonly from: Moment
  readonly to: Moment
  readonly limit: number
  readonly between?: readonly [a: Whose, b: Whose] | undefined
}

/** What a decision did is known when its time is up and the events of it have arrived. */
const UNDECIDED_MS = JUDGED_MS + 5_000
const POLICIES_MAX = 1_000

/** @throws Mistake naming the parameter */
export async function regret(
  desk: Desk,
  wanted: RegretWanted,
): Promise<Answer<PolicyRegret> & { comparison: RegretComparison | null }> {
  const window = windowOf(desk, wanted)
  const fresh = freshOf(desk, window, NOT_SETTLED)
  const asked = desk.ask(policiesQuestion(window, wanted.between ? POLICIES_MAX : wanted.limit))
  const [[all, ...policies], freshness] = await Promise.all([asked, fresh])
  const told = policies.map(toldOf)
  const comparison = wanted.between ? await compared(desk, window, told, wanted.between) : null
  const behind = { sessions: all?.sessions ?? 0, frames: 0, cells: 0, completeness_pct: null }
  const meta = { ...metaOf(null, { window }, freshness, behind), frames: null, cells: null }
  return {
    data: told.slice(0, wanted.limit),
    comparison,
    meta: { ...meta, groups_total: all?.policies_total ?? 0 },
  }
}

/** As far as it can be judged by now. */
function windowOf(desk: Desk, { from, to }: RegretWanted): Window {
  const window = naming('from', () => chooseWindow({ from, to, tier: 'events' }, desk.now(), desk.retention))
  const judged = Math.floor((desk.now() - UNDECIDED_MS) / 1_000)
  return { ...window, to: Math.max(window.from, Math.min(window.to, judged)) }
}

/** The tier is not what the caller chose; the range is. */
function naming<T>(parameter: string, choose: () => T): T {
  try {
    return choose()
  } catch (error) {
    if (!(error instanceof Mistake) || error.parameter !== 'tier') throw error
    const { code, message } = error
    throw new Mistake(code === 'bad_tier' ? 'bad_range' : code, parameter, message)
  }
}

const toldOf = ({ policy, policy_version, sessions, decisions, ...sums }: PolicyRow): PolicyRegret => ({
  ...{ policy, policy_version, sessions, decisions },
  regret: each(metric => regretValue(metric, sums)),
})

const each = <T>(of: (metric: RegretMetric) => T): Record<RegretId, T> =>
  Object.fromEntries(REGRET_IDS.map(id => [id, of(REGRET_METRICS[id])])) as Record<RegretId, T>

async function compared(
  desk: Desk,
  window: Window,
  told: readonly PolicyRegret[],
  between: readonly [Whose, Whose],
): Promise<RegretComparison> {
  const isOf = (whose: Whose) => (row: Whose) =>
    row.policy === whose.policy && row.policy_version === whose.policy_version
  const [a, b] = [told.find(isOf(between[0])), told.find(isOf(between[1]))]
  const most = Math.max(a?.sessions ?? 0, b?.sessions ?? 0)
  const enough = Math.min(a?.sessions ?? 0, b?.sessions ?? 0) >= SESSIONS_MIN
  const rows = enough
    ? await desk.ask(regretClustersQuestion(window, between, most > CLUSTERS_MAX ? CLUSTERS_MAX : 0))
    : []
  const [of_a, of_b] = [rows.filter(isOf(between[0])), rows.filter(isOf(between[1]))]
  const differences: [RegretId, RegretDifference][] = []
  for (const id of REGRET_IDS) {
    const values = [a?.regret[id] ?? null, b?.regret[id] ?? null] as const
    differences.push([id, await differenceBetween(REGRET_METRICS[id], values, of_a, of_b)])
  }
  return {
    ...{ a: a ?? null, b: b ?? null },
    regret: Object.fromEntries(differences) as Record<RegretId, RegretDifference>,
    rounds: enough ? ROUNDS : 0,
  }
}

/** Both over the same clusters, in an order that does not depend on the order of reading. */
async function differenceBetween(
  metric: RegretMetric,
  [a, b]: readonly [number | null, number | null],
  of_a: readonly RegretCluster[],
  of_b: readonly RegretCluster[],
): Promise<RegretDifference> {
  if (a === null || b === null) return { difference: null, ratio: null, verdict: 'too_few' }
  const names = [...new Set([...of_a, ...of_b].map(({ cluster }) => cluster))].sort()
  const side = (rows: readonly RegretCluster[]): Estimator => {
    const byName = new Map(rows.map(row => [row.cluster, row]))
    const sums = (name: RegretMetric['numerator']) => Float64Array.from(names, of => byName.get(of)?.[name] ?? 0)
    return ratioEstimator(sums(metric.numerator), sums(metric.denominator), metric.factor)
  }
  const shared = names.length < of_a.length + of_b.length
  const found = names.length > 0 ? await inSlices(differenceOf(side(of_a), side(of_b), shared)) : undefined
  return {
    difference: measured(a - b, found?.difference),
    ratio: b > 0 ? measured(a / b, found?.ratio) : null,
    verdict: found ? verdictOf(metric, found.difference) : 'too_few',
  }
}
