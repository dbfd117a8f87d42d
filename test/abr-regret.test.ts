/** What became of decisions: as told by the API, and as told by plain TypeScript over the same messages. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { AbrDecisionEvent, BitrateEvent, FrameTimesEvent } from '../ingest/contract/events.ts'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { migrate } from '../ingest/store/migrate.ts'
import { REGRET_IDS, type RegretId } from '../query/abr/regret-metrics.ts'
import { chance } from '../query/statistics/weights.ts'
import { type App, apiOver } from './support/app.ts'
import { type Figures, regretOf } from './support/regret.ts'
import { type DeliveredEvent, keyFor, RETENTION, Seed } from './support/seed.ts'
import { sharedServices, unique } from './support/services.ts'

const NOW_MS = Math.floor(Date.now() / 1_000) * 1_000
const FROM_MS = Math.floor(NOW_MS / 10_000) * 10_000 - 600_000
const TO_MS = FROM_MS + 300_000
const database = unique('regret')
const { key, hash } = keyFor(database)

let store: Store
let app: App
let seed: Seed
beforeAll(async () => {
  const config = { ...sharedServices().clickhouse, database }
  await migrate(config, RETENTION)
  store = openStore(config)
  seed = new Seed(store, 'a-log')
  app = apiOver(store, [hash], { now: () => NOW_MS })
})
afterAll(() => store.close())

type Regret = Record<RegretId, number | null>
interface Policy {
  readonly policy: string
  readonly policy_version: string
  readonly sessions: number
  readonly decisions: number
  readonly regret: Regret
}
interface Told {
  readonly data: Policy[]
  readonly comparison: {
    readonly a: Policy | null
    readonly b: Policy | null
    readonly regret: Record<
      RegretId,
      {
        readonly difference: { value: number; low: number | null; high: number | null } | null
        readonly verdict: string
      }
    >
    readonly rounds: number
  } | null
  readonly definitions: { readonly id: string; readonly definition_version: number }[]
  readonly meta: {
    readonly groups_total: number
    readonly sessions: number
    readonly tier: string
    readonly to: string
  }
}
const request = (query: Record<string, string | number>) => {
  const search = new URLSearchParams(
    Object.entries(query).map(([name, value]) => [name, String(value)] as [string, string]),
  )
  return app.request(`/v1/abr/regret?${search}`, { headers: { authorization: `Bearer ${key}` } })
}
const ask = async (query: Record<string, string | number>): Promise<Told> => {
  const response = await request(query)
  expect(response.status, await response.clone().text()).toBe(200)
  return (await response.json()) as Told
}

/** Somebody who speaks: with a clock of their own, a way to Kafka of their own, and a number for each message. */
class Speaker {
  readonly #session_id: string
  readonly #source: 'client' | 'controller'
  readonly #wrong_ms: number
  readonly #transit_ms: () => number
  #seq = 0

  constructor(session_id: string, source: 'client' | 'controller', wrong_ms: number, transit_ms: () => number) {
    this.#session_id = session_id
    this.#source = source
    this.#wrong_ms = wrong_ms
    this.#transit_ms = transit_ms
  }

