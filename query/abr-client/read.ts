/** What the API's answers must have to be acted upon: whatever else says 200 (a proxy, a portal) is no answer. */
import type { Advice, PriorAdvice, Step } from '../abr/advice.ts'

class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
}

/** @throws NoAnswer */
export function adviceOf(body: unknown, session_id: string): Advice {
  if ((body as Partial<Advice> | null)?.session_id !== session_id) throw new NoAnswer(STRANGER)
  return stamped(body) as Advice
}

/** @throws NoAnswer */
export const priorOf = (body: unknown): PriorAdvice => stamped(body)

const STRANGER = 'what answered is not the API'

function stamped(body: unknown): PriorAdvice {
  const { recommendation, age_ms, valid_for_ms, stale } = (body ?? {}) as Partial<PriorAdvice>
  const aged = age_ms === null || isAmount(age_ms)
  if (isStep(recommendation) && aged && isAmount(valid_for_ms) && typeof stale === 'boolean') return body as PriorAdvice
  throw new NoAnswer(STRANGER)
}

const isAmount = (value: unknown): value is number => typeof value === 'number' && value >= 0
const isStep = (value: unknown): value is Step => {
  const { rung, target_bitrate_kbps } = (value ?? {}) as Partial<Step>
  return typeof rung === 'string' && isAmount(target_bitrate_kbps)
}
