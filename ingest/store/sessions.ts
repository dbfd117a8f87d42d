/**
 * Whole sessions: one row each in `sessions_v1`, every cell column merged over its life, so that every metric works on it.
 *
 * The sessions heard of in an hour are settled again when that hour changed, from hour cells and, where those are behind, from minutes.
 * So a session costs a handful of cells a time, however long it plays: an hour has at most sixty minutes, all before it is hours.
 * From when to when a session lived is widened first (`session_spans_v1`) and read after `settled_at` was taken: of two settlers of one
 * session the one with the later stamp has seen at least what the other has.
 */
import { CELL_COLUMNS } from './cells.ts'
import type { Store } from './clickhouse.ts'
import { type DueBucket, dueCoarser, noteSettled, SETTLE_COMMENT, settlingBegins, TIERS } from './settle.ts'

export const SESSIONS_TABLE = 'sessions_v1'
export const SPANS_TABLE = 'session_spans_v1'
const HOUR_S = TIERS.hour.seconds

/**
 * The columns of `sessions_v1`, to be read with FINAL: `t` and `last_t`, the begin of its first and last ten-second cell; the cell's
 * columns as in every tier; `settled_at`. Sessions of a range: `t < to AND last_t >= from`.
 */
export const SESSION_COLUMNS = ['t', 'session_id', 'last_t', ...Object.keys(CELL_COLUMNS), 'settled_at'] as const

const moment = (name: string): string => `toDateTime({${name}:UInt32}, 'UTC')`

/** Those heard of in the hours. Without FINAL: an id is an id. */
const HEARD = `SELECT session_id FROM ${TIERS['10s'].table}
  WHERE t >= ${moment('first')} AND t < ${moment('last')} + ${HOUR_S} AND intDiv(toUnixTimestamp(t), ${HOUR_S}) * ${HOUR_S} IN {hours:Array(UInt32)}`
const SPANS = `SELECT session_id, min(first) AS first, max(last) AS last FROM ${SPANS_TABLE} WHERE session_id IN (${HEARD}) GROUP BY session_id`

const WIDEN = `INSERT INTO ${SPANS_TABLE} (session_id, first, last)
  SELECT session_id, min(t), max(t) FROM ${TIERS['10s'].table}
  WHERE t >= ${moment('first')} AND t < ${moment('last')} + ${HOUR_S} AND intDiv(toUnixTimestamp(t), ${HOUR_S}) * ${HOUR_S} IN {hours:Array(UInt32)}
  GROUP BY session_id
  SETTINGS async_insert = 0`

const NAMES = Object.keys(CELL_COLUMNS)
const MERGED = Object.entries(CELL_COLUMNS).map(([name, { fromCells }]) => `${fromCells(name)} AS merged_${name}`)
const cellsOf = (table: string, from: string, to: string): string =>
  `SELECT session_id, ${NAMES.join(', ')} FROM ${table} FINAL WHERE t >= ${from} AND t < ${to} AND session_id IN (${HEARD})`

const WRITE = `INSERT INTO ${SESSIONS_TABLE} (${SESSION_COLUMNS.join(', ')})
  SELECT span.first, whole.session_id, span.last, ${NAMES.map(name => `merged_${name}`).join(', ')}, {settled_at:DateTime64(6, 'UTC')}
  FROM (
    SELECT session_id, ${MERGED.join(', ')}
    FROM (
      ${cellsOf(TIERS.hour.table, moment('begin'), moment('cut'))}
      UNION ALL
      ${cellsOf(TIERS.minute.table, moment('cut'), moment('end'))}
    )
    GROUP BY session_id
  ) AS whole
  INNER JOIN (${SPANS}) AS span ON span.session_id = whole.session_id
  SETTINGS async_insert = 0, max_partitions_per_insert_block = 1000, max_threads = 1`

/** A row whose beginning is not the session's any more: it stands later, since spans only widen. */
const DROP_MOVED = `INSERT INTO ${SESSIONS_TABLE} (t, session_id, last_t, settled_at, gone)
  SELECT row.t, row.session_id, row.last_t, row.settled_at + INTERVAL 1 MICROSECOND, 1
  FROM (
    SELECT t, session_id, last_t, settled_at FROM ${SESSIONS_TABLE} FINAL
    WHERE t >= ${moment('begin')} AND t < ${moment('end')} AND session_id IN (${HEARD})
  ) AS row
  INNER JOIN (${SPANS}) AS span ON span.session_id = row.session_id
  WHERE row.t != span.first
  SETTINGS async_insert = 0, max_partitions_per_insert_block = 1000`

/** Settles every session heard of in the hours, over its whole life. */
export async function settleSessions(store: Store, hours: readonly DueBucket[]): Promise<void> {
  if (hours.length === 0) return
  const settled_at = await writeSessions(
    store,
    hours.map(({ t }) => t),
  )
  await noteSettled(store, 'session', hours, settled_at)
}

/** @returns what its rows are stamped with */
export async function writeSessions(store: Store, starts: readonly number[]): Promise<string> {
  const params = { hours: starts, first: Math.min(...starts), last: Math.max(...starts) }
  const settings = { log_comment: `${SETTLE_COMMENT}session` }
  await store.command(WIDEN, params, settings)
  const settled_at = await settlingBegins(store)
  const [lives] = await store.query<{ begin: number | null; end: number | null }>(
    `SELECT toUnixTimestamp(toStartOfHour(minOrNull(first))) AS begin, toUnixTimestamp(maxOrNull(last)) + 1 AS end FROM (${SPANS})`,
    params,
  )
  const { begin, end } = lives ?? {}
  if (typeof begin === 'number' && typeof end === 'number') {
    const behind = await dueCoarser(store, 'hour', begin)
    const cut = Math.min(end, ...behind.map(({ t }) => t))
    await store.command(WRITE, { ...params, begin, end, cut, settled_at }, settings)
    await store.command(DROP_MOVED, { ...params, begin, end }, settings)
  }
  return settled_at
}
