/**
 * What a caller is told of one session: its state, how old that is, and what to do. Nothing here waits. A state that is too old is told
 * all the same, with what is safe to do; of a session nobody has heard of, what is known of sessions like it.
 */

import type { Ladder } from './ladder.ts'
import type { LiveSession } from './live.ts'
import { recommend, safeDefault } from './recommend.ts'
import type { Prior, Reason, SessionState, Standing } from './state.ts'

export const STALE = 'stale'

export interface Step {
  readonly rung: string
  readonly target_bitrate_kbps: number
}

export interface Advice {
  readonly session_id: string
  /** When Kafka appended the newest event behind it, and how long ago; null: none is known. */
  readonly as_of: string | null
  readonly age_ms: number | null
  /** Older than answers are valid, or nothing is known: do what is safe. */
  readonly stale: boolean
  readonly valid_for_ms: number
  readonly samples: number
  readonly completeness_pct: number | null
  /** Null: nobody said on which rung the session is. */
  readonly safe_default: Step | null
  readonly recommendation: Step & { readonly reason: Reason | typeof STALE }
  readonly state: SessionState | null
  readonly prior: Prior | null
}

export interface Advisor {
  readonly ladder: Ladder
  readonly stale_after_ms: number
  readonly of: (session_id: string) => LiveSession | undefined
  readonly priorOf: (context: LiveSession['context']) => Prior | undefined
}

export function adviceOn(advisor: Advisor, session_id: string, standing: Standing | undefined, now_ms: number): Advice {
  const { ladder, stale_after_ms } = advisor
  const live = advisor.of(session_id)
  const prior = advisor.priorOf(live?.context ?? {})
  // A broker's clock may be ahead of ours; nothing is younger than now.
  const age_ms = live ? Math.max(0, now_ms - live.as_of_ms) : null
  const stale = age_ms === null || age_ms > stale_after_ms
  const known = safeDefault(ladder, live?.state, standing)
  const safe_default = known && { rung: known.name, target_bitrate_kbps: known.bitrate_kbps }
  const fresh = recommend(ladder, stale ? undefined : live?.state, prior, standing)
  return {
    session_id,
    as_of: live ? new Date(live.as_of_ms).toISOString() : null,
    age_ms,
    stale,
    valid_for_ms: age_ms === null ? 0 : Math.max(0, stale_after_ms - age_ms),
    samples: live?.state.samples ?? 0,
    completeness_pct: live?.state.completeness_pct ?? null,
    safe_default,
    recommendation: live && stale && safe_default ? { ...safe_default, reason: STALE } : fresh,
    state: live?.state ?? null,
    prior: prior ?? null,
  }
}

/** A rate that moved by less is the same. */
const RATE_MOVED = 0.1

/** Whether somebody who knows the one wants to hear the other. */
export function isMaterial(before: Advice | undefined, after: Advice): boolean {
  if (!before) return true
  const told = ({ recommendation, stale, state }: Advice): string =>
    JSON.stringify([recommendation, stale, (state?.freeze_time_pct ?? 0) > 0, (state?.stutter_time_pct ?? 0) >= 1])
  const rate = ({ state }: Advice): number => state?.available_kbps.ewma_3s ?? 0
  return told(before) !== told(after) || Math.abs(rate(after) - rate(before)) > RATE_MOVED * rate(before)
}
