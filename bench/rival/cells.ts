/**
 * The rival's cells: what a ten-second cell of ours is made of, kept by a materialized view over its raw rows and merged by
 * AggregatingMergeTree. The very expressions of `ingest/store/cells.ts`, over each block's events instead of the whole set; what is
 * derived there once a cell is whole (the opinion score, the main rung) is derived here by whoever reads.
 */
import { CELL_COLUMNS, EVENT_KINDS, EVENT_TERMS } from '../../ingest/store/cells.ts'
import { SCORE_SQL } from '../../ingest/store/experience/score.ts'
import { RIVAL_EVENTS, VIEW_SETTINGS } from './raw.ts'

export const RIVAL_CELLS = 'rival_cells'

interface Kept {
  readonly type: string
  readonly merge: string
  readonly sql: string
}

const counted = (sql: string): Kept => ({ type: 'UInt64', merge: 'sum', sql })

/** What scores and rungs are derived from. */
const FOR_DERIVING: Readonly<Record<string, Kept>> = {
  encoded_fps_sum: counted('sum(ifNull(encoded_fps, 0))'),
  encoded_fps_known: counted('count(encoded_fps)'),
  target_fps_sum: counted('sum(target_fps)'),
  target_fps_known: counted('countIf(target_fps > 0)'),
  pixels_ms: counted('sum(ifNull(toUInt64(width) * height * interval_ms, 0))'),
  pixels_known_ms: counted('sum(if(isNull(width) OR isNull(height), 0, interval_ms))'),
  rtt_sum_us: counted('sum(ifNull(rtt_us, 0))'),
  rtt_known: counted('count(rtt_us)'),
  rungs: {
    type: 'Tuple(Array(String), Array(UInt64), Array(UInt64), Array(UInt64), Array(UInt64))',
    merge: 'sumMap',
    sql: `sumMapIf([toString(rung)], [toUInt64(interval_ms)], [toUInt64(if(isNull(packets_received), 0, ifNull(packets_lost, 0)))], [toUInt64(if(isNull(packets_lost), 0, ifNull(packets_received, 0)))], [toUInt64(1)], rung != '')`,
  },
}

/** Of ours, those that are sums, extremes and maps of events. It shifts no clock, so it cannot count that. */
const SHARED_COLUMNS = Object.entries(CELL_COLUMNS).filter(
  ([name, { derived }]) => !derived && name !== 'clock_shifted_events',
)
const mergeOf = (fromCells: (c: string) => string): string => fromCells('').replace(/\(.*/, '')

const KEPT: readonly (readonly [name: string, kept: Kept])[] = [
  ...SHARED_COLUMNS.map(
    ([name, { type, fromEvents, fromCells }]) => [name, { type, merge: mergeOf(fromCells), sql: fromEvents }] as const,
  ),
  ...Object.entries(FOR_DERIVING),
]

const codecOf = (type: string): string =>
  /^(Nullable\()?UInt/.test(type) ? 'CODEC(T64, ZSTD(1))' : type.startsWith('LowCardinality') ? '' : 'CODEC(ZSTD(1))'

/** The table, and the view that fills it from each block of raw rows. */
export const cellTables = (): string[] => [
  `CREATE TABLE ${RIVAL_CELLS} (t DateTime('UTC') CODEC(Delta, ZSTD(1)), session_id UUID,
     ${KEPT.map(([name, { type, merge }]) => `${name} SimpleAggregateFunction(${merge}, ${type}) ${codecOf(type)}`).join(',\n     ')},
     INDEX session_id_seen session_id TYPE bloom_filter(0.01) GRANULARITY 1)
   ENGINE = AggregatingMergeTree PARTITION BY toYYYYMMDD(t) ORDER BY (t, session_id)
   TTL t + INTERVAL 30 DAY SETTINGS index_granularity = 2048, ttl_only_drop_parts = 1`,
  `CREATE MATERIALIZED VIEW rival_settler TO ${RIVAL_CELLS} AS
   SELECT t, session_id, ${KEPT.map(([name]) => `cell_${name} AS ${name}`).join(', ')}
   FROM (
     WITH
       ${EVENT_TERMS}
     SELECT t10 AS t, session_id, ${KEPT.map(([name, { sql }]) => `${sql} AS cell_${name}`).join(',\n       ')}
     FROM ${RIVAL_EVENTS} WHERE kind IN ${EVENT_KINDS} GROUP BY t10, session_id
   ) ${VIEW_SETTINGS}`,
]

/** What both must say alike, over everything: each name and its SQL over one row a cell. */
const said: Readonly<Record<string, string>> = {
  cells: 'count()',
  ...Object.fromEntries(
    SHARED_COLUMNS.flatMap(([name, { type }]): [string, string][] => {
      if (type === 'UInt64') return [[name, `sum(${name})`]]
      if (type.startsWith('Nullable')) return [[name, `sum(ifNull(toUInt64(${name}), 0))`]]
      if (type.startsWith('Map'))
        return [[name, `sum(arraySum((k, n) -> k * n, mapKeys(${name}), mapValues(${name})))`]]
      return [[name, `sum(cityHash64(${name}) % 1000003)`]]
    }),
  ),
}
const saidSql = (further: string): string =>
  [...Object.entries(said).map(([name, sql]) => `${sql} AS said_${name}`), `${further} AS said_score`].join(', ')

export const OURS_SAYS = `SELECT ${saidSql('sum(mos_sum_millionths + mos_outside_sum_millionths)')} FROM quality_per_10s_v1 FINAL`

const MERGED = KEPT.map(([name, { merge }]) => `${merge}(${name}) AS cell_${name}`).join(', ')
export const RIVAL_SAYS = `SELECT ${saidSql('sum(score)')} FROM (
  SELECT ${SHARED_COLUMNS.map(([name]) => `cell_${name} AS ${name}`).join(', ')}, (${SCORE_SQL}).3 AS score FROM (
    SELECT *, if(cell_encoded_fps_known = 0, NULL, cell_encoded_fps_sum / cell_encoded_fps_known) AS of_encoded_fps,
      cell_target_fps_sum / cell_target_fps_known AS of_target_fps, toNullable(cell_pixels_ms / cell_pixels_known_ms) AS of_pixels,
      if(cell_rtt_known = 0, NULL, cell_rtt_sum_us / cell_rtt_known) AS of_rtt_us
    FROM (SELECT t, session_id, ${MERGED} FROM ${RIVAL_CELLS} GROUP BY t, session_id)))`
