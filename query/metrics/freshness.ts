/**
 * How new is an answer, and is it whole? Asked of the row counts that settling notes (`settled_v1`), never of the rows themselves.
 *
 * `cut`: minutes before it are settled from all their ten-second cells; from it on the minute tier is behind.
 * `settled_rows`, `raw_rows`: equal once every bucket of the range was settled from all the rows it has now.
 * `as_of_ms`: the newest event that a cell was settled from, among the last two settled buckets: where a bucket has more rows now than
 * it was settled from, an event counts if it was ingested a second before that settling began. So it may say older, never newer.
 */
import { z } from 'zod'
import { EVENT_KINDS } from '../../ingest/store/cells.ts'
import type { Question } from './question.ts'
import type { Retention, Window } from './range.ts'
import { moment } from './sql.ts'

const row = z.object({
  cut: z.number().nullable(),
  settled_rows: z.number(),
  raw_rows: z.number(),
  as_of_ms: z.number().nullable(),
  ingest_lag_ms: z.number().nullable(),
})
export type FreshnessRow = z.infer<typeof row>

const DAY_S = 86_400
const MINUTE_S = 60
/** The buckets in which the newest events are looked for: the last one settled and the one before it. */
const NEWEST_SPAN_S = 20
/** Rows may become visible up to this long after the moment they are marked with. */
const INSERT_TAKES_S = 1

/** Before this, rows may have gone by retention: buckets are as they were settled last. */
const rememberedSince = (now_ms: number, kept: Retention): number =>
  Math.max(0, Math.floor(now_ms / 1_000 / MINUTE_S) * MINUTE_S - (Math.min(kept.raw_days, kept.cell_days) - 1) * DAY_S)

const IN_RANGE = `t >= ${moment('since')} AND t < ${moment('to')}`

const SETTLED = `SELECT tier, t, argMax(rows, settled_at) AS latest_rows, max(settled_at) AS latest
    FROM settled_v1 WHERE ${IN_RANGE} GROUP BY tier, t`

const CUT = `SELECT toUnixTimestamp(minOrNull(minute)) FROM (
    SELECT toStartOfMinute(t) AS minute FROM settled GROUP BY minute
    HAVING sumIf(latest_rows, tier = '10s') != sumIf(latest_rows, tier = 'minute')
  )`

const LAST = `SELECT max(t) FROM settled_v1 WHERE tier = '10s' AND ${IN_RANGE}`

const BATCHES = `SELECT t10, ingested_at, count() AS batch_rows,
      maxOrNullIf(appended_at, kind IN ${EVENT_KINDS}) AS appended
    FROM events_v1 WHERE t10 > (${LAST}) - ${NEWEST_SPAN_S} AND t10 <= (${LAST}) GROUP BY t10, ingested_at`

/** The newest event behind the cells, as (appended, ingested). */
const NEWEST = `SELECT maxOrNull((assumeNotNull(appended), ingested_at)) FROM (
    SELECT appended, ingested_at, latest, latest_rows, sum(batch_rows) OVER (PARTITION BY t10) AS bucket_rows
    FROM (${BATCHES}) AS batch INNER JOIN (SELECT * FROM settled WHERE tier = '10s') AS settled ON settled.t = batch.t10
  )
  WHERE isNotNull(appended) AND (bucket_rows = latest_rows OR ingested_at < latest - INTERVAL ${INSERT_TAKES_S} SECOND)`

const SQL = `WITH settled AS (${SETTLED})
SELECT
  (${CUT}) AS cut,
  (SELECT sumIf(latest_rows, tier = '10s') FROM settled) AS settled_rows,
  (SELECT count() FROM events_v1 WHERE t10 >= ${moment('since')} AND t10 < ${moment('to')}) AS raw_rows,
  (${NEWEST}) AS newest,
  toUnixTimestamp64Milli(newest.1) AS as_of_ms,
  dateDiff('millisecond', newest.1, newest.2) AS ingest_lag_ms`

/** The same for cells computed from events on the fly: whatever is stored is behind the answer. */
const LAST_RAW = `SELECT max(t10) FROM events_v1 WHERE t10 >= ${moment('since')} AND t10 < ${moment('to')}`
const SQL_OF_EVENTS = `SELECT NULL AS cut, 0 AS settled_rows, 0 AS raw_rows,
  maxOrNull((appended_at, ingested_at)) AS newest,
  toUnixTimestamp64Milli(newest.1) AS as_of_ms,
  dateDiff('millisecond', newest.1, newest.2) AS ingest_lag_ms
FROM events_v1
WHERE kind IN ${EVENT_KINDS} AND t10 <= (${LAST_RAW}) AND t10 > (${LAST_RAW}) - ${NEWEST_SPAN_S}`

export function freshnessQuestion(window: Window, kept: Retention): Question<FreshnessRow> {
  const since = Math.max(Math.floor(window.from / MINUTE_S) * MINUTE_S, rememberedSince(window.now_ms, kept))
  return {
    id: 'freshness',
    sql: window.tier === 'events' ? SQL_OF_EVENTS : SQL,
    params: { since: Math.min(since, window.to), to: window.to },
    row,
  }
}

/** A bucket that ended less than this ago may still be filling: clients speak once a second, and the ingester gathers for half of one. */
const FILLING_MS = 5_000

export const isComplete = (window: Window, fresh: FreshnessRow): boolean =>
  window.to * 1_000 + FILLING_MS <= window.now_ms && fresh.settled_rows === fresh.raw_rows
