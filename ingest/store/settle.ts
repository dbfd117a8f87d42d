/**
 * Settling: cells computed from raw rows, whenever a bucket's raw rows have changed. Idempotent, so it needs no leader and no log:
 * a bucket is due if its row count is not the one it was settled from, and that count is written last. A crash anywhere leaves
 * nothing to repair but the work.
 */

import { CELL_COLUMNS, cellsFromCells, cellsFromEvents } from './cells.ts'
import type { Store } from './clickhouse.ts'

export type Tier = '10s' | 'minute'

/** A tier's table and the length of its bucket. */
export const TIERS = {
  '10s': { table: 'quality_per_10s_v1', seconds: 10 },
  minute: { table: 'quality_per_minute_v1', seconds: 60 },
} as const satisfies Record<Tier, { table: string; seconds: number }>

/** A bucket whose cells are not what its rows say. Times are epoch seconds. */
export interface DueBucket {
  readonly t: number
  /** Rows now, of the tier below; read before settling begins. */
  readonly rows: number
  /** When it was last settled; 0: never. */
  readonly settled_at_ms: number
}

/** Buckets of ten seconds at or after `since` (epoch seconds) whose raw rows changed since they were settled. */
export function due10s(store: Store, since: number): Promise<DueBucket[]> {
  return store.query<DueBucket>(
    `SELECT toUnixTimestamp(raw.t10) AS t, raw.rows AS rows, toUnixTimestamp64Milli(settled.at) AS settled_at_ms
     FROM (SELECT t10, count() AS rows FROM events_v1 WHERE t10 >= toDateTime({since:UInt32}, 'UTC') GROUP BY t10) AS raw
     LEFT JOIN (
       SELECT t, argMax(rows, settled_at) AS rows, max(settled_at) AS at FROM settled_v1
       WHERE tier = '10s' AND t >= toDateTime({since:UInt32}, 'UTC') GROUP BY t
     ) AS settled ON settled.t = raw.t10
     WHERE raw.rows != settled.rows
     ORDER BY t`,
    { since },
  )
}

/** Minutes at or after `since` whose ten-second buckets were settled again since. */
export function dueMinutes(store: Store, since: number): Promise<DueBucket[]> {
  return store.query<DueBucket>(
    `SELECT toUnixTimestamp(below.minute) AS t, below.rows AS rows, toUnixTimestamp64Milli(settled.at) AS settled_at_ms
     FROM (
       SELECT toStartOfMinute(t) AS minute, sum(latest) AS rows
       FROM (SELECT t, argMax(rows, settled_at) AS latest FROM settled_v1 WHERE tier = '10s' AND t >= toDateTime({since:UInt32}, 'UTC') GROUP BY t)
       GROUP BY minute
     ) AS below
     LEFT JOIN (
       SELECT t, argMax(rows, settled_at) AS rows, max(settled_at) AS at FROM settled_v1
       WHERE tier = 'minute' AND t >= toDateTime({since:UInt32}, 'UTC') GROUP BY t
     ) AS settled ON settled.t = below.minute
     WHERE below.rows != settled.rows
     ORDER BY t`,
    { since: Math.floor(since / 60) * 60 },
  )
}

const COLUMNS = ['t', 'session_id', ...Object.keys(CELL_COLUMNS), 'settled_at'].join(', ')

/**
 * Computes the cells of whole buckets again and then notes the row counts they were computed from. On one thread: a fifth less CPU
 * than on two, and inserts keep the other cores.
 */
export async function settle(store: Store, tier: Tier, buckets: readonly DueBucket[]): Promise<void> {
  if (buckets.length === 0) return
  const { table } = TIERS[tier]
  const first = Math.min(...buckets.map(bucket => bucket.t))
  const last = Math.max(...buckets.map(bucket => bucket.t))
  const params = {
    buckets: buckets.map(bucket => bucket.t),
    rows: buckets.map(bucket => bucket.rows),
    first,
    last,
    tier,
  }
  // The range prunes by the primary key, the set chooses within it.
  const cells =
    tier === '10s'
      ? cellsFromEvents(
          "t10 >= toDateTime({first:UInt32}, 'UTC') AND t10 <= toDateTime({last:UInt32}, 'UTC') AND toUnixTimestamp(t10) IN {buckets:Array(UInt32)}",
        )
      : cellsFromCells(
          TIERS['10s'].table,
          'toStartOfMinute(t)',
          "t >= toDateTime({first:UInt32}, 'UTC') AND t < toDateTime({last:UInt32}, 'UTC') + 60 AND toUnixTimestamp(toStartOfMinute(t)) IN {buckets:Array(UInt32)}",
        )
  const started = await store.query<{ now: string }>("SELECT toString(now64(6, 'UTC')) AS now")
  const settled_at = started[0]?.now
  await store.command(
    `INSERT INTO ${table} (${COLUMNS})
     SELECT *, {settled_at:DateTime64(6, 'UTC')} FROM (${cells})
     SETTINGS async_insert = 0, max_partitions_per_insert_block = 1000, max_threads = 1`,
    { ...params, settled_at },
    { log_comment: `settle ${tier}` },
  )
  await store.command(
    `INSERT INTO settled_v1 (tier, t, rows, settled_at)
     SELECT {tier:String}, toDateTime(bucket.1, 'UTC'), bucket.2, {settled_at:DateTime64(6, 'UTC')}
     FROM (SELECT arrayJoin(arrayZip({buckets:Array(UInt32)}, {rows:Array(UInt64)})) AS bucket)
     SETTINGS async_insert = 0, max_partitions_per_insert_block = 1000`,
    { ...params, settled_at },
  )
}
