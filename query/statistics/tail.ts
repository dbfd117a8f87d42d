/** Upper tails of the normal and of Student's distribution, good far out: false discoveries are counted there. */

/** P(Z > z): Laplace's continued fraction beyond 2, Marsaglia's series (J. Stat. Softw. 11, 2004) within. */
export function normalTail(z: number): number {
  if (z < 0) return 1 - normalTail(-z)
  const density = Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)
  if (z > 2) {
    let fraction = z
    for (let k = 60; k > 0; k--) fraction = z + k / fraction
    return density / fraction
  }
  let term = z
  let sum = z
  for (let k = 3; Math.abs(term) > 1e-17; k += 2) {
    term *= (z * z) / k
    sum += term
  }
  return 0.5 - density * sum
}

/** P(T > t) with `freedom` degrees, by Wallace's transformation (Ann. Math. Stat. 30, 1959). */
export function studentTail(t: number, freedom: number): number {
  const z = Math.sqrt(freedom * Math.log1p((t * t) / freedom)) * ((8 * freedom + 1) / (8 * freedom + 3))
  return normalTail(t < 0 ? -z : z)
}

/**
 * Benjamini & Hochberg (J. R. Stat. Soc. B 57, 1995): of the hypotheses with a q value up to `rate`, that share is false on average.
 * @returns the q value of each, in the order given
 */
export function falseDiscoveryRates(p: readonly number[]): number[] {
  const order = p.map((_, i) => i).sort((i, j) => (p[j] ?? 0) - (p[i] ?? 0))
  const q = new Array<number>(p.length).fill(1)
  let least = 1
  for (const [k, i] of order.entries()) {
    least = Math.min(least, ((p[i] ?? 1) * p.length) / (p.length - k))
    q[i] = least
  }
  return q
}

/** The t that leaves `tail` (below one half) above it. */
export function studentQuantile(tail: number, freedom: number): number {
  let [low, high] = [0, 1e6]
  for (let i = 0; i < 80; i++) {
    const middle = (low + high) / 2
    if (studentTail(middle, freedom) > tail) low = middle
    else high = middle
  }
  return low
}
