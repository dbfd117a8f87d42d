/**
 * A metric per rung of the ladder. A rung is no dimension of a cell, as a session may pass several within ten seconds: its time and its
 * packets are those of the intervals that name it, and the frames of ten seconds belong to the rung that had most of them.
 */
import type { Answer, Desk, Slice, Wanted } from './answer.ts'
import { metaOf, subjectOf, valued } from './answer.ts'
import { METRIC_IDS, METRICS, type MetricId } from './catalogue.ts'
import type { ByRung } from './entry.ts'
import { Mistake } from './mistake.ts'
import type { Question } from './question.ts'
import {
  type BreakdownRow,
  behindQuestion,
  breakdownRow,
  type Order,
  orderedSql,
  paramsOf,
  type Subject,
} from './questions.ts'
import { cellsOf } from './sql.ts'

export const RUNG = 'rung'
export const RUNG_METRIC_IDS: readonly MetricId[] = METRIC_IDS.filter(id => METRICS[id].by_rung !== undefined)

/** Per rung's map the column with the whole: what no rung accounts for belongs to the unknown one. */
const WHOLES = {
  rung_time_ms: 'interval_ms',
  rung_intervals: 'intervals',
  rung_packets_lost: 'packets_lost',
  rung_packets_received: 'packets_received',
  rung_frames: 'frames',
  rung_frame_time_us: 'frame_time_sum_us',
  rung_stutter_time_us: 'stutter_time_us',
} as const

export function rungsQuestion(
  metric: Pick<ByRung, 'value' | 'count' | 'bad'>,
  better: 'higher' | 'lower' | 'neither',
  subject: Subject,
  order: Order,
  limit: number,
): Question<BreakdownRow> {
  const columns = Object.entries(WHOLES).flat()
  const cells = cellsOf(subject.window.tier, columns, subject.condition)
  const perRung = Object.entries(WHOLES).map(
    ([map, whole]) =>
      `sum(if(key = '', toInt64(${whole}) - toInt64(arraySum(mapValues(${map}))), toInt64(${map}[key]))) AS sum_${map}`,
  )
  const renamed = Object.keys(WHOLES).map(map => `sum_${map} AS ${map}`)
  return {
    id: 'breakdown_rung',
    sql: `SELECT [rung] AS labels, value, n, sessions, frames, bad / nullIf(sum(bad) OVER (), 0) AS share_of_bad, count() OVER () AS groups_total
FROM (
  SELECT rung, sessions, rung_frames AS frames, ${metric.value} AS value, ${metric.count} AS n, ${metric.bad ?? 'NULL'} AS bad
  FROM (
    SELECT key AS rung, sessions, ${renamed.join(', ')}
    FROM (
      SELECT key, uniqExact(session_id) AS sessions, ${perRung.join(', ')}
      FROM ${cells} ARRAY JOIN arrayConcat(mapKeys(rung_time_ms), if(interval_ms > arraySum(mapValues(rung_time_ms)) OR empty(rung_time_ms), [''], [])) AS key
      GROUP BY key
    )
  )
) ORDER BY ${orderedSql(order, better)}, sessions DESC, labels LIMIT {limit:UInt32}`,
    params: { ...paramsOf(subject), limit },
    row: breakdownRow,
  }
}

export type RungSlice = Slice & { readonly rung: string | null }

/** @throws Mistake where nothing is known of the metric by rung */
export async function rungBreakdown(
  desk: Desk,
  wanted: Wanted,
  asked: Order | undefined,
  limit: number,
): Promise<Answer<RungSlice>> {
  const { by_rung, better } = METRICS[wanted.metric]
  if (by_rung === undefined) throw new Mistake('bad_parameter', 'by', `by=${RUNG} is for ${RUNG_METRIC_IDS.join(', ')}`)
  if (asked === 'impact' && by_rung.bad === undefined)
    throw new Mistake('bad_order', 'order', `${wanted.metric} counts nothing bad, so no rung has an impact on it`)
  const order = asked ?? (by_rung.bad === undefined ? 'value' : 'impact')
  const { subject, freshness } = await subjectOf(desk, wanted)
  const [rows, [behind], fresh] = await Promise.all([
    desk.ask(rungsQuestion(by_rung, better, subject, order, limit)),
    desk.ask(behindQuestion(subject)),
    freshness,
  ])
  const data = rows.map(({ labels: [rung = null], sessions, frames, share_of_bad, ...row }) => ({
    rung,
    ...valued(wanted.metric, subject.condition, row),
    sessions,
    frames,
    share_of_bad,
  }))
  const groups_total = rows[0]?.groups_total ?? 0
  return { data, meta: { ...metaOf(wanted.metric, subject, fresh, behind), groups_total } }
}
