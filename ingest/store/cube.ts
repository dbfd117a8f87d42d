/**
 * The cube: minutes without their sessions. One row for everybody and one for each value of each dimension, its minute cells merged, so that
 * a question about the fleet, or about one dimension of it, reads hundreds of rows where cells are hundreds of thousands.
 *
 * Settled from minute cells like a tier, and due like one. All rows of a minute are written at once under one stamp, and only those with
 * its greatest stamp count: a value that nobody has any more leaves nothing behind. What a figure needs of each session (how many there
 * are, what of theirs is missing) is not in it.
 */
import { CONTEXT_FIELDS } from '../contract/events.ts'
import { CELL_COLUMNS, SEQ_COLUMNS } from './cells.ts'
import type { Store } from './clickhouse.ts'
import { type DueBucket, noteSettled, SETTLE_COMMENT, settlingBegins, TIERS } from './settle.ts'

export const CUBE_TABLE = 'quality_per_minute_by_dimension_v1'
export const CUBE = 'minute_by_dimension'
/** Of everybody. */
export const EVERYBODY = ''
export type CubeDimension = (typeof CONTEXT_FIELDS)[number] | typeof EVERYBODY

const dimensions: readonly string[] = CONTEXT_FIELDS
/** A merged cell's columns that the cube has; beside them `cells`, the number of those merged. */
export const CUBE_COLUMNS = Object.keys(CELL_COLUMNS).filter(
  name => !dimensions.includes(name) && !SEQ_COLUMNS.includes(name),
)

const MINUTE_S = TIERS.minute.seconds
const moment = (name: string): string => `toDateTime({${name}:UInt32}, 'UTC')`
/** Of a minute's rows those that count, to select from. `where` chooses whole minutes of one dimension, or of all. (Half of what `IN` costs.) */
export const lastSettled = (columns: readonly string[], where: string): string =>
  `(SELECT * FROM (
      SELECT ${columns.join(', ')}, settled_at, max(settled_at) OVER (PARTITION BY t) AS last_settled FROM ${CUBE_TABLE} FINAL WHERE ${where}
    ) WHERE settled_at = last_settled)`

const MERGED = CUBE_COLUMNS.map(name => `${CELL_COLUMNS[name]?.fromCells(name)} AS cube_${name}`)
/** Keys that a grouping leaves out are '' in its rows, so that all of them together are the one it has. */
const VALUE = `concat(${CONTEXT_FIELDS.map(name => `toString(${name})`).join(', ')})`
const DIMENSION = `multiIf(${CONTEXT_FIELDS.map(name => `grouping(${name}) = 0, '${name}'`).join(', ')}, '${EVERYBODY}')`
const DIMENSIONED = CONTEXT_FIELDS.map(name => `(t, ${name})`)

/** All groupings in one reading, without a copy of any map: 0.6 µs of CPU per event of a thousand sessions. One thread, as every settling. */
const WRITE = `INSERT INTO ${CUBE_TABLE} (t, dimension, value, cells, ${CUBE_COLUMNS.join(', ')}, settled_at)
  SELECT cube_t, cube_dimension, cube_value, cube_cells, ${CUBE_COLUMNS.map(name => `cube_${name}`).join(', ')}, {settled_at:DateTime64(6, 'UTC')}
  FROM (
    SELECT t AS cube_t, ${DIMENSION} AS cube_dimension, ${VALUE} AS cube_value, count() AS cube_cells,
      ${MERGED.join(',\n      ')}
    FROM ${TIERS.minute.table} FINAL
    WHERE t >= ${moment('first')} AND t <= ${moment('last')} AND toUnixTimestamp(t) IN {minutes:Array(UInt32)}
    GROUP BY GROUPING SETS ((t), ${DIMENSIONED.join(', ')})
  )
  SETTINGS async_insert = 0, max_partitions_per_insert_block = 1000, max_threads = 1,
    min_insert_block_size_rows = 100000000, min_insert_block_size_bytes = 0`

/** Computes the rows of whole minutes (epoch seconds) again. @returns what they are stamped with */
export async function writeCube(store: Store, minutes: readonly number[]): Promise<string> {
  const settled_at = await settlingBegins(store)
  await store.command(
    WRITE,
    { minutes, first: Math.min(...minutes), last: Math.max(...minutes), settled_at },
    { log_comment: `${SETTLE_COMMENT}${CUBE}` },
  )
  return settled_at
}

export async function settleCube(store: Store, minutes: readonly DueBucket[]): Promise<void> {
  if (minutes.length === 0) return
  const settled_at = await writeCube(
    store,
    minutes.map(({ t }) => t),
  )
  await noteSettled(store, CUBE, minutes, settled_at)
}

/**
 * Forgets every minute from the one of `first` to that of `last` (epoch seconds), and leaves it due: until it is settled again, cells
 * stand in. For when cells are gone that were merged into it, and no settling runs any more that read them: one that wrote before has an
 * earlier stamp than is taken here, and what it wrote or noted does not outlive this.
 */
export async function forgetInCube(store: Store, first: number, last: number): Promise<void> {
  const settled_at = await settlingBegins(store)
  const params = { first: Math.floor(first / MINUTE_S) * MINUTE_S, last, settled_at }
  await store.command(
    `INSERT INTO settled_v1 (tier, t, rows, settled_at)
     SELECT DISTINCT tier, t, 0, {settled_at:DateTime64(6, 'UTC')} FROM settled_v1
     WHERE tier = '${CUBE}' AND t >= ${moment('first')} AND t <= ${moment('last')}
     SETTINGS async_insert = 0, max_partitions_per_insert_block = 1000`,
    params,
  )
  await store.command(
    `DELETE FROM ${CUBE_TABLE} WHERE t >= ${moment('first')} AND t <= ${moment('last')} AND settled_at < {settled_at:DateTime64(6, 'UTC')}
     SETTINGS lightweight_deletes_sync = 2`,
    params,
  )
  await store.command(`ALTER TABLE ${CUBE_TABLE} APPLY DELETED MASK SETTINGS mutations_sync = 0`)
}
