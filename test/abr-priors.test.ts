/** What sessions like one sustained: censored evidence is taken for what it is, a session has one vote, and the narrowest cohort that can answer does. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BitrateEvent } from '../ingest/contract/events.ts'
import { PRIOR_OPTIONS, type PriorSession, priorsOf } from '../query/abr/priors.ts'
import type { PriorContext } from '../query/abr/priors-cohorts.ts'
import { sustainedBy } from '../query/abr/priors-evidence.ts'
import { PriorSessions } from '../query/abr/priors-sessions.ts'
import { atOnce, inSlices } from '../query/statistics/slices.ts'
import { plainQuantile, survivalQuantiles } from '../query/statistics/survival.ts'
import { chance } from '../query/statistics/weights.ts'

const ascending = (values: readonly number[]): Float64Array => Float64Array.from(values).sort()

describe('a quantile of what was partly seen from below only', () => {
  test('is that of the product-limit estimator’s first example', () => {
    // Kaplan & Meier 1958, section 2: deaths at 0.8, 3.1, 5.4, 9.2; losses at 1.0, 2.7, 7.0, 12.1. P(t): 0.875, 0.70, 0.525, 0.2625.
    const [observed, bounds] = [ascending([0.8, 3.1, 5.4, 9.2]), ascending([1.0, 2.7, 7.0, 12.1])]
    const at = (...ps: number[]) => survivalQuantiles(observed, bounds, ps, 1)
    expect(at(0.125, 0.1251, 0.3, 0.3001, 0.475, 0.4751)).toEqual([0.8, 3.1, 3.1, 5.4, 5.4, 9.2])
    expect(at(0.7375, 0.7376)).toEqual([9.2, null])
  })

  const values = fc.array(fc.integer({ min: 1, max: 50 }), { minLength: 1, maxLength: 60 })
  const shares = fc
    .array(fc.double({ min: 0.01, max: 1, noNaN: true }), { maxLength: 5 })
    .map(ps => ps.sort((a, b) => a - b))

  test('is the plain one where all was seen', () => {
    fc.assert(
      fc.property(values, shares, (seen, ps) => {
        const sorted = ascending(seen)
        expect(survivalQuantiles(sorted, new Float64Array(), ps, 1)).toEqual(ps.map(p => plainQuantile(sorted, p)))
      }),
    )
  })

  test('ascends, is never below the plain one over all, and does not move for a bound below everything', () => {
    fc.assert(
      fc.property(values, values, shares, (seen, from, ps) => {
        const [observed, bounds] = [ascending(seen), ascending(from)]
        const found = survivalQuantiles(observed, bounds, ps, 1)
        const known = found.filter(value => value !== null)
        expect(known).toEqual([...known].sort((a, b) => a - b))
        expect(found.slice(0, known.length)).toEqual(known)
        const all = ascending([...seen, ...from])
        found.forEach((value, i) => {
          if (value !== null) expect(value).toBeGreaterThanOrEqual(plainQuantile(all, ps[i] ?? 0) ?? Number.NaN)
        })
        expect(survivalQuantiles(observed, ascending([...from, 0]), ps, 1)).toEqual(found)
      }),
    )
  })

  test('is not told by the last few', () => {
    const observed = ascending([5, 6, 7, 8, 9, 10])
    expect(survivalQuantiles(observed, new Float64Array(), [0.5, 0.66, 0.8, 1], 3)).toEqual([7, 8, null, null])
  })
})

/** A normal deviate (Box & Muller). */
const normal = (uniform: () => number): number =>
  Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform())

type Interval = Parameters<typeof sustainedBy>[0][number]

/** Seconds of a session over a network that carries `ceiling`, more or less, at a rate that the encoder chose without knowing of it. */
function secondsOf(ceiling_kbps: number, target_kbps: number, seconds: number, uniform: () => number): Interval[] {
  return Array.from({ length: seconds }, () => {
    const carries = ceiling_kbps * Math.exp(0.1 * normal(uniform))
    const full = target_kbps > carries
    return {
      bitrate_kbps: Math.round(Math.min(carries, target_kbps * (0.97 + 0.03 * uniform()))),
      target_bitrate_kbps: target_kbps,
      ...(full ? { available_kbps: Math.round(carries) } : { available_kbps: Math.round(target_kbps * 1.1) }),
      rtt_us: Math.round(20_000 * (full ? 2.2 : 1 + 0.1 * uniform())),
      packets_received: 1_000,
      packets_lost: full ? 12 : 0,
    }
  })
}

