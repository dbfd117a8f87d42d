/**
 * Alerts fire: each rule, as it is committed, over a data set that must wake somebody and over one that must not, by running its SQL on a
 * real ClickHouse and holding the number against its bound.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { BURNS, OBJECTIVES, SESSIONS_MIN } from '../dashboards/grafana/alerts/objectives.ts'
import { OUT, rules } from '../dashboards/grafana/files.ts'
import { type AlertRuleFile, rulesShape } from '../dashboards/grafana/lint.ts'
import type { QualityEvent } from '../ingest/contract/events.ts'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { migrate } from '../ingest/store/migrate.ts'
import { sessionId } from './support/events.ts'
import { expanded, type Run, runOn } from './support/grafana.ts'
import { type DeliveredEvent, RETENTION, type RefusedMessage, Seed, settleAll } from './support/seed.ts'
import { sharedServices, unique } from './support/services.ts'

const [SECOND_MS, MINUTE_MS, HOUR_MS] = [1_000, 60_000, 3_600_000]
const NOW = Math.floor(Date.now() / 1_000) * 1_000
const text = readFileSync(join(import.meta.dirname, '..', OUT, 'provisioning/alerting/rules.yaml'), 'utf8')
const RULES: readonly AlertRuleFile[] = rulesShape.parse(parse(text)).groups.flatMap(group => group.rules)

const stores: Store[] = []
afterAll(() => Promise.all(stores.map(store => store.close())))

interface Place {
  readonly store: Store
  readonly run: Run
  readonly seed: Seed
}
async function empty(name: string): Promise<Place> {
  const config = { ...sharedServices().clickhouse, database: unique(name) }
  await migrate(config, RETENTION)
  const store = openStore(config)
  stores.push(store)
  return { store, run: runOn(config), seed: new Seed(store, `${name}#1`) }
}
type Content = QualityEvent | RefusedMessage | DeliveredEvent
async function holding(name: string, contents: readonly Content[]): Promise<Place> {
  const place = await empty(name)
  await place.seed.insert(contents)
  await settleAll(place.store, (NOW - 80 * HOUR_MS) / SECOND_MS)
  return place
}

/** Whether the rule's number lies beyond its bound, evaluated at `to_ms`. */
async function fires({ run }: Place, uid: string, to_ms = NOW): Promise<boolean> {
  const rule = RULES.find(one => one.uid === uid)
  if (!rule) throw new Error(`no rule ${uid}`)
  const [{ relativeTimeRange, model }, { model: threshold }] = rule.data
  const range = { from_ms: to_ms - relativeTimeRange.from * SECOND_MS, to_ms }
  const { data } = await run(expanded(model.rawSql, {}, range))
  const value = data[0]?.[0] ?? null
  const [above = Number.NaN] = threshold.conditions[0]?.evaluator.params ?? []
  return value !== null && Number(value) > above
}

interface Playing {
  readonly first: number
  readonly start_ms: number
  readonly bad: boolean
  readonly sessions?: number
  readonly lost?: boolean
}
const SECONDS = 80
/** Sessions that start and play evenly; or that freeze, stutter, and of which every second one does not start. */
const fleet = ({ first, start_ms, bad, sessions = SESSIONS_MIN + 5, lost = false }: Playing): QualityEvent[] =>
  Array.from({ length: sessions }, (_, i) => {
    const envelope = (seq: number, at_ms: number) => ({
      ...{ v: 1 as const, session_id: sessionId(first + i), source: 'client' as const, seq, context: {} },
      ...{ started_at_ms: at_ms, sent_at_ms: at_ms + 1 },
    })
    const connecting = { ...envelope(0, start_ms), kind: 'session' as const, state: 'connecting' as const }
    if (bad && i % 2 === 1)
      return [
        connecting,
        {
          ...envelope(1, start_ms + SECOND_MS),
          kind: 'session' as const,
          state: 'ended' as const,
          end_reason: 'timeout' as const,
        },
      ]
    const even = Array<number>(60).fill(16_667)
    const seconds = Array.from({ length: SECONDS }, (_, s) => ({
      ...envelope(s + 1, start_ms + s * SECOND_MS),
      kind: 'frame_times' as const,
      target_fps: 60,
      frame_time_us: bad && s % 2 === 0 ? [...even.slice(0, 30), 400_000, ...Array<number>(8).fill(60_000)] : even,
    }))
    return [connecting, ...(lost ? seconds.filter((_, s) => s % 10 !== 3) : seconds)]
  }).flat()

