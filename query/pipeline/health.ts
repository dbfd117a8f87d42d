/**
 * Can the numbers be trusted now? What was stored in the last quarter of an hour, how new it is, what was refused, lost or sent twice,
 * and what still waits to be settled. Over a fixed recent span, so that a panel may ask as often as it likes.
 * How far Kafka's log is ahead of the ingester is not asked here (`ingest_lag_records` is the ingester's vital), but how old the newest
 * stored record of a partition is.
 */
import { z } from 'zod'
import { REASONS } from '../../ingest/contract/refusal.ts'
import { recentSql } from '../../ingest/store/audit.ts'
import { SAID_KINDS } from '../../ingest/store/cells.ts'
import type { Store } from '../../ingest/store/clickhouse.ts'
import { type DueBucket, due10s, dueCoarser, type Tier } from '../../ingest/store/settle.ts'
import { type Answer, type Desk, metaOf, subjectOf } from '../metrics/answer.ts'
import { METRICS } from '../metrics/catalogue.ts'
import { type Question, StoreFailure } from '../metrics/question.ts'
import { behindQuestion, overallQuestion } from '../metrics/questions.ts'
import { iso } from '../metrics/range.ts'
import { moment } from '../metrics/sql.ts'

export const RECENT_S = 15 * 60
/** What is older was settled long ago or will be when its events arrive. */
const BACKLOG_S = 3_600

interface PartitionHealth {
  readonly log_id: string
  readonly kafka_partition: number
  /** First offset of the recent span; null if nothing arrived in it. */
  readonly first_offset: number | null
  readonly next_offset: number
  readonly rows: number
  /** Offsets no row covers, less those covered more than once, and the other way round. Both must be 0. */
  readonly offsets_missing: number
  readonly offsets_doubled: number
  /** Deleted by Kafka before they were read. Must be 0. */
  readonly offsets_expired: number
  readonly last_appended_at: string | null
  readonly last_ingested_at: string | null
}

interface Backlog {
  readonly due_buckets: number
  readonly oldest_due_at: string | null
}

export interface Health {
  readonly rows: number
  readonly rows_per_minute: number
  readonly events: number
  readonly per_minute: { readonly t: string; readonly rows: number; readonly rejected: number }[]
  readonly rejected: number
  readonly rejected_pct: number | null
  readonly rejects: { readonly reason: (typeof REASONS)[number]; readonly count: number; readonly share: number }[]
  readonly resent_pct: number | null
  readonly completeness_pct: number | null
  readonly offsets_missing: number
  readonly offsets_doubled: number
  readonly offsets_expired: number
  readonly settling: Readonly<Record<Tier, Backlog>>
  readonly partitions: PartitionHealth[]
}

const since = (now_ms: number): number => Math.floor(now_ms / 1_000) - RECENT_S
const RECENT = `ingested_at >= ${moment('since')}`

const minuteRow = z.object({ t: z.number(), rows: z.number(), events: z.number(), rejected: z.number() })

export const minutesQuestion = (now_ms: number): Question<z.infer<typeof minuteRow>> => ({
  id: 'pipeline_minutes',
  sql: `SELECT toUnixTimestamp(toStartOfMinute(ingested_at)) AS t, count() AS rows, countIf(kind IN ${SAID_KINDS}) AS events,
  countIf(kind = 'rejected') AS rejected
FROM events_v1 WHERE ${RECENT} GROUP BY t ORDER BY t`,
  params: { since: since(now_ms) },
  row: minuteRow,
})

const reasonRow = z.object({ reason: z.enum(REASONS), refused: z.number() })

const reasonsQuestion = (now_ms: number): Question<z.infer<typeof reasonRow>> => ({
  id: 'pipeline_rejects',
  sql: `SELECT reason, count() AS refused FROM events_v1 WHERE kind = 'rejected' AND ${RECENT}
GROUP BY reason ORDER BY refused DESC, reason`,
  params: { since: since(now_ms) },
  row: reasonRow,
})

const positionRow = z.object({
  log_id: z.string(),
  kafka_partition: z.number(),
  first_offset: z.number(),
  next_offset: z.number(),
  covered: z.number(),
  expired: z.number(),
  rows: z.number(),
  appended_ms: z.number().nullable(),
  ingested_ms: z.number(),
})

export const positionsQuestion = (now_ms: number): Question<z.infer<typeof positionRow>> => ({
  id: 'pipeline_positions',
  sql: `${recentSql(moment('since'))} ORDER BY log_id, kafka_partition`,
  params: { since: since(now_ms) },
  row: positionRow,
})

const progressRow = z.object({
  log_id: z.string(),
  kafka_partition: z.number(),
  next: z.number(),
  appended_ms: z.number().nullable(),
})

