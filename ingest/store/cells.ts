/**
 * What a cell is: everything the metrics need of one session in one bucket of time, computed from the *set* of its events.
 * This list is the only definition of a cell's columns. From it follow the settling of 10-second cells from raw events, the
 * settling of each coarser tier from the finer one, and the `events` tier, which computes cells on the fly.
 * The tables are in `schema/003_cells.sql`; a test holds them to this list.
 */
import { CONTEXT_FIELDS, SOURCES } from '../contract/events.ts'

/** Growth of the logarithmic buckets: a percentile read from them is within 1 % of the exact one. */
export const BUCKET_GROWTH = 1.02

/** The bucket of a quantity: 0 for 0, else 1 + ⌊ln x / ln 1.02⌋. One expression everywhere: a multiplied constant is not identical. */
export const bucketSql = (x: string): string =>
  `toUInt16(if(${x} = 0, 0, 1 + floor(log(${x}) / log(${BUCKET_GROWTH}))))`

interface CellColumn {
  readonly type: string
  /** Aggregate over the events of the cell, in the names of `EVENTS`. */
  readonly fromEvents: string
  /** Aggregate over the cells of the finer tier; `c` is the column. */
  readonly fromCells: (c: string) => string
}

const sum = (perEvent: string): CellColumn => ({
  type: 'UInt64',
  fromEvents: `sum(${perEvent})`,
  fromCells: c => `sum(${c})`,
})
/** NULL where no event knows it. */
const extreme = (which: 'min' | 'max', type: string, perEvent: string): CellColumn => ({
  type: `Nullable(${type})`,
  fromEvents: `${which}(${perEvent})`,
  fromCells: c => `${which}(${c})`,
})
/** A known value wins over '', and the greater of two known ones: a function of the set, whatever the order. */
const dimension = (field: string): CellColumn => ({
  type: 'LowCardinality(String)',
  fromEvents: `max(${field})`,
  fromCells: c => `max(${c})`,
})
const histogram = (fromEvents: string): CellColumn => ({
  type: 'Map(UInt16, UInt64)',
  fromEvents,
  fromCells: c => `sumMap(${c})`,
})
/** One value per event, weighted; events that do not know it are left out. */
const valueHistogram = (x: string, weight: string, known: string): CellColumn =>
  histogram(
    `CAST(sumMap(if(${known}, [${bucketSql(`assumeNotNull(${x})`)}], []), if(${known}, [toUInt64(${weight})], [])), 'Map(UInt16, UInt64)')`,
  )
/**
 * Many values per event, counted: gather the cell's buckets, then count each distinct one. Less than half the cost of `sumMap` over
 * the arrays (1.1 against 2.4 µs of CPU per event of a live mix, 2 cores, 2026-11-22), whose hash table pays per frame.
 */
const arrayHistogram = (xs: string): CellColumn =>
  histogram(
    `mapFromArrays(arraySort(arrayDistinct(groupArrayArray(arrayMap(x -> ${bucketSql('x')}, ${xs})) AS gathered)) AS distinct_buckets, arrayMap(b -> countEqual(gathered, b), distinct_buckets))`,
  )
/**
 * The rules per frame, as thresholds in µs that depend on one event alone, in integers and with 1 ms of slack, so that a steady
 * 24 fps in a 60 fps stream is no stutter. late: over 1.5 target intervals. stutter: over 2.5, and no freeze. freeze: W3C's
 * freezeCount rule (webrtc-stats) with the target interval in place of the trailing average, max(3 intervals, one + 150 ms); not
 * while paused. Then what a metric needs of each event: `frame_times` with the open frame of a session's last event, which nothing
 * else will end.
 */
const EVENT_TERMS = [
  // 0 only where the event has no frames.
  'toUInt64(greatest(target_fps, 1)) AS fps',
  'intDiv(3000000 + 2000 * fps, 2 * fps) AS late_over_us',
  'intDiv(5000000 + 2000 * fps, 2 * fps) AS stutter_over_us',
  'if(paused, 4294967295, greatest(intDiv(3000000 + fps - 1, fps), intDiv(1000000 + fps - 1, fps) + 150000)) AS freeze_from_us',
  'if(final AND open_frame_us > 0, arrayPushBack(frame_time_us, assumeNotNull(open_frame_us)), frame_time_us) AS frame_times',
  'arrayFilter(x -> x > late_over_us, frame_times) AS late_frames',
  'arrayFilter(x -> x >= freeze_from_us, late_frames) AS freeze_frames',
  'arrayFilter(x -> x > stutter_over_us AND x < freeze_from_us, late_frames) AS stutter_frames',
  "kind = 'bitrate' AS is_bitrate",
].join(',\n    ')

/** What a speaker's `seq` says of loss, each counting its own: how many distinct ones there are, of those between least and greatest. */
const seqColumns = (source: string): [string, CellColumn][] => [
  [`${source}_seq_min`, extreme('min', 'UInt32', `if(source = '${source}', seq, NULL)`)],
  [`${source}_seq_max`, extreme('max', 'UInt32', `if(source = '${source}', seq, NULL)`)],
  [`${source}_seqs`, sum(`source = '${source}'`)],
]

