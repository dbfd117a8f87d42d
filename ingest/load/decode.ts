/**
 * From one Kafka message to what its row says: an accepted event, or a refusal with its reason, never an exception.
 */
import { check } from '../contract/check.ts'
import { checkTime, checkUnit, clockShift, type TimeLimits } from '../contract/clock.ts'
import { REFUSED_BYTES_KEPT, type Refusal } from '../contract/refusal.ts'
import type { Accepted, Refused } from '../store/columns.ts'

const NO_BYTES = Buffer.alloc(0)

export function decode(
  value: Buffer | null,
  key: Buffer | null,
  appended_at_ms: number,
  limits: TimeLimits,
): Accepted | Refused {
  const verdict = check(value)
  if (verdict.refusal) return refused(verdict.refusal, value, key)
  const { event, extensions } = verdict
  const clock_shift_ms = clockShift(event.sent_at_ms, appended_at_ms)
  const at_ms = event.started_at_ms + clock_shift_ms
  const refusal = checkUnit(event.sent_at_ms, appended_at_ms, limits) ?? checkTime(at_ms, appended_at_ms, limits)
  if (refusal) return refused(refusal, value, key)
  return { event, at_ms, clock_shift_ms, extensions }
}

function refused(refusal: Refusal, value: Buffer | null, key: Buffer | null): Refused {
  const bytes = value ?? NO_BYTES
  return {
    refusal,
    key: (key ?? NO_BYTES).subarray(0, REFUSED_BYTES_KEPT),
    bytes: bytes.subarray(0, REFUSED_BYTES_KEPT),
    bytes_total: bytes.length,
  }
}
