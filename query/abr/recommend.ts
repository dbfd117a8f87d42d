/**
 * Which rung a session should stream at: a pure function of the ladder, its last ten seconds, what sessions like it sustained, and where
 * it stands. Supervision on a scale of seconds: the congestion controller within the session remains the inner loop.
 *
 * - **How much there is** is the least of what three estimators say: the two exponentially weighted means of dash.js and Shaka (half-lives
 *   of 3 s and 9 s, so that a drop is believed at once and a rise later), and the harmonic mean of FESTIVE (Jiang et al. 2012) divided by
 *   1 + the greatest recent error, as RobustMPC does (Yin et al. 2015).
 * - **Down** at once: on a freeze, on loss that Google's congestion controller backs off at (over 10 %; Carlucci et al. 2016), and when
 *   both means say that there is less than the rung takes; a dip is the inner loop's. **Up** only on evidence: ten seconds on the rung,
 *   nothing wrong in the window, loss under the 2 % at which that controller stops growing, and a third more than the next rung takes.
 *   Between the two a session stays: that is the hysteresis.
 * - **One rung up** also where the estimate is about as high as an estimate can be. A congestion controller's is at most half as much again
 *   as is received (draft-ietf-rmcat-gcc-02, section 5.5), by probes twice, and rungs lie up to a factor of 2.5 apart: who waits for proof
 *   of the next one waits for ever.
 * - **Cold start** from the cohort: at what three in four sessions like it sustained, and never above what nine in ten did.
 */
import { highestWithin, type Ladder, rungNamed } from './ladder.ts'
import type { Prior, Reason, Recommendation, Rung, SessionState, Standing } from './state.ts'

/** W3C's freeze rule at 60 fps: one interval and 150 ms. What is on the screen for so long is a freeze in progress. */
const FROZEN_US = 167_000
const LOSS_BACK_OFF_PCT = 10
const LOSS_NO_GROWTH_PCT = 2
const STUTTER_NO_GROWTH_PCT = 1
/** What is sent at a rung is that much and some more: retransmissions, audio, a keyframe. */
const HEADROOM = 1.2
const CLIMB_HEADROOM = 4 / 3
/** A switch takes a keyframe and its reports a moment: whatever is measured before says little about the new rung. */
const SETTLING_MS = 2_000
/** What happened before a switch may still be in the window for as long. */
const WINDOW_MS = 10_000
const CLIMB_SAMPLES = 5
/** After so many in a minute only what is bad, or far too little, is a reason for another: a flat trace stays flat, however noisy. */
const SWITCHES_PER_MINUTE = 2
const TOO_LITTLE = 0.9
const FAR_TOO_LITTLE = 0.5
/** Times what is asked for. */
const LIMITED_BY_US = 1.4
/** Where a session begins of which nothing is known, nor of any like it. */
const START_KBPS = 5_000

/** What can be counted on, kbit/s; undefined where the controller's estimate is not reported. */
export function dependableKbps({ available_kbps }: Pick<SessionState, 'available_kbps'>): number | undefined {
  const { last, harmonic_mean, ewma_3s, ewma_9s, error_max_5 } = available_kbps
  const robust = harmonic_mean === null ? null : harmonic_mean / (1 + (error_max_5 ?? 0))
  const estimates = [robust, ewma_3s, ewma_9s].filter(kbps => kbps !== null)
  return estimates.length > 0 ? Math.min(...estimates) : (last ?? undefined)
}

/** What there probably is: the inner loop answers to dips, so there is less only once both means say so. */
function likelyKbps({ available_kbps: { ewma_3s, ewma_9s } }: SessionState): number | undefined {
  const means = [ewma_3s, ewma_9s].filter(kbps => kbps !== null)
  return means.length > 0 ? Math.max(...means) : undefined
}

/** Nobody can measure what is not sent: where the least of the estimates is so much over what is asked for, it is us who limit it. */
function isLimitedByUs({ available_kbps }: SessionState, { bitrate_kbps }: Rung): boolean {
  const { harmonic_mean, ewma_3s, ewma_9s } = available_kbps
  return Math.min(harmonic_mean ?? 0, ewma_3s ?? 0, ewma_9s ?? 0) >= LIMITED_BY_US * bitrate_kbps
}

export const isFrozen = ({ open_frame_us }: Pick<SessionState, 'open_frame_us'>): boolean =>
  (open_frame_us ?? 0) >= FROZEN_US