/** Dimensions first, then frames, stream and network, lifecycle, trust. */
export const CELL_COLUMNS: Readonly<Record<string, CellColumn>> = {
  ...Object.fromEntries(CONTEXT_FIELDS.map(field => [field, dimension(field)])),

  frames: sum('length(frame_times)'),
  frame_time_sum_us: sum('arraySum(frame_times)'),
  frame_time_min_us: extreme('min', 'UInt32', 'if(empty(frame_times), NULL, arrayMin(frame_times))'),
  frame_time_max_us: extreme('max', 'UInt32', 'if(empty(frame_times), NULL, arrayMax(frame_times))'),
  frame_time_buckets: arrayHistogram('frame_times'),
  late_frames: sum('length(late_frames)'),
  stutters: sum('length(stutter_frames)'),
  stutter_time_us: sum('arraySum(stutter_frames)'),
  freezes: sum('length(freeze_frames)'),
  freeze_time_us: sum('arraySum(freeze_frames)'),
  frames_dropped: sum('ifNull(frames_dropped, 0)'),
  /** Presented frames of the events that report dropped ones. */
  frames_dropped_of: sum('if(isNull(frames_dropped), 0, length(frame_times))'),
  frames_dropped_known: sum('isNotNull(frames_dropped)'),

  intervals: sum('is_bitrate'),
  interval_ms: sum('if(is_bitrate, interval_ms, 0)'),
  /** kbit/s × ms = bits */
  received_bits: sum('if(is_bitrate, toUInt64(bitrate_kbps) * interval_ms, 0)'),
  bitrate_buckets: valueHistogram('bitrate_kbps', 'interval_ms', 'is_bitrate'),
  /** Received and asked for, over events that report what was asked for. */
  received_of_target_bits: sum('if(isNull(target_bitrate_kbps), 0, toUInt64(bitrate_kbps) * interval_ms)'),
  target_bits: sum('ifNull(toUInt64(target_bitrate_kbps) * interval_ms, 0)'),
  rtt_buckets: valueHistogram('rtt_us', '1', 'isNotNull(rtt_us)'),
  packets_received: sum('if(isNull(packets_lost), 0, ifNull(packets_received, 0))'),
  packets_lost: sum('if(isNull(packets_received), 0, ifNull(packets_lost, 0))'),

  startup_ms: extreme('max', 'UInt32', 'startup_ms'),
  end_reason: { ...dimension("if(end_reason = '', '', toString(end_reason))") },

  events: sum('1'),
  ...Object.fromEntries(SOURCES.flatMap(seqColumns)),
}

const COLUMN_NAMES = Object.keys(CELL_COLUMNS)
const KEY = 't, session_id'

/** The kinds of rows that are events; the others are Kafka's offsets accounted for. */
export const EVENT_KINDS = "('frame_times', 'bitrate', 'session')"

/** Positions of resends within `where`: all but the first that Kafka appended of each (session_id, source, seq)
 * in a bucket. By bucket, so that a cell does not depend on which others are settled with it. */
const resends = (where: string) => `
      SELECT arrayJoin(arraySlice(arraySort(groupArray((log_id, kafka_partition, kafka_offset))), 2))
      FROM events_v1
      WHERE kind IN ${EVENT_KINDS} AND (${where}) AND (t10, session_id, source, seq) IN (
        SELECT t10, session_id, source, seq FROM events_v1
        WHERE kind IN ${EVENT_KINDS} AND (${where})
        GROUP BY t10, session_id, source, seq HAVING count() > 1
      )
      GROUP BY t10, session_id, source, seq`

/**
 * Cells of raw events, as a SELECT: t, session_id, then every cell column. `where` chooses whole buckets of `t10`.
 * A resend counts once. (Leaving them out by position costs 0.3 µs of CPU per event; `ORDER BY … LIMIT 1 BY` 1.2, as it sorts the
 * frames too; `LIMIT 1 BY` unsorted next to nothing, but would make the cell depend on the order of reading.)
 * @param further columns that no tier keeps: name → aggregate over the events of the cell
 */
export function cellsFromEvents(where: string, further: Readonly<Record<string, string>> = {}): string {
  const aggregates = Object.entries(CELL_COLUMNS).map(([name, { fromEvents }]) => [name, fromEvents] as const)
  const columns = [...aggregates, ...Object.entries(further)].map(([name, sql]) => `${sql} AS cell_${name}`)
  return `SELECT ${KEY}, ${[...COLUMN_NAMES, ...Object.keys(further)].map(name => `cell_${name} AS ${name}`).join(', ')}
FROM (
  WITH
    ${EVENT_TERMS}
  SELECT t10 AS t, session_id,
    ${columns.join(',\n    ')}
  FROM events_v1
  WHERE kind IN ${EVENT_KINDS} AND (${where}) AND (log_id, kafka_partition, kafka_offset) NOT IN (${resends(where)})
  GROUP BY t10, session_id
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
