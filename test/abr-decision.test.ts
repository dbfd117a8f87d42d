/** What adaptive-bitrate logic is advised to do: properties over every ladder, state and trace. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { DEFAULT_LADDER, highestWithin, type Ladder, parseLadder } from '../query/abr/ladder.ts'
import { dependableKbps, recommend, safeDefault } from '../query/abr/recommend.ts'
import { type Available, type Prior, REASONS, type SessionState, type Standing } from '../query/abr/state.ts'
import { chance } from '../query/statistics/weights.ts'
import { available, good, SETTLED } from './support/advised.ts'

const UNREPORTED: Available = {
  ...{ last: null, harmonic_mean: null, ewma_3s: null, ewma_9s: null, stdev: null, error_max_5: null },
}
const GOOD = good(12_000)
const NOBODY: Prior = {
  ...{ p10_kbps: null, p25_kbps: null, p50_kbps: null, p75_kbps: null, p90_kbps: null, rtt_p50_us: null },
  ...{ packet_loss_pct: null, start_bitrate_kbps: null, cap_kbps: null, level: 'global', levels: [] },
}
const advised = (state?: Partial<SessionState>, standing?: Partial<Standing>, prior?: Partial<Prior>) =>
  recommend(
    DEFAULT_LADDER,
    state && { ...GOOD, ...state },
    prior && { ...NOBODY, ...prior },
    standing && { ...SETTLED, ...standing },
  )

const maybe = (arbitrary: fc.Arbitrary<number>) => fc.option(arbitrary)
const kbps = fc.integer({ min: 1, max: 100_000 })
const pct = fc.double({ min: 0, max: 100, noNaN: true })
const states: fc.Arbitrary<SessionState> = fc.record({
  bitrate_avg_kbps: maybe(kbps),
  target_bitrate_kbps: maybe(kbps),
  available_kbps: fc.record({
    last: maybe(kbps),
    harmonic_mean: maybe(kbps),
    ewma_3s: maybe(kbps),
    ewma_9s: maybe(kbps),
    stdev: maybe(kbps),
    error_max_5: maybe(fc.double({ min: 0, max: 10, noNaN: true })),
  }),
  rtt_p50_us: maybe(kbps),
  jitter_p50_us: maybe(kbps),
  packet_loss_pct: maybe(pct),
  fps_avg: maybe(pct),
  frame_time_p95_us: maybe(kbps),
  late_frame_pct: maybe(pct),
  stutter_time_pct: maybe(pct),
  freeze_time_pct: maybe(fc.constantFrom(0, 0, 2, 40)),
  open_frame_us: maybe(fc.constantFrom(0, 16_000, 166_999, 167_000, 5_000_000)),
  mos_avg: maybe(fc.double({ min: 1.3, max: 4.6, noNaN: true })),
  rung: fc.option(fc.constantFrom('1080p60-10m', 'of another ladder')),
  samples: fc.nat(20),
  completeness_pct: maybe(pct),
})
const ladders: fc.Arbitrary<Ladder> = fc.uniqueArray(kbps, { minLength: 1, maxLength: 8 }).map(steps =>
  parseLadder(
    steps
      .sort((a, b) => a - b)
      .map(step => `r${step}:${step}`)
      .join(','),
  ),
)
const priors: fc.Arbitrary<Prior> = fc.record({
  ...{ p10_kbps: maybe(kbps), p25_kbps: maybe(kbps), p50_kbps: maybe(kbps), p75_kbps: maybe(kbps) },
  ...{ p90_kbps: maybe(kbps), rtt_p50_us: maybe(kbps), packet_loss_pct: maybe(pct) },
  ...{ start_bitrate_kbps: maybe(kbps), cap_kbps: maybe(kbps) },
  ...{ level: fc.constant('global'), levels: fc.constant([]) },
})
const situations = ladders.chain(ladder =>
  fc.record({
    ladder: fc.constant(ladder),
    state: fc.option(states, { nil: undefined }),
    prior: fc.option(priors, { nil: undefined }),
    standing: fc.option(
      fc.record({
        rung: fc.constantFrom(...ladder.map(({ name }) => name)),
        since_ms: fc.nat(120_000),
        switches_last_minute: fc.nat(6),
      }),
      { nil: undefined },
    ),
  }),
)

describe('whatever is known', () => {
  test('a rung of the ladder is recommended, with its bitrate and a reason from the list; never above the cap', () => {
    fc.assert(
      fc.property(situations, ({ ladder, state, prior, standing }) => {
        const { rung, target_bitrate_kbps, reason } = recommend(ladder, state, prior, standing)
        expect(ladder).toContainEqual({ name: rung, bitrate_kbps: target_bitrate_kbps })
        expect(REASONS).toContain(reason)
        const cap = prior?.cap_kbps ?? Number.POSITIVE_INFINITY
        expect(target_bitrate_kbps).toBeLessThanOrEqual(Math.max(cap, ladder[0].bitrate_kbps))
      }),
      { numRuns: 2_000 },
    )
  })

  test('more bandwidth never means less bitrate', () => {
    fc.assert(
      fc.property(situations, fc.double({ min: 1, max: 20, noNaN: true }), (situation, factor) => {
        const { ladder, state, prior, standing } = situation
        if (!state) return
        const more = Object.fromEntries(
          Object.entries(state.available_kbps).map(([name, value]) => [
            name,
            value === null || name === 'error_max_5' ? value : value * factor,
          ]),
        ) as unknown as Available
        const [less, greater] = [state.available_kbps, more].map(available_kbps =>
          recommend(ladder, { ...state, available_kbps }, prior, standing),
        )
        expect(greater?.target_bitrate_kbps).toBeGreaterThanOrEqual(less?.target_bitrate_kbps ?? 0)
      }),
      { numRuns: 2_000 },
    )
  })

  test('it never climbs without evidence', () => {
    fc.assert(
      fc.property(situations, ({ ladder, state, prior, standing }) => {
        const { target_bitrate_kbps, reason } = recommend(ladder, state, prior, standing)
        const current = ladder.find(({ name }) => name === standing?.rung)
        if (!current || target_bitrate_kbps <= current.bitrate_kbps) return
        expect(reason).toBe('climb')
        expect(state?.samples).toBeGreaterThanOrEqual(5)
        expect(state?.freeze_time_pct ?? 0).toBe(0)
        // Of the rung, with room to spare; or of the next one only as far as can be seen from the one below.
        const { harmonic_mean, ewma_3s, ewma_9s } = state?.available_kbps ?? UNREPORTED
        const seen = Math.min(harmonic_mean ?? 0, ewma_3s ?? 0, ewma_9s ?? 0)
        const isNext = ladder[ladder.indexOf(current) + 1]?.bitrate_kbps === target_bitrate_kbps
        const proven = ((state && dependableKbps(state)) ?? 0) > target_bitrate_kbps * 1.3
        expect(proven || (isNext && seen > current.bitrate_kbps * 1.3)).toBe(true)
        expect(standing?.since_ms).toBeGreaterThanOrEqual(10_000)
      }),
      { numRuns: 5_000 },
    )
  })

  test('a freeze takes it down at once, by more than a rung if there is less', () => {
    expect(advised({ freeze_time_pct: 3 }, {})).toMatchObject({ rung: '720p60-5m', reason: 'freeze' })
    expect(advised({ open_frame_us: 400_000 }, { since_ms: 2_500 })).toMatchObject({
      rung: '720p60-5m',
      reason: 'freeze',
    })
    const little = { freeze_time_pct: 3, available_kbps: available(1_500) }
    expect(advised(little, {})).toMatchObject({ rung: '360p60-1m', reason: 'freeze' })
    fc.assert(
      fc.property(situations, ({ ladder, state, prior, standing }) => {
        if (!state || !standing || standing.since_ms < 10_000) return
        const current = ladder.find(({ name }) => name === standing.rung)
        const { target_bitrate_kbps } = recommend(ladder, { ...state, freeze_time_pct: 1 }, prior, standing)
        if (current !== ladder[0]) expect(target_bitrate_kbps).toBeLessThan(current?.bitrate_kbps ?? 0)
      }),
      { numRuns: 2_000 },
    )
  })
})

describe('a trace that is flat but noisy', () => {
  /** The loop of one update a second, as a caller would run it. */
  function switchesOf(seed: number, mean: number, noise: number, seconds: number): number[] {
    const random = chance(seed)
    let standing: Standing = { rung: highestWithin(DEFAULT_LADDER, mean).name, since_ms: 0, switches_last_minute: 0 }
    const seen: number[] = []
    const switched: number[] = []
    let [fast, slow] = [mean, mean]
    for (let s = 0; s < seconds; s++) {
      seen.push(mean * (1 + noise * (2 * random() - 1)))
      const now = seen.at(-1) ?? mean
      fast += (1 - 0.5 ** (1 / 3)) * (now - fast)
      slow += (1 - 0.5 ** (1 / 9)) * (now - slow)
      const last = seen.slice(-10)
      const harmonic_mean = last.length / last.reduce((sum, kbps) => sum + 1 / kbps, 0)
      const available_kbps = {
        ...{ last: now, harmonic_mean, ewma_3s: fast, ewma_9s: slow, stdev: 0 },
        error_max_5: Math.max(...last.slice(-5).map(kbps => Math.abs(kbps - harmonic_mean) / kbps)),
      }
      const { rung } = recommend(DEFAULT_LADDER, { ...GOOD, available_kbps }, undefined, standing)
      if (rung !== standing.rung) switched.push(s)
      standing = {
        rung,
        since_ms: rung === standing.rung ? standing.since_ms + 1_000 : 0,
        switches_last_minute: switched.filter(at => at > s - 60).length,
      }
    }
    return switched
  }

  test('does not flap: at most two switches in any minute, once it has found its rung', () => {
    fc.assert(
      fc.property(
        fc.nat(1e6),
        fc.integer({ min: 1_500, max: 50_000 }),
        fc.double({ min: 0, max: 0.4, noNaN: true }),
        (seed, mean, noise) => {
          const switched = switchesOf(seed, mean, noise, 600).filter(s => s >= 60)
          for (const s of switched) expect(switched.filter(at => at >= s && at < s + 60).length).toBeLessThanOrEqual(2)
        },
      ),
      { numRuns: 300 },
    )
  })
})

