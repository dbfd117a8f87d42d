/**
 * Settling: cells computed from what is below them, whenever that has changed. Ten-second cells come from raw rows, each coarser tier
 * from the one below it. Idempotent, so it needs no leader and no log: a bucket is due if its row count is not the one it was settled
 * from, and that count is written last. A crash anywhere leaves nothing to repair but the work.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { cellsFromCells, cellsFromEvents } from './cell-sql.ts'
import { CELL_COLUMNS } from './cells.ts'
import type { Store } from './clickhouse.ts'

export const COARSER_TIERS = ['minute', 'hour'] as const
/** Settled from the cells of the tier below. */
export type CoarserTier = (typeof COARSER_TIERS)[number]
export type Tier = '10s' | CoarserTier

/** A tier's table and the length of its bucket. */
export const TIERS = {
  '10s': { table: 'quality_per_10s_v1', seconds: 10 },
  minute: { table: 'quality_per_minute_v1', seconds: 60 },
  hour: { table: 'quality_per_hour_v1', seconds: 3_600 },
} as const satisfies Record<Tier, { table: string; seconds: number }>

/** What a coarser tier is settled from. */
const BELOW = { minute: '10s', hour: 'minute' } as const satisfies Record<CoarserTier, Tier>

/** Beside the tiers, whole sessions are settled when an hour of theirs changes (`sessions.ts`), and minutes without sessions when a minute does (`cube.ts`); noted like a tier. */
const COUNTED_BY = {
  minute: { below: BELOW.minute, seconds: TIERS.minute.seconds },
  hour: { below: BELOW.hour, seconds: TIERS.hour.seconds },
  session: { below: 'minute', seconds: TIERS.hour.seconds },
  minute_by_dimension: { below: 'minute', seconds: TIERS.minute.seconds },
} as const
/** What is settled from cells. */
export type Counted = keyof typeof COUNTED_BY
export type Settled = '10s' | Counted

/** How long a bucket of it is. */
export const bucketSeconds = (tier: Settled): number =>
  tier === '10s' ? TIERS[tier].seconds : COUNTED_BY[tier].seconds

/** A bucket whose cells are not what its rows say. Times are epoch seconds. */
export interface DueBucket {
  readonly t: number
  /** Rows of `events_v1` now: counted for ten seconds, noted by the settling of the tier below for the others. */
  readonly rows: number
  /** When it was last settled; 0: never. */
  readonly settled_at_ms: number
}

/** What buckets were settled from last, and when; `WHERE … GROUP BY t` follows. */
export const NOTED = `SELECT t, argMax(rows, settled_at) AS noted_rows, max(settled_at) AS noted_at FROM settled_v1`
const atOrAfter = (column: string): string => `${column} >= toDateTime({since:UInt32}, 'UTC')`

/**
 * Buckets of ten seconds at or after `since` (epoch seconds) whose raw rows changed since they were settled. One that has none any
 * more (they were erased) is due as well, so `since` must lie within what raw rows are kept for.
 */
export const due10s = (store: Store, since: number): Promise<DueBucket[]> => store.query<DueBucket>(DUE_10S, { since })

export const DUE_10S = `SELECT toUnixTimestamp(bucket) AS t, sum(raw_rows) AS rows, toUnixTimestamp64Milli(max(at)) AS settled_at_ms
     FROM (
       SELECT t10 AS bucket, count() AS raw_rows, 0 AS counted, toDateTime64(0, 6, 'UTC') AS at
       FROM events_v1 WHERE ${atOrAfter('t10')} GROUP BY t10
       UNION ALL
       SELECT t, 0, noted_rows, noted_at FROM (${NOTED} WHERE tier = '10s' AND ${atOrAfter('t')} GROUP BY t)
     )
     GROUP BY bucket HAVING sum(raw_rows) != sum(counted)
     ORDER BY t`

/** Buckets of a coarser tier (of sessions: hours; of the cube: minutes) at or after `since` of which something below was settled again since. */
export function dueCoarser(store: Store, tier: Counted, since: number): Promise<DueBucket[]> {
  const { below, seconds } = COUNTED_BY[tier]
  return store.query<DueBucket>(
    `SELECT toUnixTimestamp(below.bucket) AS t, below.rows AS rows, toUnixTimestamp64Milli(settled.noted_at) AS settled_at_ms
     FROM (
       SELECT toStartOfInterval(t, INTERVAL ${seconds} SECOND) AS bucket, sum(noted_rows) AS rows
       FROM (${NOTED} WHERE tier = '${below}' AND ${atOrAfter('t')} GROUP BY t)
       GROUP BY bucket
     ) AS below
     LEFT JOIN (${NOTED} WHERE tier = '${tier}' AND ${atOrAfter('t')} GROUP BY t) AS settled ON settled.t = below.bucket
     WHERE below.rows != settled.noted_rows
     ORDER BY t`,
    { since: Math.floor(since / seconds) * seconds },
  )
}

