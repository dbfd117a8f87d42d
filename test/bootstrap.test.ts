/**
 * Intervals of a comparison: they hold the truth as often as they say, are the same for the same question, and say nothing where
 * nothing is known. Pure: simulated sessions, no services.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SCENARIOS } from '../bench/skewed-sessions.ts'
import { differenceOf, joined } from '../query/statistics/difference.ts'
import { type Estimator, percentileEstimator, ratioEstimator } from '../query/statistics/estimators.ts'
import { atOnce, inSlices } from '../query/statistics/slices.ts'
import { chance, fillPoisson } from '../query/statistics/weights.ts'

describe('the interval of a difference', () => {
  // The whole table is `npm run bench:coverage`. Of 200 repetitions at a true 95 % fewer than 181 or more than 198 hold once in 500.
  test.each(SCENARIOS.map(scenario => [scenario.name, scenario] as const))(
    'holds a known difference about as often as it says: %s',
    (_, scenario) => {
      const uniform = chance(11)
      const repetitions = 200
      let held = 0
      let ratioHeld = 0
      for (let i = 0; i < repetitions; i++) {
        const { a, b, shared } = scenario.draw(200, uniform)
        const found = atOnce(differenceOf(a, b, shared, { rounds: 200, seed: i }))
        if (found === undefined) continue
        const { difference, ratio } = found
        if (difference.low <= scenario.difference && scenario.difference <= difference.high) held++
        if (ratio && ratio.low <= scenario.ratio && (ratio.high === null || scenario.ratio <= ratio.high)) ratioHeld++
      }
      for (const times of [held, ratioHeld]) {
        expect(times).toBeGreaterThanOrEqual(181)
        expect(times).toBeLessThanOrEqual(199)
      }
    },
  )

  test('is narrower where the same sessions are on both sides, since what they share cancels out', () => {
    const scenario = SCENARIOS.find(({ name }) => name.includes('before and after'))
    const drawn = scenario?.draw(200, chance(3))
    const width = (shared: boolean): number => {
      const found = drawn && atOnce(differenceOf(drawn.a, drawn.b, shared))
      return found ? found.difference.high - found.difference.low : Number.NaN
    }
    expect(width(true)).toBeLessThan(0.5 * width(false))
  })

  test('is the same for the same question, whether computed at once or in slices', async () => {
    const { a, b, shared } = SCENARIOS[1]?.draw(60, chance(5)) ?? never()
    const once = atOnce(differenceOf(a, b, shared))
    expect(await inSlices(differenceOf(a, b, shared))).toEqual(once)
    expect(atOnce(differenceOf(a, b, shared, { seed: 2 }))).not.toEqual(once)
  })

  test('shrinks to nothing where all sessions are alike, and is none where a side has nothing', () => {
    const alike = (value: number) => ratioEstimator(new Float64Array(30).fill(value), new Float64Array(30).fill(1), 1)
    expect(atOnce(differenceOf(alike(3), alike(2), false))).toEqual({
      difference: { low: 1, high: 1 },
      ratio: { low: 1.5, high: 1.5 },
    })
    const nothing = ratioEstimator(new Float64Array(30), new Float64Array(30), 1)
    expect(atOnce(differenceOf(nothing, alike(2), false))).toBeUndefined()
  })

  test('leaves out 0 just where that of the ratio leaves out 1, and both hold their values', () => {
    const part = fc.double({ min: 0.01, max: 1, noNaN: true })
    const side = fc.record({ value: fc.double({ min: 0.1, max: 100, noNaN: true }), below: part, above: part })
    const spread = (one: { value: number; below: number; above: number }) => ({
      value: one.value,
      low: one.value * (1 - one.below),
      high: one.value * (1 + 2 * one.above),
    })
    fc.assert(
      fc.property(side, side, fc.double({ min: -0.9, max: 0.9, noNaN: true }), (one, other, rho) => {
        const [a, b] = [spread(one), spread(other)]
        const { difference, ratio } = joined(a, b, rho)
        expect(difference.low).toBeLessThanOrEqual(a.value - b.value)
        expect(difference.high).toBeGreaterThanOrEqual(a.value - b.value)
        expect(ratio?.low).toBeLessThanOrEqual((a.value / b.value) * (1 + 1e-9))
        expect(ratio?.high ?? Number.POSITIVE_INFINITY).toBeGreaterThanOrEqual((a.value / b.value) * (1 - 1e-9))
        if (Math.abs(difference.low) > 1e-9) expect((ratio?.low ?? 0) > 1).toBe(difference.low > 0)
        if (Math.abs(difference.high) > 1e-9)
          expect((ratio?.high ?? Number.POSITIVE_INFINITY) < 1).toBe(difference.high < 0)
      }),
    )
  })
})

describe('a percentile over clusters', () => {
  const options = { p: 0.9, weighted: false, growth: 1.02 }
  const histogram = fc
    .uniqueArray(fc.integer({ min: 0, max: 60 }), { minLength: 1, maxLength: 20 })
    .map(buckets => buckets.sort((x, y) => x - y))
    .chain(buckets =>
      fc.record({
        buckets: fc.constant(buckets),
        counts: fc.array(fc.integer({ min: 1, max: 50 }), { minLength: buckets.length, maxLength: buckets.length }),
      }),
    )

  test('is that of all their values together, and lies within its limits', () => {
    fc.assert(
      fc.property(fc.array(histogram, { minLength: 1, maxLength: 6 }), histograms => {
        const values = histograms
          .flatMap(({ buckets, counts }) =>
            buckets.flatMap((b, i) => Array<number>(counts[i] ?? 0).fill(b === 0 ? 0 : 1.02 ** (b - 0.5))),
          )
          .sort((x, y) => x - y)
        const h = (values.length - 1) * 0.9
        const [below = 0, above = 0] = [values[Math.floor(h)], values[Math.ceil(h)]]
        const estimator = percentileEstimator(histograms, options)
        expect(estimator.value).toBeCloseTo(below + (h - Math.floor(h)) * (above - below), 9)
        const { low, high } = estimator.limits({ low: 0.05, high: 0.2 })
        expect(low).toBeLessThanOrEqual(estimator.value)
        expect(high).toBeGreaterThanOrEqual(estimator.value)
      }),
    )
  })

  test('has a tenth of its weight beyond it: what is resampled is that share', () => {
    fc.assert(
      fc.property(fc.array(histogram, { minLength: 1, maxLength: 6 }), histograms => {
        const { numerator, denominator } = percentileEstimator(histograms, options)
        expect(sum(numerator) / sum(denominator)).toBeCloseTo(0.1, 9)
      }),
    )
  })

  test('turned over, its limits are turned over too', () => {
    const one = { buckets: [10, 50], counts: [80, 20] }
    const plain = percentileEstimator([one], options)
    const turned = percentileEstimator([one], { ...options, inverse: 1e6 })
    const [at, turnedAt] = [plain, turned].map(estimator => estimator.limits({ low: 0.05, high: 0.3 }))
    expect(turned.value).toBeCloseTo(1e6 / plain.value)
    expect(turnedAt?.low).toBeCloseTo(1e6 / (at?.high ?? 0))
    expect(turnedAt?.high).toBeCloseTo(1e6 / (at?.low ?? 0))
  })
})

test('weights are Poisson: each cluster counts once on average, and not at all as often as it should', () => {
  const weights = new Float64Array(100_000)
  fillPoisson(weights, chance(1))
  expect(sum(weights) / weights.length).toBeCloseTo(1, 1)
  expect(weights.filter(weight => weight === 0).length / weights.length).toBeCloseTo(Math.exp(-1), 2)
  expect(sum(weights.map(weight => (weight - 1) ** 2)) / weights.length).toBeCloseTo(1, 1)
})

test('a long computation lets others in: no slice of 1,000 rounds over 1,000 sessions holds them up for long', async () => {
  const list = () => Float64Array.from({ length: 1_000 }, (_, i) => i)
  const side: Estimator = ratioEstimator(list(), list().fill(1), 1)
  let turns = 0
  const watch = setInterval(() => turns++, 0)
  await inSlices(differenceOf(side, side, false, { rounds: 5_000 }))
  clearInterval(watch)
  expect(turns).toBeGreaterThan(2)
})

const sum = (list: Float64Array): number => list.reduce((all, one) => all + one, 0)
function never(): never {
  throw new Error('no such scenario')
}