/** Where a caller who does not say stands, as far as the session does. */
const standingOf = (ladder: Ladder, state: SessionState | undefined): Standing | undefined =>
  state && rungNamed(ladder, state.rung)
    ? { rung: state.rung ?? '', since_ms: Number.POSITIVE_INFINITY, switches_last_minute: 0 }
    : undefined

/** @throws RangeError where the standing's rung is none of the ladder */
export function recommend(
  ladder: Ladder,
  state: SessionState | undefined,
  prior: Prior | undefined,
  standing: Standing | undefined = standingOf(ladder, state),
): Recommendation {
  const top = prior?.cap_kbps == null ? undefined : highestWithin(ladder, prior.cap_kbps)
  const within = (rung: Rung): Rung => (top && rung.bitrate_kbps > top.bitrate_kbps ? top : rung)
  const as = (rung: Rung, reason: Reason): Recommendation => {
    const { name, bitrate_kbps } = within(rung)
    return { rung: name, target_bitrate_kbps: bitrate_kbps, reason }
  }
  const dependable = state && dependableKbps(state)

  if (!standing) {
    if (dependable !== undefined) return as(highestWithin(ladder, dependable / HEADROOM), 'cold_start')
    if (prior?.start_bitrate_kbps != null) return as(highestWithin(ladder, prior.start_bitrate_kbps), 'cold_start')
    return as(highestWithin(ladder, START_KBPS), 'nothing_known')
  }
  const current = rungNamed(ladder, standing.rung)
  if (!current) throw new RangeError(`'${standing.rung}' is no rung of the ladder`)
  if (within(current) !== current) return as(current, 'above_cap')
  if (!state) return as(current, 'state_unknown')

  const lower = highestWithin(ladder, current.bitrate_kbps - 1)
  const atMost = (kbps: number | undefined): Rung =>
    kbps === undefined ? lower : highestWithin(ladder, Math.min(kbps / HEADROOM, lower.bitrate_kbps))
  const down = atMost(dependable)
  const settling = standing.since_ms < SETTLING_MS
  const frozeHere = (state.freeze_time_pct ?? 0) > 0 && standing.since_ms >= WINDOW_MS
  if (frozeHere || (isFrozen(state) && !settling)) return as(down, 'freeze')
  if (settling) return as(current, 'settling')
  if ((state.packet_loss_pct ?? 0) > LOSS_BACK_OFF_PCT) return as(down, 'loss')
  if (dependable === undefined) return as(current, 'hold')
  const restless = standing.switches_last_minute >= SWITCHES_PER_MINUTE
  const likely = likelyKbps(state) ?? dependable
  if (likely < current.bitrate_kbps * (restless ? FAR_TOO_LITTLE : TOO_LITTLE))
    return as(atMost(likely), 'does_not_fit')

  const next = ladder[ladder.indexOf(current) + 1] ?? current
  const proven = highestWithin(ladder, dependable / CLIMB_HEADROOM)
  const wanted = within(proven.bitrate_kbps < next.bitrate_kbps && isLimitedByUs(state, current) ? next : proven)
  const climbs =
    wanted.bitrate_kbps > current.bitrate_kbps && standing.since_ms >= WINDOW_MS && !restless && hasEvidence(state)
  return climbs ? as(wanted, 'climb') : as(current, 'hold')
}

const hasEvidence = (state: SessionState): boolean =>
  state.samples >= CLIMB_SAMPLES && !isBad(state) && (state.packet_loss_pct ?? 0) < LOSS_NO_GROWTH_PCT

const isBad = (state: SessionState): boolean =>
  isFrozen(state) || (state.freeze_time_pct ?? 0) > 0 || (state.stutter_time_pct ?? 0) >= STUTTER_NO_GROWTH_PCT

/** What to do where the state is too old to say: stay, one lower if the last that is known of this rung was bad already. Null: no rung is known. */
export function safeDefault(
  ladder: Ladder,
  state: SessionState | undefined,
  standing: (Pick<Standing, 'rung'> & Partial<Standing>) | undefined = standingOf(ladder, state),
): Rung | null {
  const current = rungNamed(ladder, standing?.rung)
  if (!current) return null
  const settled = (standing?.since_ms ?? SETTLING_MS) >= SETTLING_MS
  const bad = settled && state && (isBad(state) || (state.packet_loss_pct ?? 0) > LOSS_BACK_OFF_PCT)
  return bad ? highestWithin(ladder, current.bitrate_kbps - 1) : current
}
