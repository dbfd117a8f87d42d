/**
 * The closed loop in virtual time: people and traces the same in every arm, a fair rival, and a supervised controller. What came of it is in
 * closed-loop-arms.test.ts, what the ledger makes of it in closed-loop-regret.test.ts.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { check } from '../ingest/contract/check.ts'
import { ladderFor } from '../local/fleet/controller.ts'
import { readMaterial } from '../local/fleet/fleet.ts'
import { Session } from '../local/fleet/session.ts'
import type { Trace } from '../local/fleet/traces.ts'
import { FIXED, LEAST, LOCAL } from '../local/loop/arms.ts'
import { GccController } from '../local/loop/gcc.ts'
import { strataOf, tracesOf } from '../local/loop/scenario.ts'
import { type Arm, type Play, simulate } from '../local/loop/simulate.ts'
import { ladderOf, Supervision } from '../local/loop/supervision.ts'

const material = readMaterial()
const development = tracesOf(material, 'development')
const steady = (kbps: number): Trace => ({ ...development[0], kbps: [kbps], duration_ms: [1_000] }) as Trace
const person = (kind: Trace['kind'], from = 0): number => {
  let seed = from
  while (new Session(seed, 0, material).network !== kind) seed++
  return seed
}

describe('the halves of the traces', () => {
  test('have nothing in common, leave nothing out, and have every kind of network', () => {
    const report = tracesOf(material, 'report')
    expect(new Set([...development, ...report]).size).toBe(material.traces.length)
    expect(development.length).toBe(report.length)
    for (const half of [development, report]) expect(new Set(half.map(({ kind }) => kind)).size).toBe(3)
  })

  test('count as much as their networks do in the fleet', () => {
    const weights = strataOf(material, development).flat()
    expect(weights.reduce((sum, { weight }) => sum + weight, 0)).toBeCloseTo(1)
    const fixed = weights.filter(({ trace }) => trace.startsWith('fixed/'))
    expect(fixed.reduce((sum, { weight }) => sum + weight, 0)).toBeCloseTo(0.8, 1)
  })
})

describe('a session', () => {
  const play: Play = {
    seed: person('4g'),
    trace: development.find(({ kind }) => kind === '4g') as Trace,
    plays_ms: 20_000,
  }

  test('is the same again, says nothing that the contract refuses, and plays to its end', () => {
    const { events, outcome } = simulate(material, LOCAL, play)
    expect(simulate(material, LOCAL, play).events).toEqual(events)
    for (const event of events) expect(check(Buffer.from(JSON.stringify(event)))).toMatchObject({ event })
    expect((outcome.start.shown_us + outcome.after.shown_us) / 1e6).toBeGreaterThan(18)
    expect(events.at(-1)).toMatchObject({ kind: 'session', state: 'ended' })
  })

  test('is the same in every arm where the arms do the same', () => {
    const same: Arm = { ...LEAST, name: 'the same' }
    expect(simulate(material, same, play).outcome).toEqual(simulate(material, LEAST, play).outcome)
    const [one, other] = [FIXED, LOCAL].map(arm =>
      simulate(material, arm, play).events.filter(({ kind }) => kind === 'session'),
    )
    expect(one).toEqual(other)
  })
})

describe('the controller', () => {
  const ladder = ladderFor(60, 25_000)
  const steps = fc.array(
    fc.record({
      packets: fc.integer({ min: 1, max: 500 }),
      lost: fc.double({ min: 0, max: 1, noNaN: true }),
      queued_us: fc.integer({ min: 0, max: 1_000_000 }),
      carried_kbps: fc.integer({ min: 0, max: 60_000 }),
      limit: fc.constantFrom(...ladder.map(({ kbps }) => kbps)),
    }),
    { minLength: 1, maxLength: 200 },
  )

  test('asks for no more than its limit and its ladder, and never for less than the lowest rung', () => {
    fc.assert(
      fc.property(steps, feedback => {
        const controller = new GccController(ladder)
        for (const [i, { lost, limit, ...rest }] of feedback.entries()) {
          if (i % 10 === 0) {
            controller.limit(limit)
            controller.onSecond(rest.carried_kbps)
          }
          controller.onFeedback({ ...rest, packets_dropped: Math.floor(lost * rest.packets) })
          expect(controller.rate_kbps).toBeGreaterThanOrEqual(1_000)
          if (i % 10 === 0) expect(controller.rate_kbps).toBeLessThanOrEqual(limit)
          expect(controller.rung.kbps).toBeLessThanOrEqual(25_000)
        }
      }),
    )
  })

  test('backs off to 0.85 of what arrives when the queue grows, to less when much is lost, and grows by 8 % a second', () => {
    const controller = new GccController(ladder, 10_000)
    const calm = { packets: 100, packets_dropped: 0, queued_us: 5_000, carried_kbps: 9_000 }
    for (let i = 0; i < 10; i++) controller.onFeedback(calm)
    expect(controller.available_kbps / 10_000).toBeCloseTo(1.08, 2)
    for (let i = 0; i < 5; i++) controller.onFeedback({ ...calm, carried_kbps: 6_000 })
    controller.onFeedback({ ...calm, carried_kbps: 6_000, queued_us: 60_000 })
    expect(controller.available_kbps).toBeCloseTo(0.85 * 6_000, 0)
    const before = controller.available_kbps
    controller.onFeedback({ ...calm, packets_dropped: 50, queued_us: 60_000 })
    expect(controller.available_kbps).toBeCloseTo(0.75 * before, 0)
  })

  test('finds what a steady line carries and stays near it: a fair rival', () => {
    const seed = person('fixed')
    const { outcome } = simulate(material, LOCAL, { seed, trace: steady(4_000), plays_ms: 90_000 })
    const { kbit, sent_ms, freeze_us, shown_us } = outcome.after
    const most = new Session(seed, 0, material).ladder.at(-1)?.kbps ?? 0
    expect((1_000 * kbit) / sent_ms).toBeGreaterThan(0.6 * Math.min(4_000, most))
    expect(freeze_us / shown_us).toBeLessThan(0.01)
  })
})

test('a supervised controller is assigned a rung, told apart from what it does below it', () => {
  const ladder = ladderFor(60, 25_000)
  const supervision = new Supervision(ladderOf(ladder), { rung: 'x', target_bitrate_kbps: 12_000 }, 1_000)
  const controller = supervision.over(new GccController(ladder, supervision.start_kbps))
  for (let i = 0; i < 50; i++)
    controller.onFeedback({ packets: 100, packets_dropped: 60, queued_us: 1_000 * i, carried_kbps: 1_000 })
  controller.onSecond(1_000)
  expect(controller.rung.kbps).toBeLessThan(10_000)
  expect(supervision.standing(6_000)).toEqual({ rung: '1080p60-10m', since_ms: 5_000, switches_last_minute: 0 })
  const step = { rung: '720p60-5m', target_bitrate_kbps: 5_000 }
  expect(supervision.heed(step, 7_000)).toMatchObject({ from: { name: '1080p60-10m' }, to: { name: '720p60-5m' } })
  expect(supervision.heed(step, 8_000)).toBeUndefined()
  expect(supervision.standing(9_000)).toEqual({ rung: '720p60-5m', since_ms: 2_000, switches_last_minute: 1 })
  expect(supervision.standing(70_000).switches_last_minute).toBe(0)
  expect(controller.rate_kbps).toBeLessThanOrEqual(5_000)
})
