/**
 * Each metric once: what it means, and how it is computed. The API runs this, dashboards draw it, `GET /v1/metrics` publishes it.
 *
 * A metric is a scalar expression over one *merged cell*: the cells of a group, merged column by column as `ingest/store/cells.ts`
 * says. So a ratio is a ratio of sums, a percentile is never averaged, and the tier the cells came from cannot show in the number.
 * Beside the cell's columns an expression may use `sessions`, `cells`, `seqs_distinct` and `seqs_expected` (see `sql.ts`).
 * Adding a metric is adding an entry.
 */
import { fewestValues, mapCount, percentileSql, weightedPercentileSql } from './percentile.ts'

export const ANSWER_TIERS = ['events', '10s', 'minute', 'hour'] as const
/** `events` computes cells from raw events on the fly, the others read settled cells. */
export type AnswerTier = (typeof ANSWER_TIERS)[number]

export const UNITS = ['us', 'fps', 'pct', 'per_minute', 'kbps', 'sessions', 'minutes'] as const
export const BETTER = ['higher', 'lower', 'neither'] as const
export const COUNTED = ['frames', 'events', 'intervals', 'rtt_values', 'packets', 'sessions'] as const

/** The number of values behind a metric's value, as SQL over a merged cell. */
const COUNT_SQL: Readonly<Record<(typeof COUNTED)[number], string>> = {
  frames: 'frames',
  events: 'events',
  intervals: 'intervals',
  rtt_values: mapCount('rtt_buckets'),
  packets: 'packets_received + packets_lost',
  sessions: 'sessions',
}

export interface Metric {
  readonly title: string
  /** In words, with the formula and its source. */
  readonly definition: string
  readonly unit: (typeof UNITS)[number]
  readonly better: (typeof BETTER)[number]
  /** Raised when the number for the same events changes. */
  readonly definition_version: number
  readonly tiers: readonly AnswerTier[]
  /** SQL; NULL where there is nothing to compute it from. */
  readonly value: string
  readonly counted: (typeof COUNTED)[number]
  readonly count: string
  /** Below this many values the answer is null, unless one session is asked for. */
  readonly min_count: number
  /** The bad time or bad events in the numerator, if it has any: what a group's share of the whole harm is measured in. */
  readonly bad: string | undefined
}

interface Entry extends Pick<Metric, 'title' | 'definition' | 'unit' | 'better' | 'value' | 'counted'> {
  readonly percentile?: number
  readonly bad?: string
  readonly definition_version?: number
}

const entry = ({ percentile, bad, definition_version = 1, ...rest }: Entry): Metric => ({
  ...rest,
  definition_version,
  tiers: ANSWER_TIERS,
  count: COUNT_SQL[rest.counted],
  min_count: percentile === undefined ? 1 : fewestValues(percentile),
  bad,
})

/** NULL instead of a division by nothing. */
const ratio = (numerator: string, denominator: string, factor = 1): string =>
  `${factor} * (${numerator}) / nullIf(${denominator}, 0)`
const perMinute = (count: string): string => ratio(count, 'frame_time_sum_us', 60_000_000)
const shareOfTime = (time: string): string => ratio(time, 'frame_time_sum_us', 100)

const FRAME_BOUNDS = { min: 'frame_time_min_us', max: 'frame_time_max_us' }
const frameTimePercentile = (p: number): string => percentileSql('frame_time_buckets', p, FRAME_BOUNDS)

const R7 = 'Hyndman & Fan type 7 over logarithmic buckets of growth 1.02, within 1 % of the exact value'
const STUTTER = 'a stutter is a frame over 2.5 target intervals (with 1 ms of slack) that is no freeze'
const FREEZE =
  'a freeze is a frame of at least max(3 target intervals, one + 150 ms) while not paused: the freezeCount rule of W3C webrtc-stats with the target interval in place of the trailing average'

const frameTimes = (p: number, name: string): Metric =>
  entry({
    title: `Frame time, ${name}`,
    definition: `The ${name} over frames of the present-to-present interval; ${R7}.`,
    unit: 'us',
    better: 'lower',
    value: frameTimePercentile(p),
    counted: 'frames',
    percentile: p,
  })
const rtts = (p: number, name: string): Metric =>
  entry({
    title: `Round-trip time, ${name}`,
    definition: `The ${name} over the bitrate intervals that report a round-trip time; ${R7}.`,
    unit: 'us',
    better: 'lower',
    value: percentileSql('rtt_buckets', p),
    counted: 'rtt_values',
    percentile: p,
  })

