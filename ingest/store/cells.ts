/**
 * What a cell is: everything the metrics need of one session in one bucket of time, computed from the *set* of its events.
 * This list is the only definition of a cell's columns. From it follow the settling of 10-second cells from raw events, the
 * settling of each coarser tier from the finer one, and the `events` tier, which computes cells on the fly (`cell-sql.ts`).
 * The tables are in `schema/003_cells.sql` and later migrations; a test holds them to this list.
 */
import { CONTEXT_FIELDS, SOURCES, STAGES } from '../contract/events.ts'
import { SCORE_AGGREGATES, SCORE_SQL } from './experience/score.ts'

/** Growth of the logarithmic buckets: a percentile read from them is within 1 % of the exact one. */
export const BUCKET_GROWTH = 1.02

/** The bucket of a quantity: 0 for 0, else 1 + ⌊ln x / ln 1.02⌋. One expression everywhere: a multiplied constant is not identical. */
const bucketSql = (x: string): string => `toUInt16(if(${x} = 0, 0, 1 + floor(log(${x}) / log(${BUCKET_GROWTH}))))`

/** An event that Kafka had only so long after it began is late: whoever looked before did not see it. */
export const LATE_AFTER_MS = 60_000

interface CellColumn {
  readonly type: string
  /** Aggregate over the events of the cell, in the names of `EVENT_TERMS`; or, if `derived`, of what is aggregated, in those of `AGGREGATES` and `SHARED`. */
  readonly fromEvents: string
  readonly derived?: true
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
/** Ends a sorted list of buckets; beyond any. */
const NO_BUCKET = 65_535
/**
 * Values gathered into a list, which sorted has each bucket as a run: where the runs begin says how long they are. A third of the cost
 * of `sumMap` (0.83 against 2.4 µs of CPU per event of a live mix for frames, gathering them included; counting each distinct bucket
 * in the list 1.07; 2 cores, 2026-11-27), whose hash table pays per value.
 */
const countedHistogram = (name: string, gathered: string): CellColumn => {
  const begins = `arrayFilter((at, step) -> step != 0, arrayEnumerate(sorted_${name}), arrayDifference(sorted_${name}))`
  return histogram(
    `mapFromArrays(arrayPopBack(arrayCompact(arrayPushBack(arraySort(${gathered}), ${NO_BUCKET}) AS sorted_${name})), arrayMap(n -> toUInt64(n), arrayPopFront(arrayDifference(arrayPushFront(${begins}, 1)))))`,
  )
}
/** Many values per event. */
const arrayHistogram = (name: string, xs: string): CellColumn =>
  countedHistogram(name, `groupArrayArray(arrayMap(x -> ${bucketSql('x')}, ${xs}))`)
/** One value per event; events that do not know it (NULL) are left out. */
const valueHistogram = (name: string): CellColumn =>
  countedHistogram(name, `arrayMap(x -> ${bucketSql('x')}, groupArray(${name}))`)
/** The same, weighted by the time covered: value and weight gathered as one number. */
const timeHistogram = (name: string, known: string): CellColumn =>
  histogram(
    `mapFromArrays(arraySort(arrayDistinct(arrayMap(x -> ${bucketSql('bitShiftRight(x, 32)')}, groupArrayIf(bitShiftLeft(toUInt64(assumeNotNull(${name})), 32) + interval_ms, ${known}) AS pairs_${name}) AS buckets_${name})) AS distinct_${name}, arrayMap(b -> arraySum((bucket, pair) -> if(bucket = b, bitAnd(pair, 4294967295), 0), buckets_${name}, pairs_${name}), distinct_${name}))`,
  )
/** Follows from the aggregates of a ten-second cell. */
const derived = (type: string, expression: string): CellColumn => ({
  type,
  fromEvents: expression,
  derived: true,
  fromCells: c => (type.startsWith('Map') ? `sumMap(${c})` : `sum(${c})`),
})
const RUNG_MAP = 'Map(String, UInt64)'
const mapSql = (type: string, keys: string, values: string): string => `CAST((${keys}, ${values}), '${type}')`
/** Of the rung a cell spent most of its time at; of two alike the one named later. */
const ofMainRung = (value: string): CellColumn =>
  derived(RUNG_MAP, mapSql(RUNG_MAP, 'main_rung', `arrayMap(_ -> ${value}, main_rung)`))
const ofEachRung = (n: number): CellColumn => derived(RUNG_MAP, mapSql(RUNG_MAP, 'of_rungs.1', `of_rungs.${n}`))
const MOS_MAP = 'Map(UInt16, UInt64)'
const FLAG_MAP = 'Map(String, UInt64)'
/** Sum, count and hundredths of the scores for which `which` holds. */
const scores = (name: string, which: string): [string, CellColumn][] => [
  [`${name}_cells`, derived('UInt64', `toUInt64(${which})`)],
  [`${name}_sum_millionths`, derived('UInt64', `if(${which}, toUInt64(mos.3), 0)`)],
  [
    `${name}_hundredths`,
    derived(MOS_MAP, mapSql(MOS_MAP, `if(${which}, [intDiv(mos.3, 10000)], [])`, `if(${which}, [1], [])`)),
  ],
]

/** A mean that an event tells of its frames: weighted by them, over the events that tell it. */
const perFrame = (name: string): [string, CellColumn][] => [
  [`${name}_sum_us`, sum(`ifNull(toUInt64(${name}_us) * length(frame_times), 0)`)],
  [`${name}_frames`, sum(`if(isNull(${name}_us), 0, length(frame_times))`)],
]

/**
 * The rules per frame, as thresholds in µs that depend on one event alone, in integers and with 1 ms of slack, so that a steady
 * 24 fps in a 60 fps stream is no stutter. late: over 1.5 target intervals. stutter: over 2.5, and no freeze. freeze: W3C's
 * freezeCount rule (webrtc-stats) with the target interval in place of the trailing average, max(3 intervals, one + 150 ms); not
 * while paused. Then what a metric needs of each event: `frame_times` with the open frame of a session's last event, which nothing
 * else will end.
 */
export const EVENT_TERMS = [
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

/** What a cell needs beside its columns to derive others: SQL over events, by name; `of_` before it. */
export const AGGREGATES: Readonly<Record<string, string>> = {
  ...SCORE_AGGREGATES,
  /** Rungs, and of each the time, packets lost and received where both are told, and intervals. */
  rungs: `sumMapIf([rung], [interval_ms], [if(isNull(packets_received), 0, ifNull(packets_lost, 0))], [if(isNull(packets_lost), 0, ifNull(packets_received, 0))], [1], rung != '')`,
}
/** How many rows there were, joined to the aggregates. */
export const RECEIVED = 'of_received'
/** What several derived columns need of them. */
export const SHARED: Readonly<Record<string, string>> = {
  mos: SCORE_SQL,
  main_rung: 'arraySlice(arraySort((rung, time) -> (time, rung), of_rungs.1, of_rungs.2), -1)',
}

/** What a speaker's `seq` says of loss, each counting its own: how many distinct ones there are, of those between least and greatest. */
const seqColumns = (source: string): [string, CellColumn][] => [
  [`${source}_seq_min`, extreme('min', 'UInt32', `if(source = '${source}', seq, NULL)`)],
  [`${source}_seq_max`, extreme('max', 'UInt32', `if(source = '${source}', seq, NULL)`)],
  [`${source}_seqs`, sum(`source = '${source}'`)],
]

/** Numbers that only make sense of one session's messages. */
export const SEQ_COLUMNS: readonly string[] = SOURCES.flatMap(seqColumns).map(([name]) => name)

/** Dimensions first, then frames, stream and network, experience, lifecycle, trust. */
export const CELL_COLUMNS: Readonly<Record<string, CellColumn>> = {
  ...Object.fromEntries(CONTEXT_FIELDS.map(field => [field, dimension(field)])),

  frames: sum('length(frame_times)'),
  frame_time_sum_us: sum('arraySum(frame_times)'),
  frame_time_min_us: extreme('min', 'UInt32', 'if(empty(frame_times), NULL, arrayMin(frame_times))'),
  frame_time_max_us: extreme('max', 'UInt32', 'if(empty(frame_times), NULL, arrayMax(frame_times))'),
  frame_time_buckets: arrayHistogram('frame_time', 'frame_times'),
  late_frames: sum('length(late_frames)'),
  stutters: sum('length(stutter_frames)'),
  stutter_time_us: sum('arraySum(stutter_frames)'),
  freezes: sum('length(freeze_frames)'),
  freeze_time_us: sum('arraySum(freeze_frames)'),
  frames_dropped: sum('ifNull(frames_dropped, 0)'),
  /** Presented frames of the events that report dropped ones. */
  frames_dropped_of: sum('if(isNull(frames_dropped), 0, length(frame_times))'),
  frames_dropped_known: sum('isNotNull(frames_dropped)'),
  /** Of neighbours within an event: Σ of how much they differ, and how many pairs there are. */
  frame_steps_sum_us: sum('arraySum(x -> abs(x), arrayDifference(frame_times))'),
  frame_steps: sum('if(empty(frame_times), 0, length(frame_times) - 1)'),
  frames_generated: sum('least(ifNull(frames_generated, 0), length(frame_times))'),
  /** Presented frames, and their time, of the events that report generated ones. */
  frames_generated_of: sum('if(isNull(frames_generated), 0, length(frame_times))'),
  frames_generated_of_us: sum('if(isNull(frames_generated), 0, arraySum(frame_times))'),
  ...Object.fromEntries([...STAGES.map(stage => `stage_${stage}`), 'input_latency'].flatMap(perFrame)),

  intervals: sum('is_bitrate'),
  interval_ms: sum('if(is_bitrate, interval_ms, 0)'),
  /** kbit/s × ms = bits */
  received_bits: sum('if(is_bitrate, toUInt64(bitrate_kbps) * interval_ms, 0)'),
  bitrate_buckets: timeHistogram('bitrate_kbps', 'is_bitrate'),
  /** Received and asked for, over events that report what was asked for. */
  received_of_target_bits: sum('if(isNull(target_bitrate_kbps), 0, toUInt64(bitrate_kbps) * interval_ms)'),
  target_bits: sum('ifNull(toUInt64(target_bitrate_kbps) * interval_ms, 0)'),
  rtt_buckets: valueHistogram('rtt_us'),
  packets_received: sum('if(isNull(packets_lost), 0, ifNull(packets_received, 0))'),
  packets_lost: sum('if(isNull(packets_received), 0, ifNull(packets_lost, 0))'),
  available_intervals: sum('isNotNull(available_kbps)'),
  available_buckets: timeHistogram('available_kbps', 'isNotNull(available_kbps)'),
  jitter_buckets: valueHistogram('jitter_us'),
  rung_switches: sum('ifNull(rung_switches, 0)'),
  /** Time of the intervals that report switches. */
  rung_switches_of_ms: sum('if(isNull(rung_switches), 0, interval_ms)'),
  rung_switches_known: sum('isNotNull(rung_switches)'),
  rung_time_ms: ofEachRung(2),
  rung_intervals: ofEachRung(5),
  rung_packets_lost: ofEachRung(3),
  rung_packets_received: ofEachRung(4),
  /** The frames of ten seconds belong to the rung that had most of them. */
  rung_frames: ofMainRung('cell_frames'),
  rung_frame_time_us: ofMainRung('cell_frame_time_sum_us'),
  rung_stutter_time_us: ofMainRung('cell_stutter_time_us'),

  /** G.1072 of ten seconds: within the range of the model, and beyond it where its inputs were clamped. */
  ...Object.fromEntries(scores('mos', 'empty(mos.1) AND empty(mos.2)')),
  ...Object.fromEntries(scores('mos_outside', 'notEmpty(mos.2)')),
  /** How many ten seconds have no score, or one outside the model, for which reason. */
  mos_flags: derived(
    FLAG_MAP,
    mapSql(FLAG_MAP, 'arraySort(arrayConcat(mos.1, mos.2)) AS flags', 'arrayMap(_ -> 1, flags)'),
  ),

  startup_ms: extreme('max', 'UInt32', 'startup_ms'),
  end_reason: { ...dimension("if(end_reason = '', '', toString(end_reason))") },
  startup_buckets: valueHistogram('startup_ms'),
  connects: sum("state = 'connecting'"),
  first_frames: sum("state = 'first_frame'"),
  ends: sum("state = 'ended'"),

  events: sum('1'),
  ...Object.fromEntries(SOURCES.flatMap(seqColumns)),
  /** Ten seconds with an event in them. */
  active_10s: derived('UInt64', 'toUInt64(1)'),
  /** Rows before resends were left out. */
  received: derived('UInt64', RECEIVED),
  late_events: sum(`toUnixTimestamp64Milli(appended_at) - toUnixTimestamp64Milli(at) > ${LATE_AFTER_MS}`),
  clock_shifted_events: sum('clock_shift_ms != 0'),
}

/** The kinds of rows that cells are made of: what a session was like. */
export const EVENT_KINDS = "('frame_times', 'bitrate', 'session')"
/** The kinds of rows that are events: those, and what was decided about the session. The others are Kafka's offsets accounted for. */
export const SAID_KINDS = "('frame_times', 'bitrate', 'session', 'abr_decision')"
