/**
 * Questions over cells, as text: which cells (a tier, a range, a condition), merged by which keys, and what is read off each merged
 * cell. Pure. Everything a caller says arrives as a bound parameter; what is spliced in comes from our own closed lists.
 */
import { SOURCES } from '../../ingest/contract/events.ts'
import { cellsFromEvents } from '../../ingest/store/cell-sql.ts'
import { CELL_COLUMNS, SEQ_COLUMNS } from '../../ingest/store/cells.ts'
import { type CubeDimension, EVERYBODY, lastSettled } from '../../ingest/store/cube.ts'
import { SESSIONS_TABLE } from '../../ingest/store/sessions.ts'
import { TIERS } from '../../ingest/store/settle.ts'
import type { AnswerTier } from './catalogue.ts'
import { SESSION_VERDICTS } from './verdicts.ts'

/** A bound moment in epoch seconds. (As a DateTime parameter, a number of few digits would be read as a year.) */
export const moment = (name: string): string => `toDateTime({${name}:UInt32}, 'UTC')`

/** Every source takes `from` and `to`, the minute tier `cut` as well, the hour tier that and `hours_from`, `hours_to`. */
const range = (column: string, from: string, to: string): string =>
  `${column} >= ${moment(from)} AND ${column} < ${moment(to)}`

export interface Where {
  readonly sql: string
  readonly session_sql: string
}

/**
 * The cells of a tier, as something to select from. Hours are read from `hours_from` to `hours_to`, as far as they are whole and settled;
 * minutes stand in around them, and are read as far as they are settled, up to `cut`; from there on ten-second cells stand in, so that a
 * range that ends now has its tail.
 */
export function cellsOf(tier: AnswerTier, columns: readonly string[], where: Where): string {
  if (tier === 'events') {
    const needed = [...columns, ...mentioned([where.sql], Object.keys(CELL_COLUMNS))]
    const events = cellsFromEvents(`${range('t10', 'from', 'to')} AND (${where.session_sql})`, needed)
    return `(SELECT * FROM (${events}) WHERE ${where.sql})`
  }
  const settled = (table: string, from: string, to: string): string =>
    settledSql(table, range('t', from, to), ['t', 'session_id', ...columns], where)
  if (tier === '10s') return `(${settled(TIERS['10s'].table, 'from', 'to')})`
  const minutes = settled(TIERS.minute.table, 'from', 'cut')
  return `(${[
    ...(tier === 'hour' ? [settled(TIERS.hour.table, 'hours_from', 'hours_to')] : []),
    tier === 'hour' ? `${minutes} AND (t < ${moment('hours_from')} OR t >= ${moment('hours_to')})` : minutes,
    settled(TIERS['10s'].table, 'cut', 'to'),
  ].join(' UNION ALL ')})`
}

/** Rows as they were settled last. */
const settledSql = (table: string, range: string, columns: readonly string[], where: Where): string =>
  `SELECT ${list(columns)} FROM ${table} FINAL WHERE ${range} AND (${where.sql})`

/** What is asked of the cube: rows of one dimension, which know the whole range or have cells stand in for some of it. */
interface CubeRows {
  readonly dimension: CubeDimension
  readonly whole: boolean
}

/**
 * Minutes without their sessions, with `cells`, how many each stands for: rows of the cube from `from` to `cube_to` but for the minutes
 * in `holes`, where it is behind; there, and from `cube_to` on, cells stand in. Not named where there is nothing to stand in for: half of
 * what a question costs is reading its text.
 */
function cubeOf({ dimension, whole }: CubeRows, columns: readonly string[], where: Where): string {
  const others = columns.filter(name => name !== dimension)
  const keyed = dimension === EVERYBODY ? [] : [dimension]
  const known = `dimension = '${dimension}' AND ${range('t', 'from', 'cube_to')}`
  const rows = whole ? known : `${known} AND toUnixTimestamp(t) NOT IN {holes:Array(UInt32)}`
  const values = keyed.map(name => `value AS ${name}`)
  const single = ['t', ...keyed, '1 AS cells', ...others]
  const standIn = `${range('t', 'from', 'cut')} AND (t >= ${moment('cube_to')} OR toUnixTimestamp(t) IN {holes:Array(UInt32)})`
  const columnsOfRows = ['t', ...keyed.map(() => 'value'), 'cells', ...others]
  const cube = `SELECT ${list(['t', ...values, 'cells', ...others])} FROM ${lastSettled(columnsOfRows, rows)} WHERE ${where.sql}`
  if (whole) return `(${cube})`
  return `(${[
    cube,
    settledSql(TIERS.minute.table, standIn, single, where),
    settledSql(TIERS['10s'].table, range('t', 'cut', 'to'), single, where),
  ].join(' UNION ALL ')})`
}