test('a session whose own cap is all that limits its estimate goes up a rung at a time, one at its network’s does not', () => {
  const at = (kbps: number) => advised({ available_kbps: available(kbps) }, { rung: '540p60-2.5m' })
  expect(at(5_000)).toMatchObject({ rung: '720p60-5m', reason: 'climb' })
  expect(at(3_000)).toMatchObject({ rung: '540p60-2.5m', reason: 'hold' })
})

test('a dip that one mean shows is the inner loop’s; what both show is not', () => {
  const dip = { ...available(12_000), last: 2_000, ewma_3s: 6_000 }
  expect(advised({ available_kbps: dip }, {})).toMatchObject({ rung: '1080p60-10m', reason: 'hold' })
  expect(advised({ available_kbps: { ...dip, ewma_9s: 7_000 } }, {})).toMatchObject({
    ...{ rung: '720p60-5m', reason: 'does_not_fit' },
  })
})

describe('a session that begins', () => {
  test('starts where its cohort says, then where its own network does', () => {
    expect(advised(undefined, undefined, { start_bitrate_kbps: 16_000, cap_kbps: 30_000 })).toEqual({
      ...{ rung: '1080p60-15m', target_bitrate_kbps: 15_000, reason: 'cold_start' },
    })
    const own = { rung: null, available_kbps: available(7_000) }
    expect(advised(own, undefined, { start_bitrate_kbps: 16_000 })).toMatchObject({ rung: '720p60-5m' })
    expect(advised()).toEqual({ rung: '720p60-5m', target_bitrate_kbps: 5_000, reason: 'nothing_known' })
  })

  test('stays where it is while nothing is known of it', () => {
    expect(advised(undefined, {})).toMatchObject({ rung: '1080p60-10m', reason: 'state_unknown' })
    expect(advised({ available_kbps: UNREPORTED }, {})).toMatchObject({ rung: '1080p60-10m', reason: 'hold' })
  })
})

