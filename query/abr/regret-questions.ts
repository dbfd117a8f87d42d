/**
 * The ledger beside what sessions lived through, in one reading: decisions and events of the sessions that have any, each once, on one
 * clock; in the order of time every event belongs to the decision in force when it began. A decision is told apart by its `decision_id`
 * alone, and the first that Kafka appended counts.
 */
import { z } from 'zod'
import { EVENT_TERMS } from '../../ingest/store/cells.ts'
import type { Question } from '../metrics/question.ts'
import { moment } from '../metrics/sql.ts'
import { JUDGED_MS, REVERSAL_MS, SUMS } from './regret-metrics.ts'

/** A speaker's clock may be wrong by so much without being moved (`ingest/contract/clock.ts`); so long before the range a change may lie. */
const SKEW_S = 300

/** Points of time. Of one moment the decision comes first. */
const WHAT = { decision: 0, frames: 1, interval: 2, bad: 3 } as const

const around = `t10 >= ${moment('from')} - ${SKEW_S} AND t10 < ${moment('to')} + ${SKEW_S + JUDGED_MS / 1_000}`

/** A frame longer than a stutter is one, or a freeze. It begins where the one before it in its event ended. */
const BAD_MS =
  'arrayMap(bad -> began_ms + intDiv(bad.1 - bad.2, 1000), arrayFilter(bad -> bad.2 > stutter_over_us, arrayZip(arrayCumSum(frame_times), frame_times)))'

const SAID = `WITH
      ${EVENT_TERMS}
    SELECT session_id, kind AS said, log_id, kafka_partition, kafka_offset, appended_at,
      if(said = 'abr_decision', cityHash64('decision', decision_id), cityHash64(t10, session_id, source, seq)) AS identity,
      toUnixTimestamp64Milli(at) - clock_shift_ms + toUnixTimestamp64Milli(appended_at) - toUnixTimestamp64Milli(sent_at) AS began_ms,
      decision_id, policy, policy_version, toInt64(ifNull(target_bitrate_kbps, 0)) AS target_kbps,
      interval_ms AS length_ms, bitrate_kbps AS kbps, available_kbps AS free_kbps,
      if(empty(late_frames), [], ${BAD_MS}) AS bad_ms
    FROM events_v1
    WHERE kind IN ('abr_decision', 'frame_times', 'bitrate') AND ${around}
      AND session_id IN (SELECT session_id FROM events_v1 WHERE kind = 'abr_decision' AND ${around})`

const POINTS = `SELECT session_id, point.1 AS at_ms, point.2 AS what, decision_id, policy, policy_version, target_kbps, length_ms, kbps, free_kbps
  FROM (
    SELECT *, arrayJoin(arrayConcat(
      [(began_ms, multiIf(said = 'abr_decision', ${WHAT.decision}, said = 'bitrate', ${WHAT.interval}, ${WHAT.frames}))],
      arrayMap(at_ms -> (at_ms, ${WHAT.bad}), bad_ms))) AS point
    FROM (SELECT * FROM (${SAID}) ORDER BY appended_at, log_id, kafka_partition, kafka_offset LIMIT 1 BY identity)
  )`

/** One row per decision, with what happened while it was in force. */
const DECISIONS = `SELECT session_id, nth,
    anyIf(policy, is_decision) AS by, anyIf(policy_version, is_decision) AS version, anyIf(target_kbps, is_decision) AS target,
    minIf(at_ms, is_decision) AS decided_ms,
    minIfOrNull(at_ms, what = ${WHAT.frames}) AS frames_ms, minIfOrNull(at_ms, what = ${WHAT.bad}) AS worst_ms,
    sumIf(length_ms, is_counted) AS lasted_ms, sumIf(toUInt64(kbps) * length_ms, is_counted) AS bits,
    groupArrayIf((toInt64(assumeNotNull(free_kbps)), toUInt64(length_ms)), is_counted AND isNotNull(free_kbps)) AS free
  FROM (
    SELECT *, what = ${WHAT.decision} AS is_decision,
      what = ${WHAT.interval} AND at_ms >= toInt64({from:UInt32}) * 1000 AND at_ms < toInt64({to:UInt32}) * 1000 AS is_counted,
      sum(what = ${WHAT.decision}) OVER (PARTITION BY session_id ORDER BY at_ms, what, decision_id ROWS UNBOUNDED PRECEDING) AS nth
    FROM (${POINTS})
  )
  WHERE nth > 0
  GROUP BY session_id, nth`

