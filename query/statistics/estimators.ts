/**
 * A metric's estimator over clusters (sessions, or blocks of them where there are very many): its value, the same number as the
 * catalogue's SQL over the merged cell (test/compare.test.ts holds them equal), and the ratio of sums whose resampling gives its limits.
 *
 * A ratio is that ratio. Of a percentile it is the share of values beyond it (Woodruff, J. Am. Stat. Assoc. 47, 1952): where that share
 * is uncertain, the percentile lies between the values that those other shares lie beyond. So both are resampled alike, without
 * merging histograms a thousand times, and gaps and steps in the distribution do no harm.
 */

export interface Limits {
  readonly low: number
  readonly high: number
}

export interface Estimator {
  /** NaN where nothing is there to compute it from. */
  readonly value: number
  /** Σ numerator / Σ denominator is what is resampled; one of each per cluster. Never negative. */
  readonly numerator: Float64Array
  readonly denominator: Float64Array
  /** The metric's limits, given those of the ratio. */
  limits(ratio: Limits): Limits
}

const sumOf = (list: Float64Array): number => list.reduce((sum, one) => sum + one, 0)

/** factor · Σ numerator / Σ denominator. */
export function ratioEstimator(numerator: Float64Array, denominator: Float64Array, factor: number): Estimator {
  const below = sumOf(denominator)
  return {
    value: below > 0 ? (factor * sumOf(numerator)) / below : Number.NaN,
    numerator,
    denominator,
    limits: ({ low, high }) => ({ low: factor * low, high: factor * high }),
  }
}

/** Counts per logarithmic bucket of one cluster; buckets ascend. */
export interface Histogram {
  readonly buckets: readonly number[]
  readonly counts: readonly number[]
}

export interface PercentileOptions {
  readonly p: number
  /** Counts are weights, and the percentile is the smallest value whose cumulative weight reaches p; else Hyndman & Fan's type 7. */
  readonly weighted: boolean
  /** Bucket b > 0 holds [growth^(b−1), growth^b), bucket 0 holds 0. */
  readonly growth: number
  /** The least and the greatest value there is, where known: nothing lies outside. */
  readonly bounds?: Limits | undefined
  /** The metric is this over the percentile. */
  readonly inverse?: number | undefined
}

/** Undefined: a cluster that is not on this side. */
export function percentileEstimator(
  histograms: readonly (Histogram | undefined)[],
  options: PercentileOptions,
): Estimator {
  const { p, growth, inverse, bounds = { low: 0, high: Number.POSITIVE_INFINITY } } = options
  const merged = mergedOf(histograms)
  const clipped = (value: number): number => Math.max(bounds.low, Math.min(bounds.high, value))
  const middles = merged.buckets.map(bucket => clipped(bucket === 0 ? 0 : growth ** (bucket - 0.5)))
  const percentile = merged.total > 0 ? percentileOf(merged, middles, options) : Number.NaN
  // The smaller tail, whose square root is the steadier.
  const upper = p >= 0.5
  const cut = placeOf(merged, p * merged.total)
  const share = (histogram: Histogram): number => {
    const below = weightBelow(histogram, cut)
    return upper ? total(histogram) - below : below
  }
  const valueAt = (tail: number): number =>
    clipped(insideOf(placeOf(merged, (upper ? 1 - tail : tail) * merged.total), growth))
  return {
    value: inverse === undefined ? percentile : inverse / percentile,
    numerator: Float64Array.from(histograms, histogram => (histogram ? share(histogram) : 0)),
    denominator: Float64Array.from(histograms, histogram => (histogram ? total(histogram) : 0)),
    limits(tails) {
      const [one, other] = [valueAt(Math.min(1, tails.high)), valueAt(Math.max(0, tails.low))]
      // A bucket's middle stands for it in the percentile, its inside in the limits.
      const low = Math.min(one, other, percentile)
      const high = Math.max(one, other, percentile)
      return inverse === undefined ? { low, high } : { low: inverse / high, high: inverse / low }
    },
  }
}

interface Merged extends Histogram {
  /** Up to and with each bucket. */
  readonly cumulative: readonly number[]
  readonly total: number
}

function total({ counts }: Histogram): number {
  let sum = 0
  for (let i = 0; i < counts.length; i++) sum += counts[i] ?? 0
  return sum
}

function mergedOf(histograms: readonly (Histogram | undefined)[]): Merged {
  const last = histograms.reduce((most, histogram) => Math.max(most, histogram?.buckets.at(-1) ?? 0), 0)
  const sums = new Float64Array(last + 1)
  for (const histogram of histograms) {
    if (histogram === undefined) continue
    const { buckets, counts } = histogram
    for (let i = 0; i < buckets.length; i++) {
      const bucket = buckets[i] ?? 0
      sums[bucket] = (sums[bucket] ?? 0) + (counts[i] ?? 0)
    }
  }
  const buckets = [...sums.keys()].filter(bucket => (sums[bucket] ?? 0) > 0)
  const counts = buckets.map(bucket => sums[bucket] ?? 0)
  let sum = 0
  const cumulative = counts.map(count => {
    sum += count
    return sum
  })
  return { buckets, counts, cumulative, total: sum }
}

function percentileOf({ cumulative, total }: Merged, middles: readonly number[], { p, weighted }: PercentileOptions) {
  const first = (fits: (sum: number) => boolean): number => middles[cumulative.findIndex(fits)] ?? Number.NaN
  if (weighted) return first(sum => sum >= p * total)
  const h = (total - 1) * p
  const below = first(sum => sum > Math.floor(h))
  return below + (h - Math.floor(h)) * (first(sum => sum > Math.ceil(h)) - below)
}

/** A bucket, and how far into it. */
interface Place {
  readonly bucket: number
  readonly part: number
}

/** Where the cumulative weight reaches `weight`. */
function placeOf({ buckets, counts, cumulative }: Merged, weight: number): Place {
  const at = cumulative.findIndex(sum => sum >= weight)
  const i = at < 0 ? cumulative.length - 1 : at
  const count = counts[i] ?? 0
  const part = count > 0 ? (weight - ((cumulative[i] ?? 0) - count)) / count : 0
  return { bucket: buckets[i] ?? 0, part: Math.max(0, Math.min(1, part)) }
}

const insideOf = ({ bucket, part }: Place, growth: number): number => (bucket === 0 ? 0 : growth ** (bucket - 1 + part))

function weightBelow({ buckets, counts }: Histogram, { bucket, part }: Place): number {
  let sum = 0
  for (let i = 0; i < buckets.length; i++) {
    const b = buckets[i] ?? 0
    if (b < bucket) sum += counts[i] ?? 0
    else if (b === bucket) sum += part * (counts[i] ?? 0)
  }
  return sum
}