test('a rung that is none of the ladder is no place to stand', () => {
  expect(() => advised({}, { rung: 'of another ladder' })).toThrow('of another ladder')
})

test('where the state is too old to say, a session stays; one lower if the last that is known was bad', () => {
  expect(safeDefault(DEFAULT_LADDER, GOOD, SETTLED)).toEqual({ name: '1080p60-10m', bitrate_kbps: 10_000 })
  expect(safeDefault(DEFAULT_LADDER, { ...GOOD, freeze_time_pct: 1 }, SETTLED)).toEqual({
    name: '720p60-5m',
    bitrate_kbps: 5_000,
  })
  const moved = { ...SETTLED, since_ms: 1_000 }
  expect(safeDefault(DEFAULT_LADDER, { ...GOOD, freeze_time_pct: 1 }, moved)).toMatchObject({ name: SETTLED.rung })
  expect(safeDefault(DEFAULT_LADDER, undefined, { rung: '360p60-1m' })).toEqual(DEFAULT_LADDER[0])
  expect(safeDefault(DEFAULT_LADDER, undefined)).toBeNull()
})

describe('a ladder', () => {
  test.each([
    ['', "'': expected name:kbps"],
    ['a:1000,b', "'b': expected name:kbps"],
    ['a:0', "'a:0': expected name:kbps"],
    ['a:2000,b:1000', "'b' must have more kbps than 'a'"],
    ['a:1000,b:1000', "'b' must have more kbps than 'a'"],
    ['a:1000,a:2000', "'a' is named twice"],
  ])('%j is refused by name', (text, message) => {
    expect(() => parseLadder(text)).toThrow(message)
  })
})
