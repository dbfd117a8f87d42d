/**
 * Seeded chance: the same question is given the same interval. Poisson(1) weights stand for drawing as many clusters, with
 * replacement, as there are: each cluster is drawn 0, 1, 2 … times, independently of the others.
 */

/** mulberry32 (T. Ettinger): small, fast, and good enough to decide how often a session is counted. Uniform in [0, 1). */
export function chance(seed: number): () => number {
  // Signed throughout: an unsigned 32-bit number above 2^31 is a heap allocation in V8.
  let state = seed | 0
  return () => {
    state = (state + 0x6d2b79f5) | 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296
  }
}

/** P(X ≤ k) of Poisson(1); beyond the last nothing a 32-bit chance could tell apart. */
const CUMULATIVE = Float64Array.from({ length: 13 }, () => 0)
for (let k = 0, p = Math.exp(-1), sum = 0; k < CUMULATIVE.length; k++, p /= k) {
  sum += p
  CUMULATIVE[k] = sum
}

export function fillPoisson(weights: Float64Array, uniform: () => number): void {
  for (let i = 0; i < weights.length; i++) {
    const u = uniform()
    let k = 0
    while (k < CUMULATIVE.length - 1 && u > (CUMULATIVE[k] ?? 1)) k++
    weights[i] = k
  }
}
