/**
 * Quantiles of what was partly seen from below only: the product-limit estimator (Kaplan & Meier, J. Am. Stat. Assoc. 53, 1958). Who
 * carried 15 Mbit/s without ever being at the limit can carry 15 or more: thrown away, only the slow would be left; taken as 15, the
 * fast would look slow. Such a lower bound counts among those at risk up to its value, and says nothing beyond.
 */

/** Sums of many factors miss one half by this much at most. */
const SLACK = 1e-9

/**
 * The least observed value that a share of at least `p` does not exceed, for each `p`; of equal values the observed ones come first.
 * Null where the estimate does not reach so far, or where it is reached with fewer than `at_risk_min` left, of whom each would move it far.
 * @param observed ascending
 * @param bounds ascending: of these is only known that they are no less
 * @param ps ascending
 */
export function survivalQuantiles(
  observed: Float64Array,
  bounds: Float64Array,
  ps: readonly number[],
  at_risk_min: number,
): (number | null)[] {
  const quantiles: (number | null)[] = ps.map(() => null)
  let surviving = 1
  let below = 0
  let found = 0
  for (let i = 0; i < observed.length && found < ps.length; i++) {
    const value = observed[i] ?? 0
    while (below < bounds.length && (bounds[below] ?? 0) < value) below++
    const at_risk = observed.length - i + bounds.length - below
    if (at_risk < at_risk_min) break
    surviving *= (at_risk - 1) / at_risk
    while (found < ps.length && 1 - surviving >= (ps[found] ?? 1) - SLACK) quantiles[found++] = value
  }
  return quantiles
}

/** The least value that a share of at least `p` does not exceed, lower bounds taken as they are: what is sustained at least. */
export function plainQuantile(sorted: Float64Array, p: number): number | null {
  return sorted[Math.max(0, Math.ceil(p * sorted.length - SLACK) - 1)] ?? null
}