/** The most sessions that any cell's moment has: a peak only where a cell is ten seconds. */
const PEAK = 'sessions_peak'
/** Seconds that the group covers: of the range, or of its step as far as that lies in the range. */
const COVERED = 'covered_s'
/** From a speaker's least to its greatest sequence number; 0 where it never spoke. Of one session's merged cell. */
const seqsBetween = (source: string): string => `ifNull(toInt64(s_${source}_seq_max) - s_${source}_seq_min + 1, 0)`
/**
 * Sequence numbers count per session and speaker, so these need the cells merged by session first. One that turns up in two buckets
 * (a clock that was moved) would count twice: never more than there can be.
 */
const PER_SESSION: Readonly<Record<string, string>> = {
  seqs_distinct: SOURCES.map(source => `least(toInt64(s_${source}_seqs), ${seqsBetween(source)})`).join(' + '),
  seqs_expected: SOURCES.map(seqsBetween).join(' + '),
  ...SESSION_VERDICTS,
}
/** The columns of its cells that a figure per session needs. */
const columnsBehind = (name: string): string[] => [
  ...new Set([...(PER_SESSION[name] ?? '').matchAll(/\bs_(\w+)/g)].map(([, column = '']) => column)),
]

/** Every column a merged cell can have that occurs in the expressions. */
const mentioned = (expressions: readonly string[], names: readonly string[]): string[] => {
  const words = new Set(expressions.flatMap(sql => sql.match(/\b[a-z_][a-z0-9_]*\b/g) ?? []))
  return names.filter(name => words.has(name))
}

/** Whether expressions over merged cells need nothing of single sessions, so that cells may be merged without them. */
export const isSessionFree = (expressions: readonly string[]): boolean =>
  mentioned(expressions, [...Object.keys(PER_SESSION), ...Object.keys(COUNTED)]).every(name => name === CELLS) &&
  mentioned(expressions, SEQ_COLUMNS).length === 0

/** Whether they read maps, whose unpacking is most of what reading cells costs. */
export const readsHistograms = (expressions: readonly string[]): boolean =>
  mentioned(expressions, Object.keys(CELL_COLUMNS)).some(name => CELL_COLUMNS[name]?.type.startsWith('Map'))

export interface Grouping {
  readonly tier: AnswerTier
  readonly where: Where
  /** Of what the cube knows: its rows of this dimension instead of cells. Only of minutes, by that dimension at most, and session-free. */
  readonly cube?: CubeRows | undefined
  /** Name → expression over a cell's `t` and dimensions. */
  readonly keys: Readonly<Record<string, string>>
  /** Name → expression over a merged cell (see `catalogue.ts`). A column's name may only stand for that very column. */
  readonly values: Readonly<Record<string, string>>
  /** A further condition on cells. */
  readonly and?: string
  /** Seconds of a group, over its keys (`key_…`) and the parameters. Default: those of the range. */
  readonly covered_s?: string
}

const merge = (column: string, of: string): string => CELL_COLUMNS[column]?.fromCells(of) ?? ''
const list = (parts: readonly string[]): string => parts.join(', ')

/**
 * One row per group: its keys and values. A SELECT without ORDER BY. No row where no cell is.
 * Inner names are prefixed (`key_`, `s_` by session, `m_` merged): an alias that shadows a column inside its own aggregate is an error.
 */
export function groupedSql({ tier, where, cube, keys, values, and = '1', covered_s = RANGE_S }: Grouping): string {
  const expressions = Object.values(values)
  const columns = mentioned(expressions, Object.keys(CELL_COLUMNS))
  const perSession = mentioned(expressions, Object.keys(PER_SESSION))
  const counts = mentioned(expressions, Object.keys(COUNTED))
  const names = Object.keys(keys).map(name => `key_${name}`)
  const behind = perSession.flatMap(columnsBehind)
  const read = mentioned([...Object.values(keys), ...columns, and, ...behind], Object.keys(CELL_COLUMNS))
  const cells = `${cube === undefined ? cellsOf(tier, read, where) : cubeOf(cube, read, where)} WHERE ${and}`
  const keysSql = Object.entries(keys).map(([name, sql]) => `${sql} AS key_${name}`)
  const renamed = [...columns, ...perSession, ...counts].map(name => `m_${name} AS ${name}`)
  const covered = mentioned(expressions, [COVERED]).map(name => `${covered_s} AS ${name}`)
  const answered = [
    ...Object.keys(keys).map(name => `key_${name} AS ${name}`),
    ...Object.entries(values).map(([name, sql]) => `${sql} AS ${name}`),
  ]
  const merged =
    perSession.length > 0
      ? mergedBySession(cells, keysSql, names, columns, perSession, counts)
      : mergedOnce(cells, keysSql, names, columns, counts, cube === undefined ? 'once' : 'cubed')
  return `SELECT ${list(answered)}
FROM (
  SELECT ${list([...names, ...renamed, ...covered])}
  FROM (
    ${merged}
  )
)`
}

