/** Which part of a session is asked for, where not everything is said: what happened last is wanted first. Pure. */
import type { Moment } from '../metrics/range.ts'
import type { Life } from './life.ts'

export interface AskedPart {
  readonly from?: Moment | undefined
  readonly to?: Moment | undefined
}

/** Of a longer session, if nobody says which part. */
export const LAST_S = 10 * 60

/** Default: up to the session's end, from `LAST_S` before that or from its beginning. */
export function partOf(life: Life, asked: AskedPart, now_ms: number): { readonly from: Moment; readonly to: Moment } {
  const to = asked.to ?? { at_ms: (life.last + life.bucket_s) * 1_000 }
  const until_s = ('at_ms' in to ? to.at_ms : now_ms - to.before_now_ms) / 1_000
  const begin_s = Math.min(until_s, Math.max(life.first, until_s - LAST_S))
  return { from: asked.from ?? { at_ms: Math.max(0, begin_s * 1_000) }, to }
}
