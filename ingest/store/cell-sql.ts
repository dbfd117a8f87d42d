/**
 * Cells as SELECTs: from raw events, each of them once whatever was sent again, and from the cells of a finer tier. What a column is, is
 * said in `cells.ts`.
 */
import { AGGREGATES, CELL_COLUMNS, EVENT_KINDS, EVENT_TERMS, RECEIVED, SHARED } from './cells.ts'

const COLUMN_NAMES = Object.keys(CELL_COLUMNS)
const KEY = 't, session_id'

/** Positions of resends within `where`: all but the first that Kafka appended of each (session_id, source, seq)
 * in a bucket. By bucket, so that a cell does not depend on which others are settled with it. Of most sessions there are none, which their
 * number of different `seq` tells for half of what grouping by each costs. */
const resends = (where: string) => `
      SELECT arrayJoin(arraySlice(arraySort(groupArray((log_id, kafka_partition, kafka_offset))), 2))
      FROM events_v1
      WHERE kind IN ${EVENT_KINDS} AND (${where}) AND (t10, session_id) IN (
        SELECT t10, session_id FROM events_v1
        WHERE kind IN ${EVENT_KINDS} AND (${where})
        GROUP BY t10, session_id, source HAVING count() > uniqExact(seq)
      )
      GROUP BY t10, session_id, source, seq`

/** Of these names those that occur in the texts. */
const occurring = (texts: readonly string[], names: readonly string[]): string[] => {
  const words = new Set(texts.flatMap(text => text.match(/\b\w+\b/g) ?? []))
  return names.filter(name => words.has(name))
}

/** Rows of each cell before resends are left out. */
const receivedSql = (where: string): string =>
  `SELECT t10 AS t, session_id, count() AS ${RECEIVED} FROM events_v1 WHERE kind IN ${EVENT_KINDS} AND (${where}) GROUP BY t10, session_id`

/**
 * Cells of raw events, as a SELECT: t, session_id, then every cell column, or those that are named: ClickHouse takes a quarter of a
 * second of CPU to read the text of all. `where` chooses whole buckets of `t10`.
 * A resend counts once. (Leaving them out by position costs 0.2 µs of CPU per event; `ORDER BY … LIMIT 1 BY` 1.2, as it sorts the
 * frames too; `LIMIT 1 BY` unsorted next to nothing, but would make the cell depend on the order of reading.)
 * @param further columns that no tier keeps: name → aggregate over the events of the cell
 */
export function cellsFromEvents(
  where: string,
  names: readonly string[] = COLUMN_NAMES,
  further: Readonly<Record<string, string>> = {},
): string {
  const wanted = Object.entries(CELL_COLUMNS).filter(([name]) => names.includes(name))
  const answered = wanted.map(([name, { fromEvents, derived }]) => (derived ? fromEvents : `cell_${name}`))
  const shared = occurring(answered, Object.keys(SHARED)).map(name => [name, SHARED[name] ?? ''] as const)
  const mentioned = [...answered, ...shared.map(([, sql]) => sql)]
  const aggregated = [
    ...Object.entries(CELL_COLUMNS).map(([name, { fromEvents }]) => [`cell_${name}`, fromEvents] as const),
    ...Object.entries(AGGREGATES).map(([name, sql]) => [`of_${name}`, sql] as const),
  ].filter(([name]) => occurring(mentioned, [name]).length > 0)
  const kept = Object.entries(further)
  const rows =
    occurring(mentioned, [RECEIVED]).length > 0
      ? `INNER JOIN (${receivedSql(where)}) AS received USING (t, session_id)`
      : ''
  return `SELECT ${[KEY, ...wanted.map(([name], i) => `${answered[i]} AS ${name}`), ...kept.map(([name]) => `further_${name} AS ${name}`)].join(', ')}
FROM (
  SELECT ${['*', ...shared.map(([name, sql]) => `${sql} AS ${name}`)].join(', ')}
  FROM (
    WITH
      ${EVENT_TERMS}
    SELECT ${['t10 AS t', 'session_id', ...aggregated.map(([name, sql]) => `${sql} AS ${name}`), ...kept.map(([name, sql]) => `${sql} AS further_${name}`)].join(',\n      ')}
    FROM events_v1
    WHERE kind IN ${EVENT_KINDS} AND (${where}) AND (log_id, kafka_partition, kafka_offset) NOT IN (${resends(where)})
    GROUP BY t10, session_id
  ) AS distinct_events
  ${rows}
)`
}

/** Cells of a coarser tier from those of a finer one. `bucket` maps `t` to the coarser bucket, `where` chooses whole ones. */
export function cellsFromCells(finerTable: string, bucket: string, where: string): string {
  const columns = Object.entries(CELL_COLUMNS).map(([name, { fromCells }]) => `${fromCells(name)} AS cell_${name}`)
  return `SELECT cell_t AS t, session_id, ${COLUMN_NAMES.map(name => `cell_${name} AS ${name}`).join(', ')}
FROM (
  SELECT ${bucket} AS cell_t, session_id,
    ${columns.join(',\n    ')}
  FROM ${finerTable} FINAL
  WHERE ${where}
  GROUP BY cell_t, session_id
)`
}

/**
 * Events of a few sessions, each once, as a SELECT of expressions over their columns and the terms per frame that cells are made of.
 * `where` chooses whole buckets of `t10`. Sorting them is cheaper here than looking for resends: it reads the rows once.
 */
export const eachEventOnce = (columns: readonly string[], expressions: string, where: string): string => `WITH
    ${EVENT_TERMS}
  SELECT ${expressions}
  FROM (
    SELECT ${columns.join(', ')} FROM events_v1 WHERE kind IN ${EVENT_KINDS} AND (${where})
    ORDER BY log_id, kafka_partition, kafka_offset LIMIT 1 BY t10, session_id, source, seq
  )`
