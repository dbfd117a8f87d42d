/**
 * How new is an answer, and is it whole? Two questions: the first reads the row counts that settling notes (`settled_v1`) and is asked
 * before any value is; the second, beside the values, looks for the newest event behind what the first saw. So an answer may seem
 * older than it is, never newer.
 */
import { z } from 'zod'
import { EVENT_KINDS } from '../../ingest/store/cells.ts'
import { CUBE } from '../../ingest/store/cube.ts'
import type { Retention } from '../../ingest/store/migrate.ts'
import type { Question } from './question.ts'
import { bucketSeconds, type Window } from './range.ts'
import { moment } from './sql.ts'

const DAY_S = 86_400
const MINUTE_S = 60
/** In so many settled buckets, the last of the range, the newest event is looked for. */
const NEWEST_BUCKETS = 2
const NEWEST_SPAN_S = NEWEST_BUCKETS * 10
/** So many minutes the cube may be behind in while cells stand in for those alone: late events leave a few. */
export const HOLES_MAX = 60
/** Rows may become visible up to this long after the moment they are marked with. */
const INSERT_TAKES_S = 1

/** Before this, rows may have gone by retention: buckets are as they were settled last. */
const rememberedSince = (now_ms: number, kept: Retention): number =>
  Math.max(0, Math.floor(now_ms / 1_000 / MINUTE_S) * MINUTE_S - (Math.min(kept.raw_days, kept.cell_days) - 1) * DAY_S)

/** From when on rows are counted, and up to when. */
function countedIn({ from, to, now_ms }: Window, kept: Retention): { since: number; to: number } {
  const since = Math.max(Math.floor(from / MINUTE_S) * MINUTE_S, rememberedSince(now_ms, kept))
  return { since: Math.min(since, to), to }
}

const inRange = (column: string): string => `${column} >= ${moment('since')} AND ${column} < ${moment('to')}`

/** The hours that lie wholly in the range. */
export function wholeHours({ from, to }: Pick<Window, 'from' | 'to'>): { hours_from: number; hours_to: number } {
  const hour_s = bucketSeconds('hour')
  const hours_from = Math.min(Math.ceil(from / hour_s) * hour_s, to)
  return { hours_from, hours_to: Math.max(hours_from, Math.floor(to / hour_s) * hour_s) }
}

const settledRow = z.object({
  /** Minutes before it are settled from all their ten-second cells; from it on the minute tier is behind. */
  cut: z.number().nullable(),
  /** Hours before it are settled from all their minutes, of those wholly in the range. */
  cut_hour: z.number().nullable(),
  /** Minutes that the cube was not settled from as they are now, the first ones, one more than may be holes; and since when that is counted. */
  cube_behind: z.array(z.number()),
  counted_since: z.number(),
  settled_rows: z.number(),
  /** The last settled buckets: from when, of how many rows, settled when (epoch µs). */
  newest: z.array(z.tuple([z.number(), z.number(), z.number()])),
})
export type SettledRow = z.infer<typeof settledRow>

/** Where nothing is settled, or cells are computed from events on the fly. */
export const NOT_SETTLED: SettledRow = {
  ...{ cut: null, cut_hour: null, settled_rows: 0, newest: [] },
  ...{ cube_behind: [], counted_since: Number.POSITIVE_INFINITY },
}

/**
 * Hours are looked for over all of the range, since they are kept the longest and may be settled long after their minutes (when the
 * tier is new, or late events came).
 */
const SETTLED = `SELECT
  toUnixTimestamp(minOrNullIf(minute, fine_rows != coarse_rows)) AS cut,
  (
    SELECT toUnixTimestamp(minOrNullIf(hour, minute_rows != hour_rows))
    FROM (
      SELECT toStartOfHour(t) AS hour, sumIf(rows, tier = 'minute') AS minute_rows, sumIf(rows, tier = 'hour') AS hour_rows
      FROM settled_v1 FINAL
      WHERE tier IN ('minute', 'hour') AND t >= ${moment('hours_from')} AND t < ${moment('hours_to')}
      GROUP BY hour
    )
  ) AS cut_hour,
  arraySlice(arraySort(groupArrayIf(toUnixTimestamp(minute), fine_rows != cube_rows)), 1, ${HOLES_MAX + 1}) AS cube_behind,
  {since:UInt32} AS counted_since,
  sum(fine_rows) AS settled_rows,
  arraySlice(arrayReverseSort(groupArrayArray(buckets)), 1, ${NEWEST_BUCKETS}) AS newest
FROM (
  SELECT toStartOfMinute(t) AS minute,
    sumIf(latest_rows, tier = '10s') AS fine_rows,
    sumIf(latest_rows, tier = 'minute') AS coarse_rows,
    sumIf(latest_rows, tier = '${CUBE}') AS cube_rows,
    groupArrayIf((toUnixTimestamp(t), latest_rows, toUnixTimestamp64Micro(latest)), tier = '10s') AS buckets
  FROM (
    SELECT tier, t, rows AS latest_rows, settled_at AS latest
    FROM settled_v1 FINAL WHERE tier IN ('10s', 'minute', '${CUBE}') AND ${inRange('t')}
  )
  GROUP BY minute
)`

