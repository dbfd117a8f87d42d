/**
 * The difference and the ratio of two sides, each with its 95 % interval, by a Poisson bootstrap over clusters. A cluster that is on
 * both sides has the same weight on both: what it shares cancels out.
 *
 * Each side first gets an interval of its own, then the two are joined (MOVER: Zou & Donner, Stat. Med. 27, 2008; for the ratio
 * Donner & Zou, Stat. Methods Med. Res. 21, 2012, with the correlation term): the lower limit of a difference errs where the first
 * side is too high and the second too low, so skewness on either side stays on its own side. The ratio's interval leaves out 1 just
 * where the difference's leaves out 0.
 *
 * A side's interval: studentised, symmetric, on the scale of the square root, which takes most of the skew out of shares and rates
 * and never falls below 0.
 */
import type { Estimator, Limits } from './estimators.ts'
import type { Steps } from './slices.ts'
import { chance, fillPoisson } from './weights.ts'

export interface Interval {
  readonly low: number
  /** Null: no upper limit can be given. */
  readonly high: number | null
}

export interface Difference {
  readonly difference: Limits
  /** Null where b is 0. */
  readonly ratio: Interval | null
}

export const ROUNDS = 1_000
const COVERAGE = 0.95
const SEED = 20_080_515

/** A side's value and its limits. */
interface Side extends Limits {
  readonly value: number
}

/**
 * Both have one entry per cluster, 0 / 0 where it is not on that side.
 * @param shared whether any cluster is on both sides
 * @returns undefined where a side has no value, or resampling left too little of it
 */
export function* differenceOf(
  a: Estimator,
  b: Estimator,
  shared: boolean,
  { rounds = ROUNDS, seed = SEED } = {},
): Steps<Difference | undefined> {
  const weights = new Float64Array(a.numerator.length).fill(1)
  const sides = [new Resampling(a, weights), new Resampling(b, weights)] as const
  const uniform = chance(seed)
  for (let round = 0; round < rounds; round++) {
    fillPoisson(weights, uniform)
    const [of_a, of_b] = [ratioOf(a, weights), ratioOf(b, weights)]
    // Where one side drew nothing, the round counts for neither: they stay in pairs.
    if (of_a && of_b) {
      sides[0].keep(of_a)
      sides[1].keep(of_b)
    }
    yield
  }
  if (sides[0].ratios.length < rounds / 2) return undefined
  const [first, second] = [sides[0].interval(), sides[1].interval()]
  if (first === undefined || second === undefined) return undefined
  return joined(first, second, shared ? correlation(sides[0].ratios, sides[1].ratios) : 0)
}

interface Ratio {
  readonly ratio: number
  /** Standard error, by linearisation. */
  readonly error: number
}

function ratioOf({ numerator, denominator }: Estimator, weights: Float64Array): Ratio | undefined {
  let above = 0
  let below = 0
  for (let i = 0; i < weights.length; i++) {
    const weight = weights[i] ?? 0
    above += weight * (numerator[i] ?? 0)
    below += weight * (denominator[i] ?? 0)
  }
  if (!(below > 0)) return undefined
  const ratio = above / below
  let squares = 0
  for (let i = 0; i < weights.length; i++) {
    const residual = (numerator[i] ?? 0) - ratio * (denominator[i] ?? 0)
    squares += (weights[i] ?? 0) * residual * residual
  }
  return { ratio, error: Math.sqrt(squares) / below }
}

/** By the delta method. */
const rootError = ({ ratio, error }: Ratio): number => (ratio > 0 ? error / (2 * Math.sqrt(ratio)) : 0)

/** One side and what it was in each round. */
class Resampling {
  readonly #estimator: Estimator
  readonly #root: number
  readonly #error: number
  readonly #distances: number[] = []
  readonly ratios: number[] = []

  constructor(estimator: Estimator, ones: Float64Array) {
    const found = ratioOf(estimator, ones) ?? { ratio: Number.NaN, error: 0 }
    this.#estimator = estimator
    this.#root = Math.sqrt(found.ratio)
    this.#error = rootError(found)
  }

