/**
 * Long computations as generators that yield often: run to their end where nobody waits, or in slices with room between them for
 * other requests.
 */
import { setImmediate as breathe } from 'node:timers/promises'

/** Shorter than anybody notices, long enough that the pauses cost nothing. */
const SLICE_MS = 8

export type Steps<Result> = Generator<undefined, Result>

export function atOnce<Result>(steps: Steps<Result>): Result {
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
  }
}

export async function inSlices<Result>(steps: Steps<Result>, slice_ms = SLICE_MS): Promise<Result> {
  let begun = performance.now()
  for (;;) {
    const { done, value } = steps.next()
    if (done) return value
    if (performance.now() - begun < slice_ms) continue
    await breathe()
    begun = performance.now()
  }
}