describe('a known ceiling', () => {
  test('is recovered within 5 %, where a plain quantile is off by more, and so is one of those at the limit alone', () => {
    const uniform = chance(4)
    const ladder = [2_500, 5_000, 10_000, 15_000, 25_000, 40_000]
    const ceilings: number[] = []
    const sessions = Array.from({ length: 4_000 }, (): PriorSession => {
      const ceiling = 12_000 * Math.exp(0.6 * normal(uniform))
      ceilings.push(ceiling)
      const target = ladder[Math.floor(uniform() * ladder.length)] ?? 0
      const sustained = sustainedBy(secondsOf(ceiling, target, 60, uniform))
      if (!sustained) throw new Error('sixty seconds are enough')
      return { ...sustained, context: {} }
    })
    const prior = atOnce(priorsOf(sessions)).of({})
    const truth = (p: number): number => plainQuantile(ascending(ceilings), p) ?? Number.NaN
    const off = (value: number | null, p: number): number => Math.abs((value ?? Number.NaN) / truth(p) - 1)
    const plain = (p: number) => plainQuantile(ascending(sessions.map(({ kbps }) => kbps)), p)
    const limited = (p: number) =>
      plainQuantile(ascending(sessions.flatMap(({ kbps, censored }) => (censored ? [] : kbps))), p)
    expect(off(prior.p25_kbps, 0.25)).toBeLessThan(0.05)
    expect(off(prior.p50_kbps, 0.5)).toBeLessThan(0.05)
    expect(off(prior.p75_kbps, 0.75)).toBeLessThan(0.05)
    expect(off(prior.p90_kbps, 0.9)).toBeLessThan(0.05)
    for (const p of [0.25, 0.5, 0.75, 0.9]) expect(off(plain(p), p)).toBeGreaterThan(0.2)
    for (const p of [0.25, 0.5, 0.75, 0.9]) expect(off(limited(p), p)).toBeGreaterThan(0.1)
  })
})

describe('what one session says', () => {
  const steady = (more: Partial<Interval> = {}): Interval => ({
    ...{ bitrate_kbps: 9_900, target_bitrate_kbps: 10_000, available_kbps: 14_000, rtt_us: 20_000 },
    ...{ packets_received: 1_000, packets_lost: 0 },
    ...more,
  })
  const times = (n: number, interval: Interval): Interval[] => Array.from({ length: n }, () => interval)

  test('is a lower bound where the network never was the limit', () => {
    expect(sustainedBy(times(60, steady()))).toEqual({
      ...{ kbps: 9_900, censored: true, rtt_p50_us: 20_000, packet_loss_pct: 0 },
    })
  })

  test.each([
    ['a tenth of what was asked for is missing', { bitrate_kbps: 8_999 }, true],
    ['just less than that', { bitrate_kbps: 9_000 }, false],
    ['more than one packet in 200 is lost', { packets_received: 995, packets_lost: 6 }, true],
    ['one in 200', { packets_received: 995, packets_lost: 5 }, false],
    ['half as long again as the fast round trips', { rtt_us: 30_001 }, true],
    ['just less than that', { rtt_us: 30_000 }, false],
  ])('is evidence of the ceiling where %s', (_, more, is_evidence) => {
    const intervals = [...times(20, steady()), ...times(40, steady(more))]
    expect(sustainedBy(intervals)).toMatchObject(is_evidence ? { kbps: 14_000, censored: false } : { censored: true })
  })

  test('is what was received, where the controller does not say what it thinks there is', () => {
    const { available_kbps: _, ...unsaid } = steady({ bitrate_kbps: 6_000 })
    expect(sustainedBy(times(60, unsaid))).toMatchObject({ kbps: 6_000, censored: false })
  })

  test('does not move for a dip now and then, which is not what it sustained', () => {
    const dips = times(6, steady({ bitrate_kbps: 2_000, available_kbps: 2_100 }))
    expect(sustainedBy([...times(54, steady()), ...dips])).toMatchObject({ kbps: 9_900, censored: true })
  })

  test('is nothing below ten intervals', () => {
    expect(sustainedBy(times(9, steady()))).toBeUndefined()
    expect(sustainedBy(times(10, steady()))).toBeDefined()
  })

  test('needs nothing but a bitrate', () => {
    expect(sustainedBy(times(10, { bitrate_kbps: 5_000 }))).toEqual({
      ...{ kbps: 5_000, censored: true, rtt_p50_us: null, packet_loss_pct: null },
    })
  })
})

const sessionOf = (context: PriorContext, kbps: number, more: Partial<PriorSession> = {}): PriorSession => ({
  ...{ context, kbps, censored: false, rtt_p50_us: 20_000, packet_loss_pct: 0.1 },
  ...more,
})
const many = (n: number, context: PriorContext, kbps: number): PriorSession[] =>
  Array.from({ length: n }, () => sessionOf(context, kbps))
/** From the narrowest, as they are told. */
const PRIOR_LEVELS = [
  'isp+region+access+device+game',
  'isp+region+access+device',
  'isp+region+access',
  'isp+access',
  'access',
  'global',
]
const FULL = { isp: 'a', region: 'west', access: 'wifi', device: 'tv', game: 'metro' } as const

