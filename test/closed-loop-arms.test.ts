/**
 * What the arms of the closed loop are compared by, and that supervision keeps what can be kept of its promise: over the half of the
 * traces that everything is tuned on (nothing here looks at the other), in virtual time, the same figures every time.
 */
import { beforeAll, describe, expect, test } from 'vitest'
import { RateController } from '../local/fleet/controller.ts'
import { readMaterial } from '../local/fleet/fleet.ts'
import type { Trace } from '../local/fleet/traces.ts'
import { LEAST, LOCAL, priorsFrom, supervised } from '../local/loop/arms.ts'
import { FIGURES, figureOf, type Outcomes, ratioOf, report } from '../local/loop/compare.ts'
import type { Outcome, Sums } from '../local/loop/outcome.ts'
import { fleetOver, playsOver, strataOf, tracesOf } from '../local/loop/scenario.ts'
import { type Arm, simulate } from '../local/loop/simulate.ts'
import { PRIOR_OPTIONS, type Priors } from '../query/abr/priors.ts'

const material = readMaterial()
const development = tracesOf(material, 'development')

describe('a figure', () => {
  const sums = (shown_us: number, stutter_us: number): Sums => ({
    ...{ shown_us, stutter_us, freeze_us: 0, kbit: 0, sent_ms: 0, switches: 0, mos: 0, scored: 0 },
  })
  const outcome = (shown_us: number, stutter_us: number): Outcome => ({
    ...{ start: sums(shown_us, stutter_us), after: sums(0, 0) },
  })
  const strata = [[{ trace: 'a', weight: 0.9 }], [{ trace: 'b', weight: 0.1 }]]
  const one: Outcomes = new Map([
    ['a', [outcome(1e6, 0), outcome(1e6, 1e5)]],
    ['b', [outcome(1e6, 5e5), outcome(1e6, 7e5)]],
  ])

  test('weighs each trace by what it stands for', () => {
    expect(figureOf(one, strata, 'start', FIGURES.bad)).toBeCloseTo(0.9 * 5 + 0.1 * 60)
    expect(figureOf(one, strata, 'after', FIGURES.bad)).toBeNaN()
  })

  test('is a ratio of one for arms that are alike, and exact where every session halves', () => {
    expect(ratioOf(one, one, strata, 'start', FIGURES.bad)).toEqual({ ratio: 1, low: 1, high: 1 })
    const halved: Outcomes = new Map(
      [...one].map(([trace, all]) => [trace, all.map(({ start }) => outcome(1e6, start.stutter_us / 2))]),
    )
    const { ratio, low, high } = ratioOf(halved, one, strata, 'start', FIGURES.bad)
    for (const value of [ratio, low, high]) expect(value).toBeCloseTo(0.5)
  })

  test('has an interval as wide as the sessions differ', () => {
    const other: Outcomes = new Map([...one].map(([trace, [first]]) => [trace, [first as Outcome, outcome(1e6, 3e5)]]))
    const { ratio, low, high } = ratioOf(other, one, strata, 'start', FIGURES.bad)
    expect(low).toBeLessThan(ratio)
    expect(high).toBeGreaterThan(ratio)
    const arms = new Map([
      ['one', one],
      ['other', other],
    ])
    expect(report(arms, strata, ['one', 'other'])).toMatch(/other against one: stutter \+ freeze % \+\d+ % \(95 %: /)
  })
})

describe('supervision', () => {
  const strata = strataOf(material, development)
  let priors: Priors
  const played = (arm: Arm): Outcomes => {
    const outcomes = new Map(development.map(({ name }): [string, Outcome[]] => [name, []]))
    for (const play of playsOver(material, development, { seed: 5, per_trace: 8, plays_ms: 60_000 }))
      outcomes.get(play.trace.name)?.push(simulate(material, arm, play).outcome)
    return outcomes
  }
  beforeAll(() => {
    const before = fleetOver(material, development, { seed: 11, people: 300, plays_ms: 60_000 })
    const history = [...before].map(play => simulate(material, LOCAL, play))
    // Of as many as these a cohort is half the size.
    priors = priorsFrom(history, { ...PRIOR_OPTIONS, sessions_min: 15 })
  })

  test('knows of those before where to begin, and that networks differ', () => {
    const start = (access: 'wifi' | 'cellular', isp: string) => priors.of({ access, isp }).start_bitrate_kbps ?? 0
    expect(start('wifi', 'nobody heard of')).toBeGreaterThan(10_000)
    expect(start('cellular', 'velocell')).toBeGreaterThan(2_500)
    expect(start('cellular', 'velocell')).toBeLessThan(start('wifi', 'nobody heard of'))
  })

  test('gives more from the start than the controller alone, and no less after, without more that is wrong', () => {
    const [alone, mine, least] = [LOCAL, supervised(priors), LEAST].map(played) as [Outcomes, Outcomes, Outcomes]
    const times = (phase: 'start' | 'after', figure: 'bad' | 'bitrate') =>
      ratioOf(mine, alone, strata, phase, FIGURES[figure])
    // So few sessions tell no small difference; a harm they would.
    for (const phase of ['start', 'after'] as const) expect(times(phase, 'bad').low).toBeLessThan(1)
    expect(times('start', 'bitrate').low).toBeGreaterThan(1.1)
    expect(times('after', 'bitrate').ratio).toBeGreaterThan(0.95)
    // What is wrong at the lowest rung too is not the bitrate's fault, and no arm can mend it.
    expect(figureOf(least, strata, 'start', FIGURES.bad)).toBeGreaterThan(0)
  })

  test('takes a session up again that it had to take down, though all that limits the estimate is itself', () => {
    const seed = [
      ...playsOver(material, development.filter(({ kind }) => kind === 'fixed').slice(0, 1), {
        ...{ seed: 3, per_trace: 1, plays_ms: 90_000 },
      }),
    ][0]?.seed as number
    // Nothing for three seconds of the first ten, then a wide line for longer than anybody looks.
    const kbps = [60_000, 0, 60_000]
    const duration_ms = [8_000, 3_000, 600_000]
    const trace: Trace = { name: 'outage', kind: 'fixed', latency_ms: 20, kbps, duration_ms }
    for (const controllerOn of [
      LOCAL.controllerOn,
      (...given: Parameters<Arm['controllerOn']>) => new RateController(...given),
    ]) {
      const { events } = simulate(material, supervised(priors, { name: 'any', controllerOn }), {
        ...{ seed, trace, plays_ms: 90_000 },
      })
      const rates = events.flatMap(event => (event.kind === 'bitrate' ? (event.target_bitrate_kbps ?? []) : []))
      expect(rates.at(-1)).toBeGreaterThanOrEqual(10_000)
    }
  })
})
