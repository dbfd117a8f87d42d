/** What the API's answers must have to be acted upon: whatever else says 200 (a proxy, a portal) is no answer. */
import type { Advice, Step } from '../abr/advice.ts'
import type { Prior } from '../abr/state.ts'

export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
}

/** @throws NoAnswer */
export function adviceOf(body: unknown, session_id: string): Advice {
  const advice = (body ?? {}) as Partial<Advice>
  const { recommendation, age_ms, valid_for_ms, stale } = advice
  const aged = age_ms === null || isAmount(age_ms)
  if (advice.session_id === session_id && isStep(recommendation) && aged && isAmount(valid_for_ms) && isFlag(stale))
    return advice as Advice
  throw new NoAnswer('what answered is not the API')
}

const LIMITS = ['start_bitrate_kbps', 'cap_kbps'] as const

/** @throws NoAnswer */
export function priorOf(body: unknown): Prior {
  const prior = (body ?? {}) as Partial<Prior>
  if (LIMITS.every(name => prior[name] === null || isAmount(prior[name])) && typeof prior.level === 'string')
    return prior as Prior
  throw new NoAnswer('what answered is not the API')
}

const isFlag = (value: unknown): value is boolean => typeof value === 'boolean'
const isAmount = (value: unknown): value is number => typeof value === 'number' && value >= 0
const isStep = (value: unknown): value is Step => {
  const { rung, target_bitrate_kbps } = (value ?? {}) as Partial<Step>
  return typeof rung === 'string' && isAmount(target_bitrate_kbps)
}
