/**
 * What adaptive-bitrate logic is told: of a session's last ten seconds, and of what sessions like it sustained. Types only, in the
 * spelling of the wire. Names are those of the metric catalogue where the quantity is one of it. Unknown is null, never 0.
 */

/** So much of a session's past is behind its state. */
export const STATE_WINDOW_S = 10
/** How often a session speaks, where it has not shown that it does otherwise: by convention. */
export const PERIOD_MS = 1_000

/** The congestion controller's estimate over the window; kbit/s. */
export interface Available {
  readonly last: number | null
  readonly harmonic_mean: number | null
  /** Exponentially weighted, with half-lives of 3 s and 9 s: the smaller is the estimate of dash.js and Shaka. */
  readonly ewma_3s: number | null
  readonly ewma_9s: number | null
  readonly stdev: number | null
  /** Greatest error of the last five intervals, each foretold by the harmonic mean of up to five before it: the discount of RobustMPC. */
  readonly error_max_5: number | null
}

/** The last `STATE_WINDOW_S` of a session. */
export interface SessionState {
  readonly bitrate_avg_kbps: number | null
  readonly target_bitrate_kbps: number | null
  readonly available_kbps: Available
  readonly rtt_p50_us: number | null
  readonly jitter_p50_us: number | null
  readonly packet_loss_pct: number | null
  readonly fps_avg: number | null
  readonly frame_time_p95_us: number | null
  readonly late_frame_pct: number | null
  readonly stutter_time_pct: number | null
  readonly freeze_time_pct: number | null
  /**
   * How long the frame on screen has been there: when the last event was closed, and, once a session says nothing for more than two of
   * its periods while others are heard, since then too.
   */
  readonly open_frame_us: number | null
  readonly mos_avg: number | null
  /** The ladder step the last bitrate event named. */
  readonly rung: string | null
  /** Intervals (bitrate events) behind this. */
  readonly samples: number
  /** Distinct events of those expected by `seq`, in the window. */
  readonly completeness_pct: number | null
}

/** What sessions like this one sustained; kbit/s. */
export interface Prior {
  readonly p10_kbps: number | null
  readonly p25_kbps: number | null
  readonly p50_kbps: number | null
  readonly p75_kbps: number | null
  readonly p90_kbps: number | null
  readonly rtt_p50_us: number | null
  readonly packet_loss_pct: number | null
  readonly start_bitrate_kbps: number | null
  readonly cap_kbps: number | null
  /** The dimensions these sessions have in common, as in `isp+region+access+device`; `global`: none. */
  readonly level: string
  /** Sessions at each level of the back-off, from the narrowest. */
  readonly levels: readonly { readonly level: string; readonly n: number }[]
}

/** A step of the ladder. */
export interface Rung {
  readonly name: string
  readonly bitrate_kbps: number
}

/** Where the caller stands on the ladder. */
export interface Standing {
  readonly rung: string
  readonly since_ms: number
  readonly switches_last_minute: number
}

/** Why a rung is recommended: a closed list. */
export const REASONS = [
  'nothing_known',
  'cold_start',
  'state_unknown',
  'above_cap',
  'freeze',
  'loss',
  'does_not_fit',
  'settling',
  'hold',
  'climb',
] as const
export type Reason = (typeof REASONS)[number]

export interface Recommendation {
  readonly rung: string
  readonly target_bitrate_kbps: number
  readonly reason: Reason
}
