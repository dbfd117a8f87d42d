/**
 * What became of decisions, by policy and version: what each figure means, and the sums it is a ratio of. So that it can be drawn again
 * session by session, and two policies compared.
 *
 * A decision is **in force** from when it was made until the session's next one. Whose clock counts is Kafka's: the speaker's time of an
 * event, moved by what Kafka's append says of the stamp beside it (`appended_at − sent_at`), since who decides and who plays have clocks of their own.
 */
import type { Entry } from '../metrics/entry.ts'

/** What happens later says more of the network than of the decision. */
export const JUDGED_MS = 10_000
/** A turn back after longer is no oscillation: the network changed. */
export const REVERSAL_MS = 30_000

/** Sums over the decisions of a policy. */
export const SUMS = ['bad', 'judged', 'unused_bits', 'usable_bits', 'reversals', 'covered_ms', 'received_bits'] as const
export type Sum = (typeof SUMS)[number]

export interface RegretMetric extends Pick<Entry, 'title' | 'definition' | 'unit' | 'better'> {
  readonly definition_version: number
  readonly numerator: Sum
  readonly denominator: Sum
  readonly factor: number
}

export const REGRET_IDS = ['too_high_pct', 'headroom_unused_pct', 'reversals_per_minute', 'data_gb_per_hour'] as const
export type RegretId = (typeof REGRET_IDS)[number]

export const REGRET_METRICS: Readonly<Record<RegretId, RegretMetric>> = {
  too_high_pct: {
    title: 'Too high',
    definition:
      'Share of decisions after which a frame that is a stutter or a freeze began, within 10 s and while the decision was in force; of those after which frames were reported, within the same time.',
    unit: 'pct',
    better: 'lower',
    definition_version: 1,
    ...{ numerator: 'bad', denominator: 'judged', factor: 100 },
  },
  headroom_unused_pct: {
    title: 'Too low: headroom unused',
    definition:
      "Of what the congestion controller held to be available, the share above the target of the decision in force: Σ max(0, usable − target) / Σ usable, weighted by the time covered, over the intervals that report available_kbps and begin while a decision is in force. Usable is what is available, up to the highest target that any decision of the range asked for: nobody can use more than the ladder's top.",
    unit: 'pct',
    better: 'lower',
    definition_version: 1,
    ...{ numerator: 'unused_bits', denominator: 'usable_bits', factor: 100 },
  },
  reversals_per_minute: {
    title: 'Oscillation: reversals per minute',
    definition:
      "Decisions that turn back, per minute covered by intervals while in force: up after down or down after up (by target_bitrate_kbps), at most 30 s after the session's change before, which was of the same policy and version.",
    unit: 'per_minute',
    better: 'lower',
    definition_version: 1,
    ...{ numerator: 'reversals', denominator: 'covered_ms', factor: 60_000 },
  },
  data_gb_per_hour: {
    title: 'Data per hour',
    definition:
      'Video bytes received per hour covered, in 10⁹ bytes, over the intervals that begin while a decision is in force: as the metric of this name.',
    unit: 'gb_per_hour',
    better: 'neither',
    definition_version: 1,
    // kbit/s × 3600 s = kbit an hour; 8e6 of them are 10⁹ bytes.
    ...{ numerator: 'received_bits', denominator: 'covered_ms', factor: 3_600 / 8_000_000 },
  },
}

/** Null where there is nothing to compute it from. */
export function regretValue(
  { numerator, denominator, factor }: RegretMetric,
  sums: Readonly<Record<Sum, number>>,
): number | null {
  return sums[denominator] > 0 ? (factor * sums[numerator]) / sums[denominator] : null
}
