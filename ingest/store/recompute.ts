/**
 * Settling again what is settled, after the definition of a cell changed: new cells are built beside the old ones, compared with them,
 * and only then put in their place. Works hour by hour, in every tier, from raw; nothing a reader sees changes before the switch.
 *
 * A new cell carries the moment before its events were read. So the settler goes on meanwhile: where it settled a bucket later than
 * that, its cell is the newer one and stays. Settlers must run the new definition by then, or they would put old cells back.
 */
import { CELL_COLUMNS } from './cells.ts'
import type { Store } from './clickhouse.ts'
import { CUBE, writeCube } from './cube.ts'
import { writeSessions } from './sessions.ts'
import {
  COARSER_TIERS,
  type CoarserTier,
  SETTLE_COMMENT,
  settlingBegins,
  settlingsEnd,
  TIER_COLUMNS,
  TIERS,
  type Tier,
  writeCells,
} from './settle.ts'

const ALL_TIERS: readonly Tier[] = ['10s', ...COARSER_TIERS]
const HOUR_S = TIERS.hour.seconds
/** One statement holds the groups of this many rows in ClickHouse's memory. */
const ROWS_AT_ONCE = 1_500_000
const COMMENT = 'recompute'

/** Where the new cells of a tier wait. */
export const shadowOf = (tier: Tier): string => `${TIERS[tier].table}_recomputed`

/** An hour with events: its start, and its buckets of ten seconds with their rows. Epoch seconds. */
export interface Hour {
  readonly t: number
  readonly buckets: readonly { readonly t: number; readonly rows: number }[]
}

/** Hours of [from, to) that have raw rows, the newest first. */
export async function hoursOf(store: Store, from: number, to: number): Promise<Hour[]> {
  const rows = await store.query<{ hour: number; buckets: [number, number][] }>(
    `SELECT intDiv(t, ${HOUR_S}) * ${HOUR_S} AS hour, arraySort(groupArray((t, rows))) AS buckets
     FROM (
       SELECT toUnixTimestamp(t10) AS t, count() AS rows FROM events_v1
       WHERE t10 >= toDateTime({from:UInt32}, 'UTC') AND t10 < toDateTime({to:UInt32}, 'UTC') GROUP BY t10
     )
     GROUP BY hour ORDER BY hour DESC`,
    { from, to },
  )
  return rows.map(({ hour, buckets }) => ({ t: hour, buckets: buckets.map(([t, count]) => ({ t, rows: count })) }))
}

/** Empty tables for the new cells. What a recomputation that was killed left behind goes. */
export async function prepareShadows(store: Store): Promise<void> {
  await dropShadows(store)
  for (const tier of ALL_TIERS) await store.command(`CREATE TABLE ${shadowOf(tier)} AS ${TIERS[tier].table}`)
}

export async function dropShadows(store: Store): Promise<void> {
  for (const tier of ALL_TIERS) await store.command(`DROP TABLE IF EXISTS ${shadowOf(tier)} SYNC`)
}

/**
 * Computes an hour's new cells: ten seconds from raw, and from those the minutes and the hour, as far as these were settled before.
 * @returns the moment before the reading began
 */
export async function recomputeHour(
  store: Store,
  hour: Hour,
  onBuckets: (buckets: number) => void = () => {},
): Promise<string> {
  const settled_at = await settlingBegins(store)
  for (const buckets of grouped(hour)) {
    await writeCells(store, { tier: '10s', buckets, settled_at, into: shadowOf('10s'), comment: COMMENT })
    onBuckets(buckets.length)
  }
  let from = shadowOf('10s')
  for (const tier of COARSER_TIERS) {
    const buckets = await settledIn(store, tier, hour.t)
    const into = shadowOf(tier)
    if (buckets.length > 0) await writeCells(store, { tier, buckets, settled_at, into, from, comment: COMMENT })
    from = into
  }
  return settled_at
}

/** What was settled of an hour, whenever. */
async function settledIn(store: Store, tier: CoarserTier | typeof CUBE, hour: number): Promise<number[]> {
  const rows = await store.query<{ t: number }>(
    `SELECT DISTINCT toUnixTimestamp(t) AS t FROM settled_v1 WHERE tier = '${tier}' AND ${IN_HOUR} ORDER BY t`,
    { hour },
  )
  return rows.map(({ t }) => t)
}

const IN_HOUR = `t >= toDateTime({hour:UInt32}, 'UTC') AND t < toDateTime({hour:UInt32}, 'UTC') + ${HOUR_S}`

function grouped({ buckets }: Hour): number[][] {
  const groups: number[][] = []
  let held = Number.POSITIVE_INFINITY
  for (const { t, rows } of buckets) {
    if (held + rows > ROWS_AT_ONCE) {
      groups.push([])
      held = 0
    }
    groups.at(-1)?.push(t)
    held += rows
  }
  return groups
}