describe('a session that is known', () => {
  const BEGUN_S = 1_795_000_000
  /** As settled from `first` to `last`, in seconds after BEGUN_S. */
  const settled = (first: number, last: number, stutter_time_pct: number | null = 0.2) => ({
    ...{ id: 'a', first: BEGUN_S + first, last: BEGUN_S + last, lot: 1, settled_us: 1, stutter_time_pct },
    labels: ['wifi', 'north', '', 'tv', 'metro'],
  })
  const evidence = { id: 'a', intervals: 25, kbps: 9_000, censored: true, rtt_p50_us: 12_000, packet_loss_pct: null }

  function known(): PriorSessions {
    const sessions = new PriorSessions(10)
    sessions.hear([settled(1_000, 1_100)])
    for (const batch of sessions.due(BEGUN_S + 1_100)) sessions.read(batch, [evidence])
    return sessions
  }
  const dueAt = (sessions: PriorSessions, second: number) => sessions.due(BEGUN_S + second).flatMap(({ ids }) => ids)

  test('is what it sustained, in the context that is known of it', () => {
    const context = { access: 'wifi', isp: 'north', device: 'tv', game: 'metro' }
    const said = { kbps: 9_000, censored: true, rtt_p50_us: 12_000, packet_loss_pct: null }
    expect(known().sustained()).toEqual([{ ...said, context }])
  })

  test('is read again when it has become twice as long, or is over, and not before', () => {
    const sessions = known()
    sessions.hear([settled(1_000, 1_199)])
    expect(dueAt(sessions, 1_200)).toEqual([])
    expect(dueAt(sessions, 1_500)).toEqual(['a'])
    sessions.hear([settled(1_000, 1_200)])
    expect(dueAt(sessions, 1_200)).toEqual(['a'])
  })

  test('has become no longer by a beginning that arrives late', () => {
    const sessions = known()
    sessions.hear([settled(0, 1_200)])
    expect(dueAt(sessions, 1_200)).toEqual([])
  })

  test('has no vote once it stutters, or is not known not to', () => {
    for (const stutter_time_pct of [1, null]) {
      const sessions = known()
      sessions.hear([settled(1_000, 1_100, stutter_time_pct)])
      expect(sessions.sustained()).toEqual([])
    }
  })
})

describe('of more sessions than are kept', () => {
  const heard = (lots: readonly number[]) =>
    lots.map(lot => ({
      ...{ id: `${lot}`, first: 1, last: 100, lot, settled_us: 1, stutter_time_pct: 0, labels: ['wifi'] },
    }))
  const kept = (sessions: PriorSessions) =>
    sessions
      .due(100)
      .flatMap(({ ids }) => ids)
      .sort()

  test('those with the least lots stay, as many as may', () => {
    const sessions = new PriorSessions(3)
    sessions.hear(heard([50, 10, 40]))
    expect([kept(sessions), sessions.lots]).toEqual([['10', '40', '50'], 65_536])
    sessions.hear(heard([20, 60]))
    expect([kept(sessions), sessions.lots]).toEqual([['10', '20', '40'], 50])
    sessions.hear(heard([45, 30, 50]))
    expect([kept(sessions), sessions.lots]).toEqual([['10', '20', '30'], 40])
  })

  test('more are drawn again once few are left', () => {
    const sessions = new PriorSessions(4)
    sessions.hear(heard([10, 20, 30, 40, 50]))
    sessions.forgetBefore(99)
    expect(sessions.lots).toBe(50)
    sessions.forgetBefore(101)
    sessions.hear(heard([90, 110]))
    expect([kept(sessions), sessions.lots]).toEqual([['90'], 100])
  })
})

