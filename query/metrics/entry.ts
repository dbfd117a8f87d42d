/**
 * What a metric is made of, before the catalogue publishes it: words, SQL over one merged cell, and what stands behind the value.
 */
import { mapCount, percentileSql } from './percentile.ts'

export const UNITS = [
  'us',
  'ms',
  'fps',
  'pct',
  'per_minute',
  'kbps',
  'gb_per_hour',
  'mos',
  'sessions',
  'minutes',
] as const
export const BETTER = ['higher', 'lower', 'neither'] as const

/** The number of values behind a metric's value, as SQL over a merged cell. */
export const COUNT_SQL = {
  frames: 'frames',
  frame_pairs: 'frame_steps',
  events: 'events',
  messages: 'received',
  intervals: 'intervals',
  rtt_values: mapCount('rtt_buckets'),
  jitter_values: mapCount('jitter_buckets'),
  packets: 'packets_received + packets_lost',
  scored_cells: 'mos_cells',
  startups: mapCount('startup_buckets'),
  sessions: 'sessions',
  starts: 'starts_decided',
  ends: 'ends_known',
  judged_sessions: 'sessions_judged',
  ten_seconds: 'active_10s',
} as const
type Counted = keyof typeof COUNT_SQL
export const COUNTED = Object.keys(COUNT_SQL) as Counted[]

/** What a metric is over the time at one rung, as SQL over what `rungs.ts` knows of it. */
export interface ByRung {
  readonly value: string
  readonly count: string
  readonly bad?: string
}

export interface Entry {
  readonly title: string
  /** In words, with the formula and its source. */
  readonly definition: string
  readonly unit: (typeof UNITS)[number]
  readonly better: (typeof BETTER)[number]
  /** SQL; NULL where there is nothing to compute it from. */
  readonly value: string
  readonly counted: Counted
  /** Where only part of what `counted` says is behind it: SQL. */
  readonly count?: string
  readonly percentile?: number
  /** The bad time or bad events in the numerator, if it has any: what a group's share of the whole harm is measured in. */
  readonly bad?: string
  /** Default 1. Raised when the number for the same events changes. */
  readonly definition_version?: number
  /** Minutes have forgotten what this needs. */
  readonly ten_seconds_only?: true
  /** It stands on opinion scores: answers say what was scored, and why the rest was not. */
  readonly scored?: 'cells' | 'sessions'
  readonly by_rung?: ByRung
}

/** NULL instead of a division by nothing. */
export const ratio = (numerator: string, denominator: string, factor = 1): string =>
  `${factor} * (${numerator}) / nullIf(${denominator}, 0)`
export const perMinute = (count: string): string => ratio(count, 'frame_time_sum_us', 60_000_000)
export const shareOfTime = (time: string): string => ratio(time, 'frame_time_sum_us', 100)

export const FRAME_BOUNDS = { min: 'frame_time_min_us', max: 'frame_time_max_us' }
export const frameTimePercentile = (p: number): string => percentileSql('frame_time_buckets', p, FRAME_BOUNDS)

export const R7 = 'Hyndman & Fan type 7 over logarithmic buckets of growth 1.02, within 1 % of the exact value'