/** Old and new ten-second cells beside each other. */
export interface Comparison {
  /** Cells that are there before and after, and those on one side only (new: not settled yet). */
  readonly both: number
  readonly only_old: number
  readonly only_new: number
  /** Per cell column: in how many cells it differs; its sums, undefined for text. Of a histogram: of its counts. */
  readonly columns: readonly {
    readonly column: string
    readonly differing: number
    readonly old_sum: number | undefined
    readonly new_sum: number | undefined
  }[]
}

const COLUMN_NAMES = Object.keys(CELL_COLUMNS)
const sumSql = (side: 'old' | 'new', name: string, type: string): string => {
  if (type.startsWith('Map(')) return `sum(arraySum(mapValues(${side}.${name})))`
  return type.includes('String') ? 'NULL' : `sum(${side}.${name})`
}
const sumsSql = (side: 'old' | 'new'): string =>
  Object.entries(CELL_COLUMNS)
    .map(([name, { type }]) => `CAST(${sumSql(side, name, type)}, 'Nullable(Float64)')`)
    .join(', ')
/** As text, where a NULL is a value. */
const differs = (name: string): string =>
  `countIf(old.there = 1 AND new.there = 1 AND ifNull(toString(old.${name}), 'NULL') != ifNull(toString(new.${name}), 'NULL'))`
const side = (table: string): string =>
  `SELECT t, session_id, 1 AS there, ${COLUMN_NAMES.join(', ')} FROM ${table} FINAL WHERE ${IN_HOUR}`

const COMPARE = `SELECT
  countIf(old.there = 1 AND new.there = 1) AS both, countIf(new.there = 0) AS only_old, countIf(old.there = 0) AS only_new,
  [${COLUMN_NAMES.map(differs).join(', ')}] AS differing, [${sumsSql('old')}] AS old_sums, [${sumsSql('new')}] AS new_sums
FROM (${side(TIERS['10s'].table)}) AS old
FULL OUTER JOIN (${side(shadowOf('10s'))}) AS new ON old.t = new.t AND old.session_id = new.session_id`

export const NOTHING_COMPARED: Comparison = {
  ...{ both: 0, only_old: 0, only_new: 0 },
  columns: COLUMN_NAMES.map(column => ({ column, differing: 0, old_sum: undefined, new_sum: undefined })),
}

/** An hour's comparison, added to what was compared before. */
export async function compareHour(store: Store, hour: number, before: Comparison): Promise<Comparison> {
  const [row] = await store.query<{
    both: number
    only_old: number
    only_new: number
    differing: number[]
    old_sums: (number | null)[]
    new_sums: (number | null)[]
  }>(COMPARE, { hour })
  if (!row) return before
  const added = (sum: number | undefined, more: number | null | undefined): number | undefined =>
    typeof more === 'number' ? (sum ?? 0) + more : sum
  return {
    both: before.both + row.both,
    only_old: before.only_old + row.only_old,
    only_new: before.only_new + row.only_new,
    columns: before.columns.map(({ column, differing, old_sum, new_sum }, i) => ({
      column,
      differing: differing + (row.differing[i] ?? 0),
      old_sum: added(old_sum, row.old_sums[i]),
      new_sum: added(new_sum, row.new_sums[i]),
    })),
  }
}

/**
 * Puts an hour's new cells in the place of the old, tier by tier. A reader with FINAL sees of each cell the old or the new one, never
 * parts of both; a question over the hour that is asked meanwhile may meet some of either. What the settler merged meanwhile, of old
 * cells and new ones, is merged again, and so is whatever is made of minutes and hours.
 */
export async function switchHour(store: Store, hour: number, settled_at: string): Promise<void> {
  for (const tier of ALL_TIERS) {
    await store.command(
      `INSERT INTO ${TIERS[tier].table} (${TIER_COLUMNS}) SELECT ${TIER_COLUMNS} FROM ${shadowOf(tier)} FINAL WHERE ${IN_HOUR}
       SETTINGS async_insert = 0, max_threads = 1`,
      { hour },
      { log_comment: `${SETTLE_COMMENT}${COMMENT}` },
    )
  }
  await settlingsEnd(store)
  for (const tier of COARSER_TIERS) {
    const merged = await store.query<{ t: number }>(
      `SELECT DISTINCT toUnixTimestamp(t) AS t FROM ${TIERS[tier].table} WHERE ${IN_HOUR} AND settled_at > {settled_at:DateTime64(6, 'UTC')}`,
      { hour, settled_at },
    )
    if (merged.length === 0) continue
    await writeCells(store, { tier, buckets: merged.map(({ t }) => t), settled_at: await settlingBegins(store) })
  }
  const minutes = await settledIn(store, CUBE, hour)
  if (minutes.length > 0) await writeCube(store, minutes)
  await writeSessions(store, [hour])
}