  /** @param ended_ms when it is handed over, on the true clock */
  say(begun_ms: number, ended_ms: number, content: object): DeliveredEvent {
    const event = {
      ...{ v: 1, session_id: this.#session_id, source: this.#source, seq: this.#seq++, context: {} },
      ...{ started_at_ms: begun_ms + this.#wrong_ms, sent_at_ms: ended_ms + this.#wrong_ms },
      ...content,
    } as FrameTimesEvent | BitrateEvent | AbrDecisionEvent
    return {
      event,
      at_ms: event.started_at_ms,
      appended_at_ms: ended_ms + Math.round(this.#transit_ms()),
      clock_shift_ms: 0,
    }
  }
}

const uniform = chance(31)
const LADDER = [2_500, 5_000, 10_000, 15_000, 25_000]

/** Six minutes around the range: a policy that changes its mind now and then, frames that stutter where it is too bold. */
function sessionOf(policies: readonly string[], boldness: number): DeliveredEvent[] {
  const id = randomUUID()
  const client = new Speaker(id, 'client', Math.round(240_000 * (uniform() - 0.5)), () => 200 * uniform())
  const controller = new Speaker(id, 'controller', Math.round(5_000 * (uniform() - 0.5)), () => 50 * uniform())
  const said: DeliveredEvent[] = []
  let step = 2
  for (let ms = FROM_MS - 30_000; ms < TO_MS + 20_000; ms += 1_000) {
    const carries = 9_000 + 6_000 * Math.sin(ms / 20_000)
    if (uniform() < 0.08) {
      step = Math.max(0, Math.min(LADDER.length - 1, step + (uniform() < boldness ? 1 : -1)))
      const by = policies[Math.floor(uniform() * policies.length)] ?? ''
      const decision = controller.say(ms + Math.floor(uniform() * 900), ms + 950, {
        ...{
          kind: 'abr_decision',
          decision_id: randomUUID(),
          policy: by.split(':')[0],
          policy_version: by.split(':')[1],
        },
        ...{ to_rung: `r${step}`, target_bitrate_kbps: LADDER[step], as_of_ms: ms, reason: 'as it pleases' },
      })
      said.push(decision)
      // Said again by somebody who got no answer: later, by another number, and with other words.
      if (uniform() < 0.3)
        said.push(
          controller.say(ms + 3_000, ms + 3_100, {
            ...{ ...decision.event, target_bitrate_kbps: 1, policy: 'nobody' },
            ...{ started_at_ms: ms + 3_000, sent_at_ms: ms + 3_100 },
          }),
        )
    }
    const target = LADDER[step] ?? 0
    if (uniform() < 0.9)
      said.push(
        client.say(ms, ms + 1_000, {
          ...{ kind: 'bitrate', interval_ms: 1_000, bitrate_kbps: Math.round(Math.min(carries, target)) },
          ...(uniform() < 0.8 ? { available_kbps: Math.round(carries) } : {}),
        }),
      )
    const stutters = target > carries && uniform() < 0.3
    if (uniform() < 0.9)
      said.push(
        client.say(ms, ms + 1_000, {
          ...{ kind: 'frame_times', target_fps: 60 },
          frame_time_us: Array.from({ length: 50 }, (_, i) => (stutters && i === 30 ? 90_000 : 16_667)),
        }),
      )
  }
  return said
}

const close = (actual: number | null | undefined, expected: number | null): void => {
  if (expected === null) expect(actual).toBeNull()
  else expect(actual).toBeCloseTo(expected, 9)
}
function expectSame(told: Policy | undefined, expected: Figures | undefined): void {
  expect(told && { sessions: told.sessions, decisions: told.decisions }).toEqual(
    expected && { sessions: expected.sessions, decisions: expected.decisions },
  )
  for (const id of REGRET_IDS) close(told?.regret[id], expected?.[id] ?? null)
}

describe('regret', () => {
  const messages: DeliveredEvent[] = [
    ...Array.from({ length: 40 }, () => sessionOf(['calm:1'], 0.35)).flat(),
    ...Array.from({ length: 40 }, () => sessionOf(['bold:1'], 0.65)).flat(),
    ...Array.from({ length: 12 }, () => sessionOf(['calm:1', 'calm:2'], 0.5)).flat(),
  ]
  /** Of sessions that nobody heard of. */
  const lone = [
    ...[0, 1].map(i =>
      new Speaker(randomUUID(), 'controller', 0, () => 5).say(FROM_MS + 60_000 + i, FROM_MS + 60_100, {
        ...{ kind: 'abr_decision', decision_id: randomUUID(), policy: 'lone', policy_version: '1' },
        ...{ to_rung: 'r0', target_bitrate_kbps: 2_500 },
      }),
    ),
  ]
  let told: Told
  beforeAll(async () => {
    const all = [...messages, ...lone]
    await seed.insert(all)
    // Kafka hands some of the clients' messages over again.
    await seed.insert(
      all
        .filter(({ event }, i) => event.kind !== 'abr_decision' && i % 11 === 0)
        .map(message => ({
          ...message,
          appended_at_ms: message.appended_at_ms + 4_000,
        })),
    )
    told = await ask({ from: FROM_MS, to: TO_MS })
  })

  test('is what plain TypeScript makes of the messages: each decision once, on one clock', () => {
    const expected = regretOf([...messages, ...lone], FROM_MS, TO_MS)
    expect(told.data.map(({ policy, policy_version }) => `${policy}:${policy_version}`).sort()).toEqual(
      [...expected.keys()].sort(),
    )
    for (const policy of told.data) expectSame(policy, expected.get(`${policy.policy}:${policy.policy_version}`))
    // The test would be none if nothing ever happened.
    const bold = expected.get('bold:1')
    for (const id of REGRET_IDS) expect(bold?.[id]).toBeGreaterThan(0)
    expect(bold?.too_high_pct).toBeLessThan(100)
  })

  test('of decisions about sessions that nobody heard of is unknown, and they count', () => {
    expect(told.data.find(({ policy }) => policy === 'lone')).toEqual({
      ...{ policy: 'lone', policy_version: '1', sessions: 2, decisions: 2 },
      regret: Object.fromEntries(REGRET_IDS.map(id => [id, null])),
    })
  })

  test('says which policies there are, how many sessions, and what the figures mean', async () => {
    expect(told.meta).toMatchObject({ groups_total: 4, sessions: 94, tier: 'events' })
    expect(told.definitions.map(({ id }) => id)).toEqual([...REGRET_IDS])
    const first = await ask({ from: FROM_MS, to: TO_MS, limit: 1 })
    expect(first.data).toEqual(told.data.slice(0, 1))
    expect(first.meta.groups_total).toBe(4)
  })

  test('of two policies is compared, with intervals over sessions', async () => {
    const { comparison } = await ask({ from: FROM_MS, to: TO_MS, a: 'bold:1', b: 'calm:1' })
    const find = (name: string) =>
      told.data.find(({ policy, policy_version }) => `${policy}:${policy_version}` === name)
    const [a, b] = [find('bold:1'), find('calm:1')]
    expect(comparison?.a).toEqual(a)
    expect(comparison?.b).toEqual(b)
    for (const id of REGRET_IDS) {
      const { difference } = comparison?.regret[id] ?? { difference: null }
      close(difference?.value, (a?.regret[id] ?? 0) - (b?.regret[id] ?? 0))
      expect(difference?.low).toBeLessThan(difference?.value ?? Number.NaN)
      expect(difference?.high).toBeGreaterThan(difference?.value ?? Number.NaN)
    }
    // The bold one was made to be too high, and to leave less unused.
    expect(comparison?.regret.too_high_pct.verdict).toBe('worse')
    expect(comparison?.regret.headroom_unused_pct.verdict).toBe('better')
    expect(comparison?.regret.data_gb_per_hour.verdict).toBe('different')
    expect(comparison?.rounds).toBe(1_000)
  })

  test('of a policy against itself shows no difference', async () => {
    const { comparison } = await ask({ from: FROM_MS, to: TO_MS, a: 'calm:1', b: 'calm:1' })
    for (const id of REGRET_IDS) expect(comparison?.regret[id].verdict).toBe('no_difference_shown')
  })

  test('of too few sessions, or of nobody, is not compared', async () => {
    const few = await ask({ from: FROM_MS, to: TO_MS, a: 'calm:2', b: 'calm:1' })
    expect(few.comparison?.regret.too_high_pct).toMatchObject({ verdict: 'too_few' })
    expect(few.comparison?.regret.too_high_pct.difference?.low).toBeNull()
    const nobody = await ask({ from: FROM_MS, to: TO_MS, a: 'none:1', b: 'calm:1' })
    expect(nobody.comparison).toMatchObject({ a: null, rounds: 0, regret: { too_high_pct: { difference: null } } })
  })

  test('counts decisions up to those whose ten seconds have passed', async () => {
    const late = new Speaker(randomUUID(), 'controller', 0, () => 0)
    const at = (before_ms: number) =>
      late.say(NOW_MS - before_ms, NOW_MS - before_ms, {
        ...{ kind: 'abr_decision', decision_id: randomUUID(), policy: 'late', policy_version: '1' },
        ...{ to_rung: 'r0', target_bitrate_kbps: 2_500 },
      })
    await seed.insert([at(20_000), at(14_000), at(1_000)])
    const { data, meta } = await ask({ from: 'now-1m', to: 'now' })
    expect(data.find(({ policy }) => policy === 'late')?.decisions).toBe(1)
    expect(Date.parse(meta.to)).toBe(NOW_MS - 15_000)
    expect((await ask({ from: 'now-5s', to: 'now' })).data).toEqual([])
  })

  test.each([
    [{ a: 'calm:1' }, 'b', 'bad_parameter', 400],
    [{ b: 'calm:1' }, 'a', 'bad_parameter', 400],
    [{ a: 'calm', b: 'calm:1' }, 'a', 'bad_parameter', 400],
    [{ a: ':1', b: 'calm:1' }, 'a', 'bad_parameter', 400],
    [{ from: 'now-7h' }, 'from', 'too_expensive', 422],
    [{ policy: 'calm' }, 'policy', 'unknown_parameter', 400],
  ])('is refused for %o', async (query, parameter, code, status) => {
    const response = await request(query as Record<string, string>)
    expect(response.status).toBe(status)
    expect(await response.json()).toMatchObject({ code, parameter })
  })
})