export const METRICS = {
  fps_avg: entry({
    title: 'Frames per second, average',
    definition:
      'Frames presented per second of frame time: 1e6 × frames / Σ frame_time_us. Weighted by time, never a mean of momentary rates.',
    unit: 'fps',
    better: 'higher',
    value: ratio('frames', 'frame_time_sum_us', 1_000_000),
    counted: 'frames',
  }),
  frame_time_p50_us: frameTimes(0.5, 'median'),
  frame_time_p95_us: frameTimes(0.95, '95th percentile'),
  frame_time_p99_us: frameTimes(0.99, '99th percentile'),
  frame_time_max_us: entry({
    title: 'Frame time, longest',
    definition: 'The longest present-to-present interval; exact.',
    unit: 'us',
    better: 'lower',
    value: 'frame_time_max_us',
    counted: 'frames',
  }),
  fps_p1: entry({
    title: 'Frames per second, 1st percentile',
    definition: `1e6 / frame_time_p99_us: the rate that 99 % of frames reach (the "P1" of CapFrameX, not a "1 % low"); ${R7}.`,
    unit: 'fps',
    better: 'higher',
    value: ratio('1', frameTimePercentile(0.99), 1_000_000),
    counted: 'frames',
    percentile: 0.99,
  }),
  late_frame_pct: entry({
    title: 'Late frames',
    definition: 'Share of frames over 1.5 target intervals, with 1 ms of slack.',
    unit: 'pct',
    better: 'lower',
    value: ratio('late_frames', 'frames', 100),
    counted: 'frames',
    bad: 'late_frames',
  }),
  stutters_per_minute: entry({
    title: 'Stutters per minute',
    definition: `Stutters per minute of frame time; ${STUTTER}.`,
    unit: 'per_minute',
    better: 'lower',
    value: perMinute('stutters'),
    counted: 'frames',
    bad: 'stutters',
  }),
  stutter_time_pct: entry({
    title: 'Time in stutters',
    definition: `Share of frame time that lies in stutters; ${STUTTER}.`,
    unit: 'pct',
    better: 'lower',
    value: shareOfTime('stutter_time_us'),
    counted: 'frames',
    bad: 'stutter_time_us',
  }),
  freezes_per_minute: entry({
    title: 'Freezes per minute',
    definition: `Freezes per minute of frame time; ${FREEZE}.`,
    unit: 'per_minute',
    better: 'lower',
    value: perMinute('freezes'),
    counted: 'frames',
    bad: 'freezes',
  }),
  freeze_time_pct: entry({
    title: 'Time in freezes',
    definition: `Share of frame time that lies in freezes; ${FREEZE}.`,
    unit: 'pct',
    better: 'lower',
    value: shareOfTime('freeze_time_us'),
    counted: 'frames',
    bad: 'freeze_time_us',
  }),
  frames_dropped_pct: entry({
    title: 'Frames dropped',
    definition:
      'Dropped / (dropped + presented) frames, over the events that report dropped ones (framesDropped of W3C webrtc-stats).',
    unit: 'pct',
    better: 'lower',
    value: ratio('frames_dropped', 'frames_dropped + frames_dropped_of', 100),
    counted: 'frames',
    bad: 'frames_dropped',
  }),
  bitrate_avg_kbps: entry({
    title: 'Bitrate, average',
    definition: 'Video bits received per time covered: Σ (bitrate_kbps × interval_ms) / Σ interval_ms.',
    unit: 'kbps',
    better: 'higher',
    value: ratio('received_bits', 'interval_ms'),
    counted: 'intervals',
  }),
  bitrate_p50_kbps: entry({
    title: 'Bitrate, median',
    definition:
      'The median of the received bitrate weighted by the time covered: the smallest rate that half of the time does not exceed; from logarithmic buckets of growth 1.02, within 1 %.',
    unit: 'kbps',
    better: 'higher',
    value: weightedPercentileSql('bitrate_buckets', 0.5),
    counted: 'intervals',
    percentile: 0.5,
  }),
  bitrate_utilisation_pct: entry({
    title: 'Bitrate received of target',
    definition: 'Σ received / Σ target bits, over the intervals that report what the encoder was asked for.',
    unit: 'pct',
    better: 'higher',
    value: ratio('received_of_target_bits', 'target_bits', 100),
    counted: 'intervals',
  }),
  rtt_p50_us: rtts(0.5, 'median'),
  rtt_p95_us: rtts(0.95, '95th percentile'),
  packet_loss_pct: entry({
    title: 'Packets lost',
    definition:
      'Σ lost / Σ (lost + received) packets, over the intervals that report both (packetsLost of W3C webrtc-stats).',
    unit: 'pct',
    better: 'lower',
    value: ratio('packets_lost', 'packets_received + packets_lost', 100),
    counted: 'packets',
    bad: 'packets_lost',
  }),
  sessions: entry({
    title: 'Sessions',
    definition: 'Distinct sessions with an event in the range.',
    unit: 'sessions',
    better: 'neither',
    value: 'sessions',
    counted: 'sessions',
  }),
  session_minutes: entry({
    title: 'Minutes played',
    definition: 'Σ frame_time_us of all sessions, in minutes.',
    unit: 'minutes',
    better: 'neither',
    value: 'frame_time_sum_us / 60000000',
    counted: 'frames',
  }),
  completeness_pct: entry({
    title: 'Events that arrived',
    definition:
      'Distinct sequence numbers / (last − first + 1), summed over each session and speaker in the range; never over 100. Resends count once.',
    unit: 'pct',
    better: 'higher',
    value: ratio('seqs_distinct', 'seqs_expected', 100),
    counted: 'events',
  }),
} as const satisfies Readonly<Record<string, Metric>>

export type MetricId = keyof typeof METRICS
export const METRIC_IDS = Object.keys(METRICS) as MetricId[]
