/**
 * Which time an event is counted at. `at` is the speaker's own clock; only a clock that is wrong by minutes is corrected, in steps
 * so coarse that waiting in a buffer is never mistaken for a wrong clock and a session is never reordered.
 * Everything about *now* (age, lag) uses Kafka's append time instead.
 */
import type { Refusal } from './refusal.ts'

export const CLOCK_STEP_MS = 5 * 60_000

export interface TimeLimits {
  readonly too_old_ms: number
  readonly from_future_ms: number
}

/** How far to move the speaker's clock: 0, or append − send rounded to five minutes once they differ by at least that. */
export function clockShift(sent_at_ms: number, appended_at_ms: number): number {
  const difference = appended_at_ms - sent_at_ms
  if (Math.abs(difference) < CLOCK_STEP_MS) return 0
  return Math.round(difference / CLOCK_STEP_MS) * CLOCK_STEP_MS
}

/**
 * Refuses what says epoch seconds where milliseconds belong: taken for milliseconds it would pass for a clock that stands in 1970, and be
 * moved to now. A clock that really stands there is taken for seconds only if it fits to within `too_old_ms`, some minutes of 1970.
 */
export function checkUnit(sent_at_ms: number, appended_at_ms: number, limits: TimeLimits): Refusal | undefined {
  if (Math.abs(appended_at_ms - sent_at_ms * 1_000) > limits.too_old_ms) return undefined
  return { reason: 'bad_shape', detail: 'sent_at_ms: expected epoch milliseconds, these are seconds' }
}

/** Refuses an event whose (shifted) start lies outside what the store can settle. */
export function checkTime(at_ms: number, appended_at_ms: number, limits: TimeLimits): Refusal | undefined {
  const age = appended_at_ms - at_ms
  if (age > limits.too_old_ms) {
    return { reason: 'too_old', detail: `started_at_ms: ${Math.round(age / 1000)} s before it was appended` }
  }
  if (-age > limits.from_future_ms) {
    return { reason: 'from_future', detail: `started_at_ms: ${Math.round(-age / 1000)} s after it was appended` }
  }
  return undefined
}