export const settledQuestion = (window: Window, kept: Retention): Question<SettledRow> => ({
  id: 'settled',
  sql: SETTLED,
  params: { ...countedIn(window, kept), ...wholeHours(window) },
  row: settledRow,
  reads_little: true,
})

const freshnessRow = z.object({
  /** Equal to the settled rows once every bucket of the range was settled from all the rows it has now. */
  raw_rows: z.number(),
  /** The newest event that a cell was settled from, among the last settled buckets. */
  as_of_ms: z.number().nullable(),
  ingest_lag_ms: z.number().nullable(),
})
export type FreshnessRow = z.infer<typeof freshnessRow>

/**
 * Batch by batch. Where a bucket has more rows now than it was settled from, an event counts if it was ingested a second before that
 * settling began.
 */
const FRESHNESS = `SELECT
  (SELECT count() FROM events_v1 WHERE ${inRange('t10')}) AS raw_rows,
  maxOrNullIf(
    (assumeNotNull(appended), ingested_at),
    isNotNull(appended) AND bucket > 0 AND (
      bucket_rows = {bucket_rows:Array(UInt64)}[bucket]
      OR toUnixTimestamp64Micro(toDateTime64(ingested_at, 6, 'UTC')) < {settled_us:Array(Int64)}[bucket] - ${INSERT_TAKES_S * 1_000_000}
    )
  ) AS newest,
  toUnixTimestamp64Milli(newest.1) AS as_of_ms,
  dateDiff('millisecond', newest.1, newest.2) AS ingest_lag_ms
FROM (
  SELECT appended, ingested_at, indexOf({buckets:Array(UInt32)}, toUnixTimestamp(t10)) AS bucket,
    sum(batch_rows) OVER (PARTITION BY t10) AS bucket_rows
  FROM (
    SELECT t10, ingested_at, count() AS batch_rows, maxOrNullIf(appended_at, kind IN ${EVENT_KINDS}) AS appended
    FROM events_v1 WHERE t10 >= ${moment('first_bucket')} AND t10 <= ${moment('last_bucket')} GROUP BY t10, ingested_at
  )
)`

/** The same for cells computed from events on the fly: whatever is stored is behind the answer. */
const LAST_RAW = `SELECT max(t10) FROM events_v1 WHERE ${inRange('t10')}`
const FRESHNESS_OF_EVENTS = `SELECT 0 AS raw_rows,
  maxOrNull((appended_at, ingested_at)) AS newest,
  toUnixTimestamp64Milli(newest.1) AS as_of_ms,
  dateDiff('millisecond', newest.1, newest.2) AS ingest_lag_ms
FROM events_v1
WHERE kind IN ${EVENT_KINDS} AND t10 <= (${LAST_RAW}) AND t10 > (${LAST_RAW}) - ${NEWEST_SPAN_S}`

export function freshnessQuestion(window: Window, kept: Retention, { newest }: SettledRow): Question<FreshnessRow> {
  const range = countedIn(window, kept)
  if (window.tier === 'events') return { id: 'freshness', sql: FRESHNESS_OF_EVENTS, params: range, row: freshnessRow }
  const buckets = newest.map(([t]) => t)
  return {
    id: 'freshness',
    sql: FRESHNESS,
    params: {
      ...range,
      buckets,
      bucket_rows: newest.map(([, rows]) => rows),
      settled_us: newest.map(([, , us]) => us),
      // Without a bucket, an empty range.
      first_bucket: buckets.at(-1) ?? 1,
      last_bucket: buckets[0] ?? 0,
    },
    row: freshnessRow,
    reads_little: true,
  }
}

/** Both together. */
export type Fresh = FreshnessRow & Pick<SettledRow, 'settled_rows'>

/** A bucket that ended less than this ago may still be filling: clients speak once a second, and the ingester gathers for half of one. */
const FILLING_MS = 5_000

export const isComplete = (window: Window, { settled_rows, raw_rows }: Fresh): boolean =>
  window.to * 1_000 + FILLING_MS <= window.now_ms && settled_rows === raw_rows
