/** A session that bitrate logic may ask about: where it stands, and its last ten seconds, which were good. */
import type { Available, SessionState, Standing } from '../../query/abr/state.ts'

export const SETTLED: Standing = { rung: '1080p60-10m', since_ms: 30_000, switches_last_minute: 0 }

export const available = (kbps: number, error: number | null = 0): Available => ({
  ...{ last: kbps, harmonic_mean: kbps, ewma_3s: kbps, ewma_9s: kbps, stdev: 0, error_max_5: error },
})

export const good = (available_kbps: number): SessionState => ({
  ...{ bitrate_avg_kbps: 9_000, target_bitrate_kbps: 10_000, available_kbps: available(available_kbps) },
  ...{ rung: SETTLED.rung, samples: 10, completeness_pct: 100, rtt_p50_us: 20_000, jitter_p50_us: 500 },
  ...{ packet_loss_pct: 0, fps_avg: 60, frame_time_p95_us: 17_000, mos_avg: 4.1 },
  ...{ late_frame_pct: 0, stutter_time_pct: 0, freeze_time_pct: 0, open_frame_us: 8_000 },
})
