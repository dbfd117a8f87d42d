/**
 * Regret as the ledger tells it against what the simulator knows to be true: policies that are wrong on purpose, over lines whose width is
 * known, by people who play in virtual time. What happened is told exactly; what would have fitted only as far as anybody can measure.
 */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { CONTRACT_VERSION, type QualityEvent } from '../ingest/contract/events.ts'
import type { Controller, Rung } from '../local/fleet/controller.ts'
import { readMaterial } from '../local/fleet/fleet.ts'
import { Session } from '../local/fleet/session.ts'
import type { Trace } from '../local/fleet/traces.ts'
import { eventOf } from '../local/loop/simulate.ts'
import type { RegretId } from '../query/abr/regret-metrics.ts'
import { AskedApi } from './support/ask.ts'
import { sharedServices, unique } from './support/services.ts'

const NOW_MS = Math.floor(Date.now() / 10_000) * 10_000
const FROM_MS = NOW_MS - 300_000
const PLAYS_MS = 120_000
const EVERY_MS = 10_000
const PEOPLE = 4
/** Nobody can use more than the widest step. */
const TOP_KBPS = 25_000

/** Over a line of that many times the trace, what is asked for in each period of ten seconds. */
const POLICIES = {
  bold: { line_kbps: 5_000, target: () => TOP_KBPS },
  timid: { line_kbps: 200_000, target: () => 1_000 },
  middling: { line_kbps: 200_000, target: () => 10_000 },
  restless: { line_kbps: 200_000, target: (period: number) => (period % 2 === 0 ? 10_000 : 15_000) },
  right: { line_kbps: 200_000, target: () => TOP_KBPS },
} as const
type Policy = keyof typeof POLICIES

/** What nobody but the simulator can know. */
interface Truth {
  decisions: number
  /** Decisions for more than the line carried. */
  too_high: number
  turns: number
  usable: number
  unused: number
}

/** Asks for what it is told to, and reports what a probe of twice as much would get through. */
class Scripted implements Controller {
  readonly rung: Rung = { name: 'any', kbps: TOP_KBPS, width: 1_920, height: 1_080 }
  rate_kbps: number
  available_kbps: number
  capacity_kbps = 0

  constructor(rate_kbps: number) {
    this.rate_kbps = rate_kbps
    this.available_kbps = rate_kbps
  }
  onFeedback(): void {}
  onSecond(capacity_kbps: number): void {
    this.capacity_kbps = capacity_kbps
    this.available_kbps = Math.min(capacity_kbps, 2 * this.rate_kbps)
  }
  limit(): void {}
  takeSwitches = (): number => 0
}

const material = readMaterial()
const lineOf = (kbps: number): Trace => ({
  ...{ name: 'steady', kind: 'fixed', latency_ms: 20, duration_ms: [1_000], kbps: [kbps] },
})
/** Over a healthy line and host: whatever is wrong then is the policy's. */
function* healthy(): Generator<number> {
  for (let seed = 0; ; seed++) {
    const { context, network } = new Session(seed, 0, material)
    const spoilt = context.isp === 'metrocable' || context.host === 'ecl-h05' || context.client_version === '5.1.2'
    if (network === 'fixed' && context.access === 'ethernet' && !spoilt) yield seed
  }
}
const people = healthy()

