/** Metrics of the stream and its network: rates, the ladder, round trips, jitter, loss. */
import { type Entry, R7, ratio } from './entry.ts'
import { mapCount, percentileSql, weightedPercentileSql } from './percentile.ts'

const rtts = (p: number, name: string): Entry => ({
  title: `Round-trip time, ${name}`,
  definition: `The ${name} over the bitrate intervals that report a round-trip time; ${R7}.`,
  unit: 'us',
  better: 'lower',
  value: percentileSql('rtt_buckets', p),
  counted: 'rtt_values',
  percentile: p,
})

const jitters = (p: number, name: string): Entry => ({
  title: `Network jitter, ${name}`,
  definition: `The ${name} over the bitrate intervals that report the jitter of their packets' arrival (W3C webrtc-stats); ${R7}.`,
  unit: 'us',
  better: 'lower',
  value: percentileSql('jitter_buckets', p),
  counted: 'jitter_values',
  percentile: p,
})
const WEIGHTED = 'from logarithmic buckets of growth 1.02, within 1 %'
const bitrates = (p: number, name: string, share: string): Entry => ({
  title: `Bitrate, ${name}`,
  definition: `The ${name} of the received bitrate weighted by the time covered: the smallest rate that ${share} of the time does not exceed; ${WEIGHTED}.`,
  unit: 'kbps',
  better: 'higher',
  value: weightedPercentileSql('bitrate_buckets', p),
  counted: 'intervals',
  percentile: p,
})
const available = (p: number, name: string, share: string): Entry => ({
  title: `Bandwidth available, ${name}`,
  definition: `The ${name} of the congestion controller's estimate weighted by the time covered, over the intervals that report it: the smallest estimate that ${share} of the time does not exceed; ${WEIGHTED}.`,
  unit: 'kbps',
  better: 'higher',
  value: weightedPercentileSql('available_buckets', p),
  counted: 'intervals',
  count: 'available_intervals',
  percentile: p,
})

export const STREAM_METRICS = {
  bitrate_avg_kbps: {
    title: 'Bitrate, average',
    definition: 'Video bits received per time covered: Σ (bitrate_kbps × interval_ms) / Σ interval_ms.',
    unit: 'kbps',
    better: 'higher',
    value: ratio('received_bits', 'interval_ms'),
    counted: 'intervals',
  },
  bitrate_p5_kbps: bitrates(0.05, '5th percentile', '5 %'),
  bitrate_p50_kbps: bitrates(0.5, 'median', 'half'),
  bitrate_p95_kbps: bitrates(0.95, '95th percentile', '95 %'),
  bitrate_utilisation_pct: {
    title: 'Bitrate received of target',
    definition: 'Σ received / Σ target bits, over the intervals that report what the encoder was asked for.',
    unit: 'pct',
    better: 'higher',
    value: ratio('received_of_target_bits', 'target_bits', 100),
    counted: 'intervals',
  },
  available_p5_kbps: available(0.05, '5th percentile', '5 %'),
  available_p50_kbps: available(0.5, 'median', 'half'),
  data_gb_per_hour: {
    title: 'Data per hour',
    definition: 'Video bytes received per hour covered, in 10⁹ bytes: bitrate_avg_kbps × 3600 / 8e6.',
    unit: 'gb_per_hour',
    better: 'neither',
    // kbit/s × 3600 s = kbit an hour; 8e6 of them are 10⁹ bytes.
    value: ratio('received_bits', 'interval_ms', 3_600 / 8_000_000),
    counted: 'intervals',
  },
  rung_switches_per_minute: {
    title: 'Changes of rung per minute',
    definition:
      'Changes of the ladder step per minute covered, over the intervals that report them: 60,000 × Σ rung_switches / Σ interval_ms.',
    unit: 'per_minute',
    better: 'lower',
    value: ratio('rung_switches', 'rung_switches_of_ms', 60_000),
    counted: 'intervals',
    count: 'rung_switches_known',
    bad: 'rung_switches',
  },
  rung_time_share_pct: {
    title: 'Time at a rung',
    definition:
      'Share of the time covered by intervals: asked by=rung, that of each rung (null: none was named); otherwise that of all named rungs together.',
    unit: 'pct',
    better: 'neither',
    value: ratio(mapCount('rung_time_ms'), 'interval_ms', 100),
    counted: 'intervals',
    by_rung: { value: ratio('rung_time_ms', 'sum(rung_time_ms) OVER ()', 100), count: 'rung_intervals' },
  },
  rtt_p50_us: rtts(0.5, 'median'),
  rtt_p95_us: rtts(0.95, '95th percentile'),
  jitter_p50_us: jitters(0.5, 'median'),
  jitter_p95_us: jitters(0.95, '95th percentile'),
  packet_loss_pct: {
    title: 'Packets lost',
    definition:
      'Σ lost / Σ (lost + received) packets, over the intervals that report both (packetsLost of W3C webrtc-stats).',
    unit: 'pct',
    better: 'lower',
    value: ratio('packets_lost', 'packets_received + packets_lost', 100),
    counted: 'packets',
    bad: 'packets_lost',
    by_rung: {
      value: ratio('rung_packets_lost', 'rung_packets_received + rung_packets_lost', 100),
      count: 'rung_packets_received + rung_packets_lost',
      bad: 'rung_packets_lost',
    },
  },
} as const satisfies Readonly<Record<string, Entry>>
