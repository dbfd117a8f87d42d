/**
 * How new is an answer, and is it whole? Asked of the row counts that settling notes (`settled_v1`), never of the rows themselves.
 *
 * `cut`: minutes before it are settled from all their ten-second cells; from it on the minute tier is behind.
 * `cut_hour`: hours before it are settled from all their minutes. Looked for over all of the range, since hours are kept the longest and
 * may be settled long after their minutes (when the tier is new, or late events came).
 * `settled_rows`, `raw_rows`: equal once every bucket of the range was settled from all the rows it has now.
 * `as_of_ms`: the newest event that a cell was settled from, among the last two settled buckets: where a bucket has more rows now than
 * it was settled from, an event counts if it was ingested a second before that settling began. So it may say older, never newer.
 */
import { z } from 'zod'
import { EVENT_KINDS } from '../../ingest/store/cells.ts'
import type { Retention } from '../../ingest/store/migrate.ts'
import type { AnswerTier } from './catalogue.ts'
import type { Question } from './question.ts'
import type { Window } from './range.ts'
import { moment } from './sql.ts'

const row = z.object({
  cut: z.number().nullable(),
  cut_hour: z.number().nullable(),
  settled_rows: z.number(),
  raw_rows: z.number(),
  as_of_ms: z.number().nullable(),
  ingest_lag_ms: z.number().nullable(),
})
export type FreshnessRow = z.infer<typeof row>

const DAY_S = 86_400
const MINUTE_S = 60
/** In so many settled buckets, the last of the range, the newest event is looked for. */
const NEWEST_BUCKETS = 2
const NEWEST_SPAN_S = NEWEST_BUCKETS * 10
/** Rows may become visible up to this long after the moment they are marked with. */
const INSERT_TAKES_S = 1

/** Before this, rows may have gone by retention: buckets are as they were settled last. */
const rememberedSince = (now_ms: number, kept: Retention): number =>
  Math.max(0, Math.floor(now_ms / 1_000 / MINUTE_S) * MINUTE_S - (Math.min(kept.raw_days, kept.cell_days) - 1) * DAY_S)

const inRange = (column: string): string => `${column} >= ${moment('since')} AND ${column} < ${moment('to')}`

/** As (cut, settled_rows, newest buckets as (t, rows, settled at)): one reading for all three. */
const SETTLED = `SELECT (
    minOrNullIf(minute, fine_rows != coarse_rows),
    sum(fine_rows),
    arraySlice(arrayReverseSort(groupArrayArray(buckets)), 1, ${NEWEST_BUCKETS})
  )
  FROM (
    SELECT toStartOfMinute(t) AS minute,
      sumIf(latest_rows, tier = '10s') AS fine_rows,
      sumIf(latest_rows, tier = 'minute') AS coarse_rows,
      groupArrayIf((t, latest_rows, latest), tier = '10s') AS buckets
    FROM (
      SELECT tier, t, rows AS latest_rows, settled_at AS latest
      FROM settled_v1 FINAL WHERE tier IN ('10s', 'minute') AND ${inRange('t')}
    )
    GROUP BY minute
  )`

const CUT_HOUR = `SELECT toUnixTimestamp(minOrNullIf(hour, minute_rows != hour_rows))
  FROM (
    SELECT toStartOfHour(t) AS hour, sumIf(rows, tier = 'minute') AS minute_rows, sumIf(rows, tier = 'hour') AS hour_rows
    FROM settled_v1 FINAL
    WHERE tier IN ('minute', 'hour') AND t >= ${moment('from')} AND t < ${moment('to')}
    GROUP BY hour
  )`

/** The newest event behind the cells of the newest buckets, as (appended, ingested): batch by batch. */
const NEWEST = `SELECT maxOrNull((assumeNotNull(appended), ingested_at))
  FROM (
    SELECT appended, ingested_at, arrayFirst(bucket -> bucket.1 = t10, settled.3) AS bucket,
      sum(batch_rows) OVER (PARTITION BY t10) AS bucket_rows
    FROM (
      SELECT t10, ingested_at, count() AS batch_rows, maxOrNullIf(appended_at, kind IN ${EVENT_KINDS}) AS appended
      FROM events_v1 WHERE t10 >= settled.3[-1].1 AND t10 <= settled.3[1].1 GROUP BY t10, ingested_at
    )
  )
  WHERE isNotNull(appended) AND (bucket_rows = bucket.2 OR ingested_at < bucket.3 - INTERVAL ${INSERT_TAKES_S} SECOND)`

const sqlOf = (cut_hour: string): string => `WITH (${SETTLED}) AS settled, (${NEWEST}) AS newest
SELECT
  toUnixTimestamp(settled.1) AS cut,
  (${cut_hour}) AS cut_hour,
  settled.2 AS settled_rows,
  (SELECT count() FROM events_v1 WHERE ${inRange('t10')}) AS raw_rows,
  toUnixTimestamp64Milli(newest.1) AS as_of_ms,
  dateDiff('millisecond', newest.1, newest.2) AS ingest_lag_ms`

/** The same for cells computed from events on the fly: whatever is stored is behind the answer. */
const LAST_RAW = `SELECT max(t10) FROM events_v1 WHERE ${inRange('t10')}`
const SQL_OF_EVENTS = `SELECT NULL AS cut, NULL AS cut_hour, 0 AS settled_rows, 0 AS raw_rows,
  maxOrNull((appended_at, ingested_at)) AS newest,
  toUnixTimestamp64Milli(newest.1) AS as_of_ms,
  dateDiff('millisecond', newest.1, newest.2) AS ingest_lag_ms
FROM events_v1
WHERE kind IN ${EVENT_KINDS} AND t10 <= (${LAST_RAW}) AND t10 > (${LAST_RAW}) - ${NEWEST_SPAN_S}`

const SQL: Readonly<Record<AnswerTier, string>> = {
  events: SQL_OF_EVENTS,
  '10s': sqlOf('NULL'),
  minute: sqlOf('NULL'),
  hour: sqlOf(CUT_HOUR),
}

export function freshnessQuestion(window: Window, kept: Retention): Question<FreshnessRow> {
  const since = Math.max(Math.floor(window.from / MINUTE_S) * MINUTE_S, rememberedSince(window.now_ms, kept))
  return {
    id: 'freshness',
    sql: SQL[window.tier],
    params: { since: Math.min(since, window.to), from: window.from, to: window.to },
    row,
  }
}

/** A bucket that ended less than this ago may still be filling: clients speak once a second, and the ingester gathers for half of one. */
const FILLING_MS = 5_000

export const isComplete = (window: Window, fresh: FreshnessRow): boolean =>
  window.to * 1_000 + FILLING_MS <= window.now_ms && fresh.settled_rows === fresh.raw_rows
