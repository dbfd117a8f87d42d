/**
 * By how much a group of sessions got worse beyond what everybody else did: a difference in differences of ratios of sums, with its
 * standard error over sessions by linearisation, all from sums that can be added and taken away.
 *
 * What the group would have had is judged twice, as everybody else's change added and as it multiplied, and the greater one is
 * expected: where the whole fleet doubles, a group that was bad before is twice as bad by no fault of its own.
 */
import { studentTail } from './tail.ts'

/**
 * Sums over sessions of a bad amount x and what it is measured in, y: now (1) and before (0). A session has all four, 0 where it was
 * not there. Beside the four sums their products, and how many sessions have y now and before.
 */
export const SUMS = 16
const [X1, Y1, X0, Y0] = [0, 1, 2, 3] as const
const [X1X1, X1Y1, Y1Y1, X0X0, X0Y0, Y0Y0, X1X0, X1Y0, Y1X0, Y1Y0] = [4, 5, 6, 7, 8, 9, 10, 11, 12, 13] as const
const [N1, N0] = [14, 15] as const

/** What one session adds to the sums, written at `at`. */
export function writeTerms(into: Float64Array, at: number, x1: number, y1: number, x0: number, y0: number): void {
  into[at + X1] = x1
  into[at + Y1] = y1
  into[at + X0] = x0
  into[at + Y0] = y0
  into[at + X1X1] = x1 * x1
  into[at + X1Y1] = x1 * y1
  into[at + Y1Y1] = y1 * y1
  into[at + X0X0] = x0 * x0
  into[at + X0Y0] = x0 * y0
  into[at + Y0Y0] = y0 * y0
  into[at + X1X0] = x1 * x0
  into[at + X1Y0] = x1 * y0
  into[at + Y1X0] = y1 * x0
  into[at + Y1Y0] = y1 * y0
  into[at + N1] = y1 > 0 ? 1 : 0
  into[at + N0] = y0 > 0 ? 1 : 0
}

export function addTerms(sums: Float64Array, terms: Float64Array, at: number): void {
  for (let i = 0; i < SUMS; i++) sums[i] = (sums[i] ?? 0) + (terms[at + i] ?? 0)
}

interface Change {
  readonly now: number
  readonly before: number
}

export interface Excess {
  readonly group: Change
  readonly rest: Change
  /** The group's value now above what is expected of it. */
  readonly excess: number
  readonly error: number
  /** That there is no excess. One-sided. */
  readonly p: number
  readonly freedom: number
}

/** Variance now, before, and covariance of the two ratios. */
interface Spread extends Change {
  readonly n1: number
  readonly n0: number
  readonly v1: number
  readonly v0: number
  readonly v10: number
}

function spreadOf(sums: Float64Array): Spread | undefined {
  const of = (i: number): number => sums[i] ?? 0
  const [y1, y0, n1, n0] = [of(Y1), of(Y0), of(N1), of(N0)]
  if (!(y1 > 0 && y0 > 0 && n1 > 1 && n0 > 1)) return undefined
  const [now, before] = [of(X1) / y1, of(X0) / y0]
  const v1 = ((of(X1X1) - 2 * now * of(X1Y1) + now * now * of(Y1Y1)) / (y1 * y1)) * (n1 / (n1 - 1))
  const v0 = ((of(X0X0) - 2 * before * of(X0Y0) + before * before * of(Y0Y0)) / (y0 * y0)) * (n0 / (n0 - 1))
  const cross = of(X1X0) - now * of(Y1X0) - before * of(X1Y0) + now * before * of(Y1Y0)
  return { now, before, n1, n0, v1: Math.max(0, v1), v0: Math.max(0, v0), v10: cross / (y1 * y0) }
}

/** Sessions now and before. */
export const presence = (sums: Float64Array): [number, number] => [sums[N1] ?? 0, sums[N0] ?? 0]
/** The group's part, 0 to 1, of all that is bad now. */
export const badShare = (group: Float64Array, all: Float64Array): number =>
  (all[X1] ?? 0) > 0 ? (group[X1] ?? 0) / (all[X1] ?? 0) : 0

/** Undefined where a side was not there, or nothing varies. */
export function excessOf(group: Float64Array, rest: Float64Array): Excess | undefined {
  const g = spreadOf(group)
  const r = spreadOf(rest)
  if (!g || !r) return undefined
  const added = judged(g, r, g.now - (g.before + r.now - r.before), [-1, -1, 1])
  const growth = r.before > 0 ? r.now / r.before : undefined
  if (growth === undefined) return added
  const share = g.before / r.before
  const multiplied = judged(g, r, g.now - g.before * growth, [-growth, -share, share * growth])
  if (!added || !multiplied) return undefined
  return { ...(multiplied.excess < added.excess ? multiplied : added), p: Math.max(added.p, multiplied.p) }
}

/** `slopes`: of the excess by the group's value before, the rest's now, the rest's before; by the group's now it is 1. */
function judged(g: Spread, r: Spread, excess: number, slopes: readonly [number, number, number]): Excess | undefined {
  const [before, restNow, restBefore] = slopes
  const parts = [g.v1, before ** 2 * g.v0, restNow ** 2 * r.v1, restBefore ** 2 * r.v0]
  const counts = [g.n1, g.n0, r.n1, r.n0]
  const variance = parts.reduce((sum, part) => sum + part, 0) + 2 * before * g.v10 + 2 * restNow * restBefore * r.v10
  if (!(variance > 0)) return undefined
  // Satterthwaite: a variance from few sessions is itself uncertain.
  const freedom = variance ** 2 / parts.reduce((sum, part, i) => sum + part ** 2 / ((counts[i] ?? 2) - 1), 0)
  const error = Math.sqrt(variance)
  return {
    group: { now: g.now, before: g.before },
    rest: { now: r.now, before: r.before },
    ...{ excess, error, freedom, p: studentTail(excess / error, freedom) },
  }
}