describe('a cohort', () => {
  test('has one vote per session, however long each played', () => {
    const interval = (kbps: number): Pick<BitrateEvent, 'bitrate_kbps' | 'target_bitrate_kbps'> => ({
      ...{ bitrate_kbps: kbps, target_bitrate_kbps: 2 * kbps },
    })
    const played = (kbps: number, seconds: number): PriorSession => {
      const sustained = sustainedBy(Array.from({ length: seconds }, () => interval(kbps)))
      if (!sustained) throw new Error('enough seconds')
      return { ...sustained, context: {} }
    }
    const long = Array.from({ length: 20 }, () => played(3_000, 1_800))
    const short = Array.from({ length: 40 }, () => played(9_000, 10))
    expect(atOnce(priorsOf([...long, ...short])).of({})).toMatchObject({ p25_kbps: 3_000, p50_kbps: 9_000 })
  })

  test('of the narrowest level with enough sessions answers, and n is told of each', () => {
    // Each group is of one rate and fits one level less.
    const groups = [
      many(30, FULL, 6_000),
      many(30, { ...FULL, game: 'rally' }, 5_000),
      many(30, { ...FULL, device: 'phone', game: 'rally' }, 4_000),
      many(30, { ...FULL, region: 'east' }, 3_000),
      many(30, { ...FULL, isp: 'b' }, 2_000),
      many(30, { ...FULL, access: 'ethernet' }, 1_000),
    ]
    PRIOR_LEVELS.forEach((level, narrowest) => {
      // Without the groups before it nobody is left at the levels before.
      const prior = atOnce(priorsOf(groups.slice(narrowest).flat())).of(FULL)
      expect(prior).toMatchObject({ level, p10_kbps: 6_000 - 1_000 * narrowest })
      expect(prior.levels).toEqual(
        PRIOR_LEVELS.map((level, i) => ({ level, n: i < narrowest ? 0 : 30 * (i - narrowest + 1) })),
      )
    })
  })

  test('of one session less is none', () => {
    const priors = atOnce(priorsOf([...many(29, FULL, 9_000), ...many(100, {}, 2_000)]))
    expect(priors.of(FULL)).toMatchObject({ level: 'global', p50_kbps: 2_000 })
    expect(atOnce(priorsOf(many(30, FULL, 9_000))).of(FULL).level).toBe(PRIOR_LEVELS[0])
  })

  test('is not asked for by what the caller does not know', () => {
    const priors = atOnce(priorsOf(many(40, FULL, 9_000)))
    const levels = (context: PriorContext) => priors.of(context).levels.map(({ level }) => level)
    const { game: _, ...ungamed } = FULL
    expect(levels(ungamed)).toEqual(PRIOR_LEVELS.slice(1))
    expect(levels({ isp: 'a', access: 'wifi' })).toEqual(['isp+access', 'access', 'global'])
    expect(levels({ region: 'west' })).toEqual(['global'])
    expect(levels({})).toEqual(['global'])
  })

  test('of nobody says how many there are, and no more', () => {
    expect(atOnce(priorsOf(many(5, FULL, 9_000))).of(FULL)).toEqual({
      ...{ p10_kbps: null, p25_kbps: null, p50_kbps: null, p75_kbps: null, p90_kbps: null },
      ...{ rtt_p50_us: null, packet_loss_pct: null, start_bitrate_kbps: null, cap_kbps: null, level: 'global' },
      levels: PRIOR_LEVELS.map(level => ({ level, n: 5 })),
    })
  })

  test('that never was at a limit has no cap, and a start at what it carried at least', () => {
    const carried = Array.from({ length: 100 }, (_, i) => sessionOf({}, 100 * (i + 1), { censored: true }))
    expect(atOnce(priorsOf(carried)).of({})).toMatchObject({
      ...{ p10_kbps: null, p25_kbps: null, p90_kbps: null, start_bitrate_kbps: 2_500, cap_kbps: null },
    })
  })

  test('starts and is capped at the shares that are configured', () => {
    const even = Array.from({ length: 100 }, (_, i) => sessionOf({}, 100 * (i + 1)))
    expect(atOnce(priorsOf(even)).of({})).toMatchObject({ start_bitrate_kbps: 2_500, cap_kbps: 9_000 })
    const bold = { ...PRIOR_OPTIONS, start_share: 0.5, cap_share: 0.95 }
    expect(atOnce(priorsOf(even, bold)).of({})).toMatchObject({ start_bitrate_kbps: 5_000, cap_kbps: 9_500 })
  })

  test('has the median of round trips and the mean of losses, of those that know', () => {
    const [slow, fast] = [
      { rtt_p50_us: 90_000, packet_loss_pct: 1 },
      { rtt_p50_us: 10_000, packet_loss_pct: null },
    ]
    const sessions = [...many(2, {}, 1).map(s => ({ ...s, ...slow })), ...many(38, {}, 1).map(s => ({ ...s, ...fast }))]
    expect(atOnce(priorsOf(sessions)).of({})).toMatchObject({ rtt_p50_us: 10_000, packet_loss_pct: 1 })
  })

  test('is the same computed at once and in slices', async () => {
    const uniform = chance(8)
    const sessions = Array.from({ length: 3_000 }, () =>
      sessionOf({ ...FULL, isp: `isp-${Math.floor(uniform() * 5)}` }, Math.round(20_000 * uniform()), {
        censored: uniform() < 0.4,
      }),
    )
    const [once, sliced] = [atOnce(priorsOf(sessions)), await inSlices(priorsOf(sessions), 1)]
    for (let i = 0; i < 5; i++)
      expect(sliced.of({ ...FULL, isp: `isp-${i}` })).toEqual(once.of({ ...FULL, isp: `isp-${i}` }))
  })
})