function play(policy: Policy, truth: Truth): QualityEvent[] {
  const { line_kbps, target } = POLICIES[policy]
  const controller = new Scripted(target(0))
  const session = new Session(people.next().value as number, FROM_MS, material, {
    ...{ trace: lineOf(line_kbps), plays_ms: PLAYS_MS },
    controllerOn: () => controller,
  })
  const events: QualityEvent[] = []
  let [seq, period, before_kbps] = [0, 0, target(0)]
  for (let now_ms = FROM_MS + 1_000; !session.ended; now_ms += 1_000) {
    for (const { source, draft } of session.tick(now_ms)) events.push(eventOf(session, source, seq++, draft, now_ms))
    if (period > 0 && controller.capacity_kbps > 0) {
      const usable = Math.min(TOP_KBPS, controller.capacity_kbps)
      truth.usable += usable
      truth.unused += Math.max(0, usable - controller.rate_kbps)
    }
    if (controller.capacity_kbps === 0 || session.ended || now_ms < FROM_MS + EVERY_MS * (period + 1)) continue
    controller.rate_kbps = target(period)
    events.push({
      ...{ v: CONTRACT_VERSION, kind: 'abr_decision', session_id: session.id, source: 'controller', seq: period },
      ...{ context: session.context, started_at_ms: now_ms, sent_at_ms: now_ms, decision_id: randomUUID() },
      ...{ policy, policy_version: '1', to_rung: 'any', target_bitrate_kbps: controller.rate_kbps },
    })
    truth.decisions++
    if (controller.rate_kbps > controller.capacity_kbps) truth.too_high++
    if (controller.rate_kbps !== before_kbps && period > 1) truth.turns++
    before_kbps = controller.rate_kbps
    period++
  }
  return events
}

let api: AskedApi
const truths = new Map<Policy, Truth>()
const regrets = new Map<string, Readonly<Record<RegretId, number>> & { readonly decisions: number }>()

beforeAll(async () => {
  const events: QualityEvent[] = []
  for (const policy of Object.keys(POLICIES) as Policy[]) {
    const truth = { decisions: 0, too_high: 0, turns: 0, usable: 0, unused: 0 }
    for (let person = 0; person < PEOPLE; person++) events.push(...play(policy, truth))
    truths.set(policy, truth)
  }
  api = await AskedApi.start(sharedServices().clickhouse, unique('loop_regret'), NOW_MS)
  await api.insert(events)
  const query = { from: FROM_MS, to: NOW_MS - 60_000 }
  const { data } = await api.get<{ policy: string; decisions: number; regret: Record<RegretId, number> }>(
    '/v1/abr/regret',
    query,
  )
  for (const { policy, decisions, regret } of data) regrets.set(policy, { decisions, ...regret })
})
afterAll(() => api?.close())

const told = (policy: Policy) => regrets.get(policy)
const true_ = (policy: Policy) => truths.get(policy) as Truth

test('every decision is told, once', () => {
  for (const [policy, { decisions }] of truths) expect([policy, told(policy)?.decisions]).toEqual([policy, decisions])
})

test('too high: who asked for more than the line carries is found out, each time, and nobody else', () => {
  for (const [policy, { too_high, decisions }] of truths) {
    const pct = told(policy)?.too_high_pct ?? Number.NaN
    expect(too_high).toBe(policy === 'bold' ? decisions : 0)
    // Games hitch by themselves now and then.
    if (policy === 'bold') expect(pct).toBeGreaterThan(95)
    else expect(pct).toBeLessThan(20)
  }
})

test('oscillation: turns back, as often as they were made', () => {
  for (const [policy, { turns, decisions }] of truths) {
    const minutes = (decisions * EVERY_MS) / 60_000
    expect(told(policy)?.reversals_per_minute).toBeCloseTo(turns / minutes, 0)
  }
  expect(true_('restless').turns).toBeGreaterThan(PEOPLE * 5)
})

test('too low: in the order of the truth, and never more than it, since nobody can measure what was not sent', () => {
  const share = (policy: Policy): number => (100 * true_(policy).unused) / true_(policy).usable
  const order = (['right', 'restless', 'middling', 'timid'] as const).map(policy => ({
    truth: share(policy),
    ledger: told(policy)?.headroom_unused_pct ?? Number.NaN,
  }))
  for (const of of ['truth', 'ledger'] as const)
    expect(order.map(one => one[of])).toEqual(order.map(one => one[of]).sort((a, b) => a - b))
  for (const { truth, ledger } of order) expect(ledger).toBeLessThan(truth + 1)
  // Twice as much is what a probe sees.
  expect(told('timid')?.headroom_unused_pct).toBeCloseTo(50, 0)
  expect(share('timid')).toBeCloseTo(96, 0)
  expect(told('bold')?.headroom_unused_pct).toBe(0)
})
