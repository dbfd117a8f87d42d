/** Metrics of frames: how many, how even, how late, and where their time goes. */
import { type Entry, FRAME_BOUNDS, frameTimePercentile, perMinute, R7, ratio, shareOfTime } from './entry.ts'
import { longestShareSql } from './percentile.ts'

const STUTTER = 'a stutter is a frame over 2.5 target intervals (with 1 ms of slack) that is no freeze'
const FREEZE =
  'a freeze is a frame of at least max(3 target intervals, one + 150 ms) while not paused: the freezeCount rule of W3C webrtc-stats with the target interval in place of the trailing average'

const frameTimes = (p: number, name: string): Entry => ({
  title: `Frame time, ${name}`,
  definition: `The ${name} over frames of the present-to-present interval; ${R7}.`,
  unit: 'us',
  better: 'lower',
  value: frameTimePercentile(p),
  counted: 'frames',
  percentile: p,
})
/** A mean that events report of their frames. */
const stage = (name: string, title: string, what: string): Entry => ({
  title,
  definition: `The mean of ${what}, over the events that report it, weighted by their frames: Σ (mean × frames) / Σ frames.`,
  unit: 'us',
  better: 'lower',
  value: ratio(`${name}_sum_us`, `${name}_frames`),
  counted: 'frames',
  count: `${name}_frames`,
})

export const FRAME_METRICS = {
  fps_avg: {
    title: 'Frames per second, average',
    definition:
      'Frames presented per second of frame time: 1e6 × frames / Σ frame_time_us. Weighted by time, never a mean of momentary rates.',
    unit: 'fps',
    better: 'higher',
    value: ratio('frames', 'frame_time_sum_us', 1_000_000),
    counted: 'frames',
  },
  fps_rendered_avg: {
    title: 'Frames per second, without generated ones',
    definition:
      'Presented frames less those made by frame generation, per second of frame time, over the events that report generated ones: 1e6 × Σ (frames − generated) / Σ frame_time_us.',
    unit: 'fps',
    better: 'higher',
    value: ratio('frames_generated_of - frames_generated', 'frames_generated_of_us', 1_000_000),
    counted: 'frames',
    count: 'frames_generated_of',
  },
  frame_time_p50_us: frameTimes(0.5, 'median'),
  frame_time_p90_us: frameTimes(0.9, '90th percentile'),
  frame_time_p95_us: frameTimes(0.95, '95th percentile'),
  frame_time_p99_us: frameTimes(0.99, '99th percentile'),
  frame_time_p999_us: frameTimes(0.999, '99.9th percentile'),
  frame_time_max_us: {
    title: 'Frame time, longest',
    definition: 'The longest present-to-present interval; exact.',
    unit: 'us',
    better: 'lower',
    value: 'frame_time_max_us',
    counted: 'frames',
  },
  fps_p1: {
    title: 'Frames per second, 1st percentile',
    definition: `1e6 / frame_time_p99_us: the rate that 99 % of frames reach (the "P1" of CapFrameX, not a "1 % low"); ${R7}.`,
    unit: 'fps',
    better: 'higher',
    value: ratio('1', frameTimePercentile(0.99), 1_000_000),
    counted: 'frames',
    percentile: 0.99,
  },
  fps_low1: {
    title: 'Frames per second, 1 % low',
    definition:
      'The time-weighted ("integral") 1 % low of MSI Afterburner: 1e6 / the t such that frames of at least t make up 1 % of the time. Other tools call other figures "1 % low", up to a factor of 5 apart. From logarithmic buckets of growth 1.02: between the exact lows at 0.99 % and 1.01 % of the time, and within 1 % of those.',
    unit: 'fps',
    better: 'higher',
    value: ratio('1', longestShareSql('frame_time_buckets', 0.01, 'frame_time_sum_us', FRAME_BOUNDS), 1_000_000),
    counted: 'frames',
    percentile: 0.99,
  },
  frame_jitter_us: {
    title: 'Frame-time jitter',
    definition:
      'The mean difference, without its sign, of neighbouring frame times within an event: Σ |ft[i] − ft[i−1]| / pairs.',
    unit: 'us',
    better: 'lower',
    value: ratio('frame_steps_sum_us', 'frame_steps'),
    counted: 'frame_pairs',
  },
  late_frame_pct: {
    title: 'Late frames',
    definition: 'Share of frames over 1.5 target intervals, with 1 ms of slack.',
    unit: 'pct',
    better: 'lower',
    value: ratio('late_frames', 'frames', 100),
    counted: 'frames',
    bad: 'late_frames',
  },
  stutters_per_minute: {
    title: 'Stutters per minute',
    definition: `Stutters per minute of frame time; ${STUTTER}.`,
    unit: 'per_minute',
    better: 'lower',
    value: perMinute('stutters'),
    counted: 'frames',
    bad: 'stutters',
  },
  stutter_time_pct: {
    title: 'Time in stutters',
    definition: `Share of frame time that lies in stutters; ${STUTTER}.`,
    unit: 'pct',
    better: 'lower',
    value: shareOfTime('stutter_time_us'),
    counted: 'frames',
    bad: 'stutter_time_us',
    by_rung: {
      value: ratio('rung_stutter_time_us', 'rung_frame_time_us', 100),
      count: 'rung_frames',
      bad: 'rung_stutter_time_us',
    },
  },
  freezes_per_minute: {
    title: 'Freezes per minute',
    definition: `Freezes per minute of frame time; ${FREEZE}.`,
    unit: 'per_minute',
    better: 'lower',
    value: perMinute('freezes'),
    counted: 'frames',
    bad: 'freezes',
  },
  freeze_time_pct: {
    title: 'Time in freezes',
    definition: `Share of frame time that lies in freezes; ${FREEZE}.`,
    unit: 'pct',
    better: 'lower',
    value: shareOfTime('freeze_time_us'),
    counted: 'frames',
    bad: 'freeze_time_us',
  },
  frames_dropped_pct: {
    title: 'Frames dropped',
    definition:
      'Dropped / (dropped + presented) frames, over the events that report dropped ones (framesDropped of W3C webrtc-stats).',
    unit: 'pct',
    better: 'lower',
    value: ratio('frames_dropped', 'frames_dropped + frames_dropped_of', 100),
    counted: 'frames',
    bad: 'frames_dropped',
  },
  frames_generated_pct: {
    title: 'Frames generated',
    definition:
      "Share of the presented frames that were made by frame generation, over the events that report it; an event's generated frames count up to its presented ones.",
    unit: 'pct',
    better: 'neither',
    value: ratio('frames_generated', 'frames_generated_of', 100),
    counted: 'frames',
    count: 'frames_generated_of',
  },
  stage_host_us: stage('stage_host', 'Time in the host', 'what the game and its host take'),
  stage_encode_us: stage('stage_encode', 'Time in the encoder', 'what encoding takes'),
  stage_network_us: stage('stage_network', 'Time on the network', 'what the way from host to client takes'),
  stage_jitter_buffer_us: stage('stage_jitter_buffer', 'Time in the jitter buffer', 'how long a frame is held back'),
  stage_decode_us: stage('stage_decode', 'Time in the decoder', 'what decoding takes'),
  stage_present_us: stage('stage_present', 'Time to present', 'the time from the decoded frame to the screen'),
  input_latency_us: stage('input_latency', 'Input latency', 'the time from input to photon'),
} as const satisfies Readonly<Record<string, Entry>>