export const TIER_COLUMNS = ['t', 'session_id', ...Object.keys(CELL_COLUMNS), 'settled_at'].join(', ')

/** The store's clock: what is settled is stamped with the moment before its reading began. */
export async function settlingBegins(store: Store): Promise<string> {
  const rows = await store.query<{ now: string }>("SELECT toString(now64(6, 'UTC')) AS now")
  return rows[0]?.now ?? ''
}

export interface CellWriting {
  readonly tier: Tier
  /** Epoch seconds of whole buckets. */
  readonly buckets: readonly number[]
  readonly settled_at: string
  /** Default: the tier's own table; of a coarser tier also where it reads. */
  readonly into?: string
  readonly from?: string
  readonly comment?: string
}

/** Marks statements that write cells in ClickHouse's process list. */
export const SETTLE_COMMENT = 'settle '

/**
 * Computes the cells of whole buckets again. On one thread: a fifth less CPU than on two, and inserts keep the other cores.
 */
export async function writeCells(store: Store, writing: CellWriting): Promise<void> {
  const { tier, buckets, settled_at } = writing
  const { table, seconds } = TIERS[tier]
  // The range prunes by the primary key, the set chooses within it.
  const cells =
    tier === '10s'
      ? cellsFromEvents(
          "t10 >= toDateTime({first:UInt32}, 'UTC') AND t10 <= toDateTime({last:UInt32}, 'UTC') AND toUnixTimestamp(t10) IN {buckets:Array(UInt32)}",
        )
      : cellsFromCells(
          writing.from ?? TIERS[BELOW[tier]].table,
          `toStartOfInterval(t, INTERVAL ${seconds} SECOND)`,
          `t >= toDateTime({first:UInt32}, 'UTC') AND t < toDateTime({last:UInt32}, 'UTC') + ${seconds} AND intDiv(toUnixTimestamp(t), ${seconds}) * ${seconds} IN {buckets:Array(UInt32)}`,
        )
  await store.command(
    `INSERT INTO ${writing.into ?? table} (${TIER_COLUMNS})
     SELECT *, {settled_at:DateTime64(6, 'UTC')} FROM (${cells})
     SETTINGS async_insert = 0, max_partitions_per_insert_block = 1000, max_threads = 1`,
    { buckets, first: Math.min(...buckets), last: Math.max(...buckets), settled_at },
    { log_comment: `${SETTLE_COMMENT}${writing.comment ?? tier}` },
  )
}

/** Notes what buckets were settled from. Written last: until then they are due. */
export async function noteSettled(
  store: Store,
  tier: Settled,
  buckets: readonly DueBucket[],
  settled_at: string,
): Promise<void> {
  await store.command(
    `INSERT INTO settled_v1 (tier, t, rows, settled_at)
     SELECT {tier:String}, toDateTime(bucket.1, 'UTC'), bucket.2, {settled_at:DateTime64(6, 'UTC')}
     FROM (SELECT arrayJoin(arrayZip({buckets:Array(UInt32)}, {rows:Array(UInt64)})) AS bucket)
     SETTINGS async_insert = 0, max_partitions_per_insert_block = 1000`,
    { tier, buckets: buckets.map(bucket => bucket.t), rows: buckets.map(bucket => bucket.rows), settled_at },
  )
}

/** Computes the cells of whole buckets again and then notes the row counts they were computed from. */
export async function settle(store: Store, tier: Tier, buckets: readonly DueBucket[]): Promise<void> {
  if (buckets.length === 0) return
  const settled_at = await settlingBegins(store)
  await writeCells(store, { tier, buckets: buckets.map(bucket => bucket.t), settled_at })
  await noteSettled(store, tier, buckets, settled_at)
}

const POLL_MS = 20

/** Waits for the settlings that run now; one that begins later reads what is there by then. */
export async function settlingsEnd(store: Store): Promise<void> {
  const running = async (): Promise<string[]> => {
    const rows = await store.query<{ query_id: string }>(
      `SELECT query_id FROM system.processes WHERE startsWith(Settings['log_comment'], {prefix:String}) AND current_database = currentDatabase()`,
      { prefix: SETTLE_COMMENT },
    )
    return rows.map(({ query_id }) => query_id)
  }
  for (let left = await running(); left.length > 0; ) {
    await sleep(POLL_MS)
    const now = new Set(await running())
    left = left.filter(query_id => now.has(query_id))
  }
}