/** How far partitions had come that are quiet now. */
const PROGRESS: Question<z.infer<typeof progressRow>> = {
  id: 'pipeline_progress',
  sql: `SELECT log_id, kafka_partition, max(next_offset) AS next,
  toUnixTimestamp64Milli(argMax(tuple(last_appended_at), next_offset).1) AS appended_ms
FROM partition_progress_v1 GROUP BY log_id, kafka_partition ORDER BY log_id, kafka_partition`,
  params: {},
  row: progressRow,
}

export async function health(desk: Desk, store: Store): Promise<Answer<Health>> {
  const now_ms = desk.now()
  const window = { from: { before_now_ms: RECENT_S * 1_000 }, to: { before_now_ms: 0 }, tier: '10s' as const }
  const { subject, freshness } = await subjectOf(desk, { ...window, filters: [] })
  const [minutes, reasons, positions, progress, fine, minute, hour, [behind], [resent], fresh] = await Promise.all([
    desk.ask(minutesQuestion(now_ms)),
    desk.ask(reasonsQuestion(now_ms)),
    desk.ask(positionsQuestion(now_ms)),
    desk.ask(PROGRESS),
    backlog(due10s(store, since(now_ms) - BACKLOG_S)),
    backlog(dueCoarser(store, 'minute', since(now_ms) - BACKLOG_S)),
    backlog(dueCoarser(store, 'hour', since(now_ms) - BACKLOG_S)),
    desk.ask(behindQuestion(subject)),
    desk.ask(overallQuestion(METRICS.resent_pct, subject)),
    freshness,
  ])
  const partitions = partitionsOf(positions, progress)
  const total = (of: (minute: z.infer<typeof minuteRow>) => number): number =>
    minutes.reduce((sum, minute) => sum + of(minute), 0)
  const [rows, rejected] = [total(minute => minute.rows), total(minute => minute.rejected)]
  const offsets = (which: 'offsets_missing' | 'offsets_doubled' | 'offsets_expired'): number =>
    partitions.reduce((sum, partition) => sum + partition[which], 0)
  const answer: Health = {
    rows,
    rows_per_minute: rows / (RECENT_S / 60),
    events: total(minute => minute.events),
    per_minute: minutes.map(minute => ({ t: iso(minute.t * 1_000), rows: minute.rows, rejected: minute.rejected })),
    rejected,
    rejected_pct: rows > 0 ? (100 * rejected) / rows : null,
    rejects: reasons.map(({ reason, refused }) => ({ reason, count: refused, share: refused / Math.max(1, rejected) })),
    resent_pct: resent?.value ?? null,
    completeness_pct: behind?.completeness_pct ?? null,
    ...{ offsets_missing: offsets('offsets_missing'), offsets_doubled: offsets('offsets_doubled') },
    ...{ offsets_expired: offsets('offsets_expired'), settling: { '10s': fine, minute, hour }, partitions },
  }
  return { data: [answer], meta: metaOf(null, subject, fresh, behind) }
}

async function backlog(due: Promise<DueBucket[]>): Promise<Backlog> {
  const buckets = await due.catch(error => {
    throw new StoreFailure('due_buckets', error)
  })
  const [oldest] = buckets
  return { due_buckets: buckets.length, oldest_due_at: oldest ? iso(oldest.t * 1_000) : null }
}

function partitionsOf(
  positions: readonly z.infer<typeof positionRow>[],
  progress: readonly z.infer<typeof progressRow>[],
): PartitionHealth[] {
  const keyOf = (row: { log_id: string; kafka_partition: number }): string => `${row.log_id}/${row.kafka_partition}`
  const quiet = new Map(progress.map(row => [keyOf(row), row]))
  for (const row of positions) quiet.delete(keyOf(row))
  const active = positions.map(row => {
    const uncovered = row.next_offset - row.first_offset - row.covered
    return {
      ...{ log_id: row.log_id, kafka_partition: row.kafka_partition },
      ...{ first_offset: row.first_offset, next_offset: row.next_offset, rows: row.rows },
      ...{ offsets_missing: Math.max(0, uncovered), offsets_doubled: Math.max(0, -uncovered) },
      offsets_expired: row.expired,
      last_appended_at: row.appended_ms === null ? null : iso(row.appended_ms),
      last_ingested_at: iso(row.ingested_ms),
    }
  })
  const rest = [...quiet.values()].map(row => ({
    ...{ log_id: row.log_id, kafka_partition: row.kafka_partition, first_offset: null, next_offset: row.next },
    ...{ rows: 0, offsets_missing: 0, offsets_doubled: 0, offsets_expired: 0, last_ingested_at: null },
    last_appended_at: row.appended_ms === null ? null : iso(row.appended_ms),
  }))
  return [...active, ...rest].sort(
    (one, other) => one.log_id.localeCompare(other.log_id) || one.kafka_partition - other.kafka_partition,
  )
}