/**
 * The same of one whole session, whose row is a merged cell already: no merging, and half of the words to read. Takes `from`, the begin
 * of its first cell, and `to`.
 */
export function wholeSessionSql({ where, values }: Pick<Grouping, 'where' | 'values'>): string {
  const expressions = Object.values(values)
  const columns = mentioned(expressions, Object.keys(CELL_COLUMNS))
  const perSession = mentioned(expressions, Object.keys(PER_SESSION))
  const behind = [...new Set(perSession.flatMap(columnsBehind))].map(column => `${column} AS s_${column}`)
  const row = ['1 AS sessions', '1 AS cells', `${RANGE_S} AS ${COVERED}`]
  return `SELECT ${list(Object.entries(values).map(([name, sql]) => `${sql} AS ${name}`))}
FROM (
  SELECT *, ${list([...row, ...perSession.map(name => `${PER_SESSION[name]} AS ${name}`)])}
  FROM (
    SELECT ${list([...columns, ...behind])}
    FROM ${SESSIONS_TABLE} FINAL WHERE t = ${moment('from')} AND ${where.sql}
  )
)`
}

const RANGE_S = '{to:UInt32} - {from:UInt32}'

const groupBy = (names: readonly string[]): string =>
  names.length > 0 ? `GROUP BY ${list(names)}` : 'HAVING count() > 0'

const peakOf = (moments: string): string =>
  `arrayMax(mapValues(sumMap(mapFromArrays(${moments}, arrayMap(_ -> toUInt64(1), ${moments})))))`

const CELLS = 'cells'
interface CountedOf {
  readonly once: string
  /** Of a session's cells, if it needs one: as `s_<name>`. */
  readonly session?: readonly [name: string, sql: string]
  readonly all: string
  /** Of rows of the cube. */
  readonly cubed?: string
}
/** What a merged cell has beside the cells' own columns: of cells at once; or, where cells are merged by session first, of a session's and then of all sessions. */
const COUNTED: Readonly<Record<string, CountedOf>> = {
  sessions: { once: 'uniqExact(session_id)', all: 'count()' },
  [CELLS]: { once: 'count()', session: ['s_cells', 'count()'], all: 'sum(s_cells)', cubed: 'sum(cells)' },
  first_t: { once: 'min(t)', session: ['s_first_t', 'min(t)'], all: 'min(s_first_t)' },
  last_t: { once: 'max(t)', session: ['s_last_t', 'max(t)'], all: 'max(s_last_t)' },
  [PEAK]: { once: peakOf('[t]'), session: ['s_moments', 'groupArray(t)'], all: peakOf('s_moments') },
}

function mergedOnce(
  cells: string,
  keysSql: string[],
  names: string[],
  columns: string[],
  counts: string[],
  of: 'once' | 'cubed',
): string {
  const merged = columns.map(column => `${merge(column, column)} AS m_${column}`)
  const counted = counts.map(name => `${COUNTED[name]?.[of]} AS m_${name}`)
  return `SELECT ${list([...keysSql, ...merged, ...counted])}
    FROM ${cells} ${groupBy(names)}`
}

/** Merging is associative: by key and session first, then by key. */
function mergedBySession(
  cells: string,
  keysSql: string[],
  names: string[],
  columns: string[],
  perSession: string[],
  counts: string[],
): string {
  const all = [...new Set([...columns, ...perSession.flatMap(columnsBehind)])]
  const inner = [
    ...all.map(column => `${merge(column, column)} AS s_${column}`),
    ...counts.flatMap(count => {
      const [name, sql] = COUNTED[count]?.session ?? []
      return name === undefined ? [] : [`${sql} AS ${name}`]
    }),
  ]
  const merged = columns.map(column => `${merge(column, `s_${column}`)} AS m_${column}`)
  const counted = [
    ...perSession.map(name => `sum(${PER_SESSION[name]}) AS m_${name}`),
    ...counts.map(name => `${COUNTED[name]?.all} AS m_${name}`),
  ]
  return `SELECT ${list([...names, ...merged, ...counted])}
    FROM (
      SELECT ${list([...keysSql, 'session_id', ...inner])}
      FROM ${cells} GROUP BY ${list([...names, 'session_id'])}
    ) ${groupBy(names)}`
}