describe('objectives', () => {
  const uids = OBJECTIVES.flatMap(({ uid }) => BURNS.map(({ suffix }) => `${uid}-${suffix}`))
  const recently = NOW - 4.5 * MINUTE_MS
  let good: Place
  let bad: Place
  let over: Place
  let few: Place
  beforeAll(async () => {
    good = await holding('good', fleet({ first: 0, start_ms: recently, bad: false }))
    bad = await holding('bad', fleet({ first: 0, start_ms: recently, bad: true }))
    few = await holding('few', fleet({ first: 0, start_ms: recently, bad: true, sessions: SESSIONS_MIN - 1 }))
    over = await holding('over', [
      ...fleet({ first: 100, start_ms: NOW - 4 * HOUR_MS, bad: true }),
      ...fleet({ first: 0, start_ms: recently, bad: false }),
    ])
  })

  test('every objective has its three rules', () => {
    const pipeline = ['nothing-stored', 'not-fresh', 'refused', 'offsets-off', 'incomplete', 'not-settled']
    expect(RULES.map(({ uid }) => uid)).toEqual([...uids, ...pipeline])
  })

  test.each(uids)('%s fires while it is bad, and not where all is well, or hardly anybody plays', async uid => {
    expect(await fires(bad, uid)).toBe(true)
    expect(await fires(good, uid)).toBe(false)
    expect(await fires(few, uid)).toBe(false)
  })

  test.each(OBJECTIVES)('$uid: what is over wakes nobody, but is a ticket', async ({ uid }) => {
    expect(await fires(over, `${uid}-fast`)).toBe(false)
    expect(await fires(over, `${uid}-slow`)).toBe(false)
    expect(await fires(over, `${uid}-ticket`)).toBe(true)
  })

  test('no bound lies where its number cannot get', () => {
    for (const { uid, above, most } of rules(RETENTION)) if (most !== undefined) expect(above, uid).toBeLessThan(most)
  })
})

describe('the pipeline', () => {
  const minutesAgo = (minutes: number, more: Partial<Playing> = {}) =>
    fleet({ first: 0, start_ms: NOW - minutes * MINUTE_MS, bad: false, sessions: 5, ...more })
  const atOnce = (events: readonly QualityEvent[]): DeliveredEvent[] =>
    events.map(event => ({ event, at_ms: event.started_at_ms, appended_at_ms: Date.now(), clock_shift_ms: 0 }))
  const refused = (count: number): RefusedMessage[] =>
    Array.from({ length: count }, () => ({
      refusal: { reason: 'not_json', detail: '' },
      ...{ key: 'k', bytes: Buffer.from('{'), appended_at_ms: NOW },
    }))

  test('nothing-stored', async () => {
    const place = await holding('silent', minutesAgo(5))
    expect(await fires(place, 'nothing-stored', Date.now())).toBe(false)
    expect(await fires(place, 'nothing-stored', Date.now() + 10 * MINUTE_MS)).toBe(true)
    expect(await fires(place, 'nothing-stored', Date.now() + 10 * HOUR_MS), 'it goes on all night').toBe(true)
    expect(await fires(place, 'nothing-stored', Date.now() + 30 * HOUR_MS), 'given up').toBe(false)
    expect(await fires(await empty('never'), 'nothing-stored')).toBe(false)
  })

  test('not-fresh', async () => {
    expect(await fires(await holding('late', minutesAgo(5)), 'not-fresh')).toBe(true)
    expect(await fires(await holding('behind', minutesAgo(90)), 'not-fresh'), 'far behind').toBe(true)
    expect(await fires(await holding('fresh', atOnce(minutesAgo(5))), 'not-fresh')).toBe(false)
  })

  test('refused', async () => {
    expect(await fires(await holding('refused', [...minutesAgo(5), ...refused(20)]), 'refused')).toBe(true)
    expect(await fires(await holding('accepted', [...minutesAgo(5), ...refused(1)]), 'refused')).toBe(false)
  })

  test('offsets-off', async () => {
    const place = await holding('offsets', minutesAgo(5))
    expect(await fires(place, 'offsets-off')).toBe(false)
    await place.store.command('DELETE FROM events_v1 WHERE kafka_offset = 7')
    expect(await fires(place, 'offsets-off')).toBe(true)
  })

  test('incomplete', async () => {
    expect(await fires(await holding('lossy', minutesAgo(10, { lost: true })), 'incomplete')).toBe(true)
    expect(await fires(await holding('complete', minutesAgo(10)), 'incomplete')).toBe(false)
  })

  test('not-settled', async () => {
    const place = await empty('unsettled')
    await place.seed.insert(minutesAgo(20))
    expect(await fires(place, 'not-settled')).toBe(true)
    await settleAll(place.store, (NOW - HOUR_MS) / SECOND_MS)
    expect(await fires(place, 'not-settled')).toBe(false)
  })
})