  keep(drawn: Ratio): void {
    this.ratios.push(drawn.ratio)
    // A round that drew nothing bad, or only one cluster that has any, knows little of its own error.
    const error = rootError(drawn) || this.#error
    if (error > 0) this.#distances.push(Math.abs(Math.sqrt(drawn.ratio) - this.#root) / error)
  }

  interval(): Side | undefined {
    const { value } = this.#estimator
    if (!Number.isFinite(value)) return undefined
    // Without any error all clusters are alike: nothing is known of how they might have differed.
    if (this.#error === 0) return { value, low: value, high: value }
    const reach = quantile(Float64Array.from(this.#distances).sort(), COVERAGE) * this.#error
    const ratio = { low: Math.max(0, this.#root - reach) ** 2, high: (this.#root + reach) ** 2 }
    return { value, ...this.#estimator.limits(ratio) }
  }
}

export function joined(a: Side, b: Side, rho: number): Difference {
  const [aBelow, aAbove, bBelow, bAbove] = [a.value - a.low, a.high - a.value, b.value - b.low, b.high - b.value]
  const low = { a: aBelow, b: bAbove, together: rho > 0 ? bBelow : bAbove, rho }
  const high = { a: aAbove, b: bBelow, together: rho > 0 ? bAbove : bBelow, rho }
  const difference = a.value - b.value
  return {
    difference: { low: difference - reach(low), high: difference + reach(high) },
    ratio: b.value > 0 ? { low: ratioLow(a.value, b.value, low), high: ratioHigh(a.value, b.value, high) } : null,
  }
}

/** How far the sides reach where one limit of the difference lies. */
interface Reaches {
  readonly a: number
  /** Of what b has of its own, against a. */
  readonly b: number
  /** Of what b shares with a: if both are too high together, little of it shows in the difference. */
  readonly together: number
  readonly rho: number
}

const reach = ({ a, b, together, rho }: Reaches): number =>
  Math.sqrt(Math.max(0, a * a + (1 - rho) * b * b + rho * together * together - 2 * rho * a * together))

/** The ratios r at which the interval of a − r·b just touches 0 are the roots of a quadratic. */
function roots(a: number, b: number, reaches: Reaches) {
  const { rho, together } = reaches
  const square = b * b - (1 - rho) * reaches.b * reaches.b - rho * together * together
  const half = a * b - rho * reaches.a * together
  const rest = a * a - reaches.a * reaches.a
  return { square, rest, root: half + Math.sqrt(Math.max(0, half * half - square * rest)) }
}

function ratioLow(a: number, b: number, reaches: Reaches): number {
  const { rest, root } = roots(a, b, reaches)
  return root > 0 ? Math.max(0, rest / root) : 0
}

/** Null where b might as well be 0. */
function ratioHigh(a: number, b: number, reaches: Reaches): number | null {
  const { square, root } = roots(a, b, reaches)
  return square > 0 ? root / square : null
}

function correlation(x: readonly number[], y: readonly number[]): number {
  const mean = (list: readonly number[]): number => list.reduce((sum, one) => sum + one, 0) / list.length
  const [mx, my] = [mean(x), mean(y)]
  let [xx, yy, xy] = [0, 0, 0]
  for (let i = 0; i < x.length; i++) {
    const [dx, dy] = [(x[i] ?? 0) - mx, (y[i] ?? 0) - my]
    xx += dx * dx
    yy += dy * dy
    xy += dx * dy
  }
  return xx > 0 && yy > 0 ? xy / Math.sqrt(xx * yy) : 0
}

/** Hyndman & Fan's type 7 of sorted values. */
function quantile(sorted: Float64Array, p: number): number {
  const h = (sorted.length - 1) * p
  const below = sorted[Math.floor(h)] ?? Number.NaN
  return below + (h - Math.floor(h)) * ((sorted[Math.ceil(h)] ?? below) - below)
}
