/**
 * Percentiles read from logarithmic bucket counts, as SQL over one merged map. Counts merge exactly, so a percentile is the same
 * number whichever tier the counts came from. Within 1 % of the exact percentile over the values themselves.
 */
import { BUCKET_GROWTH } from '../../ingest/store/cells.ts'

const GEOMETRIC_MIDDLE = `if(b = 0, 0, pow(${BUCKET_GROWTH}, b - 0.5))`
/** Bucket b of opinion scores holds [b / 100, (b + 1) / 100). */
const MIDDLE_OF_HUNDREDTH = '(b + 0.5) / 100'

/**
 * Names for `expression`: the values `vs` that stand for a merged map's buckets, and the cumulative counts `cs`. Bucket b holds
 * [growth^(b−1), growth^b) and its geometric middle stands for it; bucket 0 holds 0. `sumMap` sorts its keys.
 */
function overBuckets(map: string, expression: string, bounds?: Bounds, middle = GEOMETRIC_MIDDLE): string {
  const value = bounds
    ? `greatest(assumeNotNull(${bounds.min}), least(assumeNotNull(${bounds.max}), ${middle}))`
    : middle
  return `arrayMap((vs, cs) -> ${expression}, [arrayMap(b -> ${value}, mapKeys(${map}))], [arrayCumSum(mapValues(${map}))])[1]`
}

export const mapCount = (map: string): string => `arraySum(mapValues(${map}))`

/** Columns with the exact least and greatest value: a bucket's middle never lies outside them. Known wherever the map is not empty. */
export interface Bounds {
  readonly min: string
  readonly max: string
}

/**
 * Hyndman & Fan's type 7 (R's default, ClickHouse's `quantileExactInclusive`): h = (n−1)·p, and between the values of ranks ⌊h⌋ and
 * ⌈h⌉ in proportion. A nearest rank alone is off by up to 72 % on a small sample. Undefined over an empty map: guard by the count.
 */
export const percentileSql = (map: string, p: number, bounds?: Bounds): string => overBuckets(map, rankedSql(p), bounds)

/** The same over a map of hundredths. */
export const percentileOfHundredthsSql = (map: string, p: number): string =>
  overBuckets(map, rankedSql(p), undefined, MIDDLE_OF_HUNDREDTH)

function rankedSql(p: number): string {
  const h = `(cs[-1] - 1) * ${p}`
  const ranked = (rank: string): string => `vs[arrayFirstIndex(c -> c > ${rank}, cs)]`
  return `arrayMap((h, below, above) -> below + (h - floor(h)) * (above - below), [${h}], [${ranked(`floor(${h})`)}], [${ranked(`ceil(${h})`)}])[1]`
}

/** Over weights instead of counts: the smallest value whose cumulative weight reaches p of the whole. */
export const weightedPercentileSql = (map: string, p: number): string =>
  overBuckets(map, `vs[arrayFirstIndex(c -> c >= ${p} * cs[-1], cs)]`)

/**
 * The longest times that make up `share` of the whole time: the least of them. Counts become times by what stands for a bucket; the
 * whole is known exactly.
 */
export function longestShareSql(map: string, share: number, whole: string, bounds: Bounds): string {
  const times = `arrayMap((v, n) -> v * n, vs, mapValues(${map}))`
  const fromTheTop = `arrayCumSum(arrayReverse(${times}))`
  return overBuckets(map, `arrayReverse(vs)[arrayFirstIndex(t -> t >= ${share} * ${whole}, ${fromTheTop})]`, bounds)
}

/** A percentile of fewer values says little about its tail: ten of them should lie beyond it. */
export const fewestValues = (p: number): number => Math.ceil(10 / Math.min(p, 1 - p) - 1e-6)
