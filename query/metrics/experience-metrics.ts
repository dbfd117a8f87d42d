/** Metrics of whole sessions and of the telemetry itself: experience, volume, lifecycle, trust. */
import { LATE_AFTER_MS } from '../../ingest/store/cells.ts'
import { type Entry, R7, ratio } from './entry.ts'
import { percentileOfHundredthsSql, percentileSql } from './percentile.ts'
import { GOOD_SESSION_WORDS, UNEXPECTED_ENDS } from './verdicts.ts'

const G1072 =
  'the opinion score (1.3 to 4.64) of ITU-T G.1072 (01/2020 with Cor.1) of a session in ten seconds, from received bitrate, encoded (else target) frame rate, resolution, round-trip time and frame loss measured as 1 − presented / encoded. Fitted on H.264 up to 1080p60. Ten seconds with less than 5 s of frame time or with an unknown input have no score, those outside the range of the model (0.3–50 Mbit/s, 10–60 fps, up to 1920×1080, up to 400 ms) are left out; meta.model counts both by reason. A game is of high video complexity and interaction sensitivity unless configured otherwise: game_classes of GET /v1/metrics'
const BELOW_3 = 'arraySum((b, n) -> if(b < 300, n, 0), mapKeys(mos_hundredths), mapValues(mos_hundredths))'

const startups = (p: number, name: string): Entry => ({
  title: `Time to the first frame, ${name}`,
  definition: `The ${name} over the session events that report startup_ms, from request to first frame; ${R7}.`,
  unit: 'ms',
  better: 'lower',
  value: percentileSql('startup_buckets', p),
  counted: 'startups',
  percentile: p,
})

export const EXPERIENCE_METRICS = {
  mos_avg: {
    title: 'Opinion score, average',
    definition: `The mean of ${G1072}.`,
    unit: 'mos',
    better: 'higher',
    value: ratio('mos_sum_millionths', 'mos_cells', 1e-6),
    counted: 'scored_cells',
    scored: 'cells',
  },
  mos_p5: {
    title: 'Opinion score, 5th percentile',
    definition: `The 5th percentile (Hyndman & Fan type 7 over hundredths, within 1 %) of ${G1072}.`,
    unit: 'mos',
    better: 'higher',
    value: percentileOfHundredthsSql('mos_hundredths', 0.05),
    counted: 'scored_cells',
    percentile: 0.05,
    scored: 'cells',
  },
  mos_below_3_pct: {
    title: 'Time with an opinion score below 3',
    definition: `Share of the scored ten seconds below 3, by ${G1072}.`,
    unit: 'pct',
    better: 'lower',
    value: ratio(BELOW_3, 'mos_cells', 100),
    counted: 'scored_cells',
    bad: BELOW_3,
    scored: 'cells',
  },
  good_session_pct: {
    title: 'Good sessions',
    definition: `Share, ${GOOD_SESSION_WORDS}. meta.model.sessions_unscored counts the sessions judged without a score.`,
    unit: 'pct',
    better: 'higher',
    value: ratio('sessions_good', 'sessions_judged', 100),
    counted: 'judged_sessions',
    bad: 'sessions_judged - sessions_good',
    scored: 'sessions',
  },
  start_failure_pct: {
    title: 'Failed starts',
    definition:
      'Of the sessions that said connecting in the range and, in the range, either showed a picture (first_frame, or any frame) or ended: the share that ended without one. Those still connecting are undecided and not counted.',
    unit: 'pct',
    better: 'lower',
    value: ratio('starts_failed', 'starts_decided', 100),
    counted: 'starts',
    bad: 'starts_failed',
  },
  startup_p50_ms: startups(0.5, 'median'),
  startup_p95_ms: startups(0.95, '95th percentile'),
  unexpected_end_pct: {
    title: 'Unexpected ends',
    definition: `Of the sessions that ended in the range for a known reason: the share that ended for ${UNEXPECTED_ENDS.join(', ')}.`,
    unit: 'pct',
    better: 'lower',
    value: ratio('ends_unexpected', 'ends_known', 100),
    counted: 'ends',
    bad: 'ends_unexpected',
  },
  sessions: {
    title: 'Sessions',
    definition: 'Distinct sessions with an event in the range.',
    unit: 'sessions',
    better: 'neither',
    value: 'sessions',
    counted: 'sessions',
  },
  concurrent_sessions: {
    title: 'Sessions at a time, average',
    definition:
      'The mean over the ten seconds of the range (of each step, as far as it lies in the range) of distinct sessions with an event in them. Where the range or step has any session, ten seconds without count as 0.',
    unit: 'sessions',
    better: 'neither',
    value: ratio('nullIf(active_10s, 0)', 'covered_s', 10),
    counted: 'ten_seconds',
  },
  concurrent_sessions_max: {
    title: 'Sessions at a time, most',
    definition: 'The most distinct sessions with an event in the same ten seconds.',
    unit: 'sessions',
    better: 'neither',
    value: 'sessions_peak',
    counted: 'ten_seconds',
    ten_seconds_only: true,
  },
  session_minutes: {
    title: 'Minutes played',
    definition: 'Σ frame_time_us of all sessions, in minutes.',
    unit: 'minutes',
    better: 'neither',
    value: 'frame_time_sum_us / 60000000',
    counted: 'frames',
  },
  completeness_pct: {
    title: 'Events that arrived',
    definition:
      'Distinct sequence numbers / (last − first + 1), summed over each session and speaker in the range; never over 100. Resends count once.',
    unit: 'pct',
    better: 'higher',
    value: ratio('seqs_distinct', 'seqs_expected', 100),
    counted: 'events',
  },
  resent_pct: {
    title: 'Events sent again',
    definition:
      'Share of the events Kafka delivered that repeat the session, speaker and sequence number of an earlier one in the same ten seconds; they count nowhere else. Refused messages belong to no session and are no metric: GET /v1/rejects and /v1/pipeline count them.',
    unit: 'pct',
    better: 'lower',
    value: ratio('received - events', 'received', 100),
    counted: 'messages',
    bad: 'received - events',
  },
  late_event_pct: {
    title: 'Late events',
    definition: `Share of events that Kafka had more than ${LATE_AFTER_MS / 1_000} s after what they cover began.`,
    unit: 'pct',
    better: 'lower',
    value: ratio('late_events', 'events', 100),
    counted: 'events',
    bad: 'late_events',
  },
  clock_shifted_pct: {
    title: 'Events with a wrong clock',
    definition:
      "Share of events whose speaker's clock was wrong by at least 5 minutes, and that were moved to Kafka's time in steps of 5 minutes.",
    unit: 'pct',
    better: 'lower',
    value: ratio('clock_shifted_events', 'events', 100),
    counted: 'events',
    bad: 'clock_shifted_events',
  },
} as const satisfies Readonly<Record<string, Entry>>