/** The session's change before each decision: which way, when, and whose. */
const BEFORE = 'OVER (PARTITION BY session_id ORDER BY nth ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING)'
const CHANGES = `SELECT *,
    anyLast(changed) ${BEFORE} AS changed_before, anyLast(if(isNull(changed), NULL, decided_ms)) ${BEFORE} AS changed_before_ms,
    anyLast(if(isNull(changed), NULL, concat(by, ':', version))) ${BEFORE} AS changed_before_by
  FROM (
    SELECT *, if(nth = 1 OR target = target_before, NULL, sign(target - target_before)) AS changed
    FROM (
      SELECT *, lagInFrame(target) OVER (PARTITION BY session_id ORDER BY nth ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) AS target_before
      FROM (${DECISIONS})
    )
  )`

const OF_DECISION = `SELECT session_id, by, version, decided_ms, bits, lasted_ms,
    ifNull(worst_ms < decided_ms + ${JUDGED_MS}, 0) AS is_bad,
    is_bad OR ifNull(frames_ms < decided_ms + ${JUDGED_MS}, 0) AS is_judged,
    ifNull(changed = -changed_before AND decided_ms <= changed_before_ms + ${REVERSAL_MS} AND changed_before_by = concat(by, ':', version), 0) AS is_reversal,
    arrayMap(one -> (least(one.1, top), one.2), free) AS usable,
    arraySum(one -> one.1 * one.2, usable) AS all_bits, arraySum(one -> greatest(0, one.1 - target) * one.2, usable) AS left_bits
  FROM (
    SELECT *, max(target) OVER () AS top FROM (${CHANGES}) WHERE decided_ms >= toInt64({from:UInt32}) * 1000 AND decided_ms < toInt64({to:UInt32}) * 1000
  )`

const sums = Object.fromEntries(SUMS.map(name => [name, z.number()])) as Record<(typeof SUMS)[number], z.ZodNumber>
const SUMS_SQL = `sum(is_bad) AS bad, sum(is_judged) AS judged, sum(left_bits) AS unused_bits, sum(all_bits) AS usable_bits,
  sum(is_reversal) AS reversals, sum(lasted_ms) AS covered_ms, sum(bits) AS received_bits`

const whose = { policy: z.string(), policy_version: z.string() }
const policyRow = z.object({
  ...{ ...whose, ...sums },
  sessions: z.number(),
  decisions: z.number(),
  policies_total: z.number(),
})
export type PolicyRow = z.infer<typeof policyRow>

export interface Range {
  /** Epoch seconds. */
  readonly from: number
  readonly to: number
}

/** A row for all (without a name), then one per policy and version, those with the most decisions first. */
export const policiesQuestion = ({ from, to }: Range, limit: number): Question<PolicyRow> => ({
  id: 'regret',
  sql: `SELECT by AS policy, version AS policy_version, uniqExact(session_id) AS sessions, count() AS decisions, ${SUMS_SQL},
  count() OVER () - 1 AS policies_total
FROM (${OF_DECISION})
GROUP BY GROUPING SETS ((by, version), ())
ORDER BY policy = '' DESC, decisions DESC, policy, policy_version LIMIT {limit:UInt32}`,
  params: { from, to, limit: limit + 1 },
  row: policyRow,
})

export interface Whose {
  readonly policy: string
  readonly policy_version: string
}

const clusterRow = z.object({ ...whose, ...sums, cluster: z.string() })
export type RegretCluster = z.infer<typeof clusterRow>

/** The same of two policies, session by session. @param blocks 0: every session is a cluster of its own */
export const regretClustersQuestion = (
  { from, to }: Range,
  whose: readonly Whose[],
  blocks: number,
): Question<RegretCluster> => ({
  id: 'regret_clusters',
  sql: `SELECT by AS policy, version AS policy_version,
  if({blocks:UInt32} = 0, toString(session_id), toString(cityHash64(session_id) % greatest({blocks:UInt32}, 1))) AS cluster, ${SUMS_SQL}
FROM (${OF_DECISION})
WHERE concat(by, ':', version) IN {policies:Array(String)}
GROUP BY by, version, cluster`,
  params: { from, to, blocks, policies: whose.map(({ policy, policy_version }) => `${policy}:${policy_version}`) },
  row: clusterRow,
})
