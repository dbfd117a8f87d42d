/**
 * Sessions as unpleasant as real ones, with a difference that is known exactly: lengths and rates are lognormal and hang together
 * (who has it bad leaves sooner), most sessions never freeze, and a few hold most of what is bad.
 */
import { type Estimator, percentileEstimator, ratioEstimator } from '../query/statistics/estimators.ts'

type Chance = () => number

export const normal = (uniform: Chance): number =>
  Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())

interface Comparison {
  readonly a: Estimator
  readonly b: Estimator
  readonly shared: boolean
}

export interface Scenario {
  readonly name: string
  /** What differenceOf should find, of `value a − value b`. */
  readonly difference: number
  readonly ratio: number
  draw(sessions: number, uniform: Chance): Comparison
}

/** Lognormal minutes: median 20, a tenth below 7 and a tenth above 56. */
const LENGTH_SIGMA = 0.8
const MEDIAN_MINUTES = 20

interface Rates {
  readonly median_pct: number
  readonly sigma: number
  /** Correlation of log length and log rate. */
  readonly rho: number
  /** Share of sessions with anything bad at all. */
  readonly touched: number
}

/** Σ minutes · rate / Σ minutes in the limit: E[L·r] / E[L] of a bivariate lognormal. */
const expected = ({ median_pct, sigma, rho, touched }: Rates): number =>
  touched * median_pct * Math.exp((sigma * sigma) / 2 + rho * sigma * LENGTH_SIGMA)

function session({ median_pct, sigma, rho, touched }: Rates, uniform: Chance): { bad: number; minutes: number } {
  const z = normal(uniform)
  const rate = median_pct * Math.exp(sigma * (rho * z + Math.sqrt(1 - rho * rho) * normal(uniform)))
  const minutes = MEDIAN_MINUTES * Math.exp(LENGTH_SIGMA * z)
  return { bad: uniform() < touched ? (minutes * rate) / 100 : 0, minutes }
}

/** Two cohorts: the first `sessions` clusters are a's, the others b's. */
function cohorts(name: string, a: Rates, b: Rates): Scenario {
  const side = (rates: Rates, first: number, sessions: number, uniform: Chance): Estimator => {
    const bad = new Float64Array(2 * sessions)
    const minutes = new Float64Array(2 * sessions)
    for (let i = first; i < first + sessions; i++) {
      const drawn = session(rates, uniform)
      bad[i] = drawn.bad
      minutes[i] = drawn.minutes
    }
    return ratioEstimator(bad, minutes, 100)
  }
  return {
    name,
    difference: expected(a) - expected(b),
    ratio: expected(a) / expected(b),
    draw: (sessions, uniform) => ({
      a: side(a, 0, sessions, uniform),
      b: side(b, sessions, sessions, uniform),
      shared: false,
    }),
  }
}

/** The same sessions before and after: each brings its own level to both, and a change that varies a little. */
function windows(name: string, before: Rates, worse: number, spread: number): Scenario {
  const after = expected(before) * worse * Math.exp((spread * spread) / 2)
  return {
    name,
    difference: after - expected(before),
    ratio: after / expected(before),
    draw(sessions, uniform) {
      const bad = [new Float64Array(sessions), new Float64Array(sessions)] as const
      const minutes = [new Float64Array(sessions), new Float64Array(sessions)] as const
      for (let i = 0; i < sessions; i++) {
        const drawn = session(before, uniform)
        for (const [side, factor] of [worse * Math.exp(spread * normal(uniform)), 1].entries()) {
          const share = 0.5 + uniform()
          const [badOf, minutesOf] = [bad[side], minutes[side]]
          if (badOf) badOf[i] = drawn.bad * factor * share
          if (minutesOf) minutesOf[i] = drawn.minutes * share
        }
      }
      return {
        a: ratioEstimator(bad[0], minutes[0], 100),
        b: ratioEstimator(bad[1], minutes[1], 100),
        shared: true,
      }
    },
  }
}

const GROWTH = 1.02
const FRAME_SIGMA = 0.35
const SESSION_SIGMA = 0.25
const Z_95 = 1.6448536269514722

/** The 95th percentile of frame time: sessions differ in level and in length, frames are counted in logarithmic buckets. */
function percentiles(name: string, a_us: number, b_us: number): Scenario {
  const p95 = (median_us: number): number => median_us * Math.exp(Z_95 * Math.hypot(FRAME_SIGMA, SESSION_SIGMA))
  const histogram = (median_us: number, uniform: Chance) => {
    const frames = 3_600 * MEDIAN_MINUTES * Math.exp(LENGTH_SIGMA * normal(uniform))
    const level = Math.log(median_us) + SESSION_SIGMA * normal(uniform)
    const first = Math.floor((level - 4 * FRAME_SIGMA) / Math.log(GROWTH))
    const last = Math.ceil((level + 4 * FRAME_SIGMA) / Math.log(GROWTH))
    const buckets: number[] = []
    const counts: number[] = []
    let below = 0
    for (let bucket = first; bucket <= last; bucket++) {
      const upTo = Math.round(frames * cdf((bucket * Math.log(GROWTH) - level) / FRAME_SIGMA))
      if (upTo > below) {
        buckets.push(bucket)
        counts.push(upTo - below)
      }
      below = Math.max(below, upTo)
    }
    return { buckets, counts }
  }
  const options = { p: 0.95, weighted: false, growth: GROWTH }
  return {
    name,
    difference: p95(a_us) - p95(b_us),
    ratio: p95(a_us) / p95(b_us),
    draw(sessions, uniform) {
      const none = Array.from({ length: sessions }, () => undefined)
      const of = (median_us: number) => Array.from({ length: sessions }, () => histogram(median_us, uniform))
      return {
        a: percentileEstimator([...of(a_us), ...none], options),
        b: percentileEstimator([...none, ...of(b_us)], options),
        shared: false,
      }
    },
  }
}

/** Zelen & Severo's approximation (Abramowitz & Stegun 26.2.17): off by less than 1e-7. */
function cdf(z: number): number {
  const t = 1 / (1 + 0.2316419 * Math.abs(z))
  const poly = t * (0.31938153 + t * (-0.356563782 + t * (1.781477937 + t * (-1.821255978 + t * 1.330274429))))
  const tail = (Math.exp((-z * z) / 2) / Math.sqrt(2 * Math.PI)) * poly
  return z > 0 ? 1 - tail : tail
}

const STUTTER: Rates = { median_pct: 0.6, sigma: 1, rho: -0.3, touched: 1 }
const FREEZE: Rates = { median_pct: 0.3, sigma: 1, rho: -0.3, touched: 0.3 }

export const SCENARIOS: readonly Scenario[] = [
  cohorts('stutter time, no difference', STUTTER, STUTTER),
  cohorts('stutter time, half as much again', { ...STUTTER, median_pct: 0.9 }, STUTTER),
  cohorts(
    'stutter time, half as much again, heavier tail',
    { ...STUTTER, median_pct: 0.9, sigma: 1.3 },
    { ...STUTTER, sigma: 1.3 },
  ),
  cohorts('stutter time, three times as much', { ...STUTTER, median_pct: 1.8 }, STUTTER),
  cohorts('freeze time, in three of ten sessions, half as much again', { ...FREEZE, median_pct: 0.45 }, FREEZE),
  windows('stutter time, the same sessions before and after', STUTTER, 1.2, 0.3),
  percentiles('frame time p95, a tenth longer', 17_600, 16_000),
]
