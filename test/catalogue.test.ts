/**
 * Every metric of the catalogue is what the events themselves give, by the words of its definition: from each tier, for each group, in
 * each step, however the events arrived and however often.
 */

import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { BitrateEvent, FrameTimesEvent, QualityEvent } from '../ingest/contract/events.ts'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { keepClasses } from '../ingest/store/experience/classes.ts'
import { type Classes, DEFAULT_CLASSES } from '../ingest/store/experience/g1072.ts'
import { migrate, readMigrations } from '../ingest/store/migrate.ts'
import { due10s } from '../ingest/store/settle.ts'
import { ANSWER_TIERS, type AnswerTier, METRIC_IDS, METRICS, type MetricId } from '../query/metrics/catalogue.ts'
import { createAsk } from '../query/metrics/question.ts'
import { everyMetricSql } from '../query/metrics/questions.ts'
import { groupedSql } from '../query/metrics/sql.ts'
import { type App, apiOver } from './support/app.ts'
import { sessionId } from './support/events.ts'
import { deliveredOf, session, uint } from './support/players.ts'
import { framesOf, grouped, longestShare, recomputed, type Scores, type Stored, sum } from './support/recompute.ts'
import { keyFor, RETENTION, Seed, settleAll } from './support/seed.ts'
import { sharedServices, unique } from './support/services.ts'
import { shuffled } from './support/shuffled.ts'

const MINUTE_MS = 60_000
const NOW = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS
/** Each group of tests has minutes of its own. */
const START = NOW - 240 * MINUTE_MS
const { key, hash } = keyFor('catalogue tests')

let store: Store
let seed: Seed
let app: App

const CLASSES = { chess: { video: 'low', interaction: 'low' } } as const
const classesOf = (game: string): Classes => (game === 'chess' ? CLASSES.chess : DEFAULT_CLASSES)

beforeAll(async () => {
  const config = { ...sharedServices().clickhouse, database: unique('catalogue') }
  await migrate(config, RETENTION)
  store = openStore(config)
  await keepClasses(store, CLASSES)
  seed = new Seed(store, 'catalogue#1')
  app = apiOver(store, [hash], { now: () => NOW })
})
afterAll(() => store?.close())

interface Body {
  data: Record<string, unknown>[]
  meta: Record<string, unknown>
}
type Query = Readonly<Record<string, string | number>>
const request = (path: string, query: Query = {}) =>
  app.request(
    `${path}?${new URLSearchParams(Object.entries(query).map(([name, value]): [string, string] => [name, String(value)]))}`,
    {
      headers: { authorization: `Bearer ${key}` },
    },
  )
async function get(path: string, query: Query = {}): Promise<Body> {
  const response = await request(path, query)
  expect(response.status, await response.clone().text()).toBe(200)
  return (await response.json()) as Body
}

interface Range {
  readonly from: number
  readonly to: number
}
/** Ranges here are whole minutes. Hours hold the same columns (tiers.test.ts), from which follow the same metrics. */
const MINUTE_TIERS = ANSWER_TIERS.filter(tier => tier !== 'hour')

const METRICS_BY = { overall: {}, game: { label: 'toString(game)' } } as const

/** Every metric that the tier can answer, per group under its label and step under its start. */
async function scores(tier: AnswerTier, range: Range, by: keyof typeof METRICS_BY, step_s?: number) {
  const ask = createAsk(store, () => {})
  const [from, to] = [range.from / 1_000, range.to / 1_000]
  const sql = groupedSql({
    tier,
    where: { sql: '1', session_sql: '1' },
    keys: { ...METRICS_BY[by], ...(step_s ? { t: `intDiv(toUnixTimestamp(t), ${step_s}) * ${step_s}` } : {}) },
    values: { metrics: everyMetricSql(true, tier) },
    ...(step_s ? { covered_s: String(step_s) } : {}),
  })
  const row = z.object({
    label: z.string().default(''),
    t: z.number().default(from),
    metrics: z.array(z.number().nullable()),
  })
  const rows = await ask({ id: 'catalogue_test', sql, params: { from, to, cut: to }, row })
  return new Map(rows.map(({ label, t, metrics }) => [`${label} ${t}`, metrics]))
}

/** Expected beside measured, of the fleet that was generated last. */
const shown: Record<string, Record<string, number | null>> = {}
afterAll(() => console.table(shown))

/** Metrics that had a value somewhere: a property of nothing but nulls would hold as well. */
const seen = new Set<MetricId>()

function expectMetrics(tier: AnswerTier, actual: readonly (number | null)[], wanted: Scores, frames: number[]): void {
  for (const [i, id] of METRIC_IDS.entries()) {
    const value = actual[i] ?? null
    if (value !== null && value !== 0) seen.add(id)
    if (METRICS[id].tiers.includes(tier)) expectMetric(id, value, wanted[id], `${tier} ${id}`, frames)
    else expect(value, `${tier} ${id}`).toBeNull()
  }
}

/** Exact, but for the last digits of a division; a percentile within 1 %. */
function expectMetric(
  id: MetricId,
  actual: number | null,
  wanted: number | null,
  what: string,
  frames: number[],
): void {
  if (wanted === null || actual === null) {
    expect(actual, what).toBe(wanted)
    return
  }
  if (id === 'fps_low1') {
    const [low, high] = [1e6 / longestShare(frames, 0.0099), 1e6 / longestShare(frames, 0.0101)]
    expect(actual, what).toBeGreaterThanOrEqual(low * 0.99)
    expect(actual, what).toBeLessThanOrEqual(high * 1.01)
    return
  }
  const tolerance = METRICS[id].definition.includes('within 1 %') ? 0.01 : 1e-9
  expect(Math.abs(actual - wanted), `${what}: ${actual}, not ${wanted}`).toBeLessThanOrEqual(
    tolerance * Math.abs(wanted),
  )
}

const gameOf = ({ event }: Stored): string => event.context.game ?? ''
const STEP_S = 60
const stepOf = ({ at_ms }: Stored): number => Math.floor(at_ms / 1_000 / STEP_S) * STEP_S

/** Every tier against the events, as a whole, by game, and by game and minute. */
async function expectEverything(stored: readonly Stored[], range: Range): Promise<void> {
  const covered_s = (range.to - range.from) / 1_000
  for (const tier of MINUTE_TIERS) {
    for (const [by, step_s, keyOf] of [
      ['overall', undefined, () => ` ${range.from / 1_000}`],
      ['game', undefined, (one: Stored) => `${gameOf(one)} ${range.from / 1_000}`],
      ['game', STEP_S, (one: Stored) => `${gameOf(one)} ${stepOf(one)}`],
    ] as const) {
      const groups = grouped(stored, keyOf)
      const found = await scores(tier, range, by, step_s)
      expect(new Set(found.keys())).toEqual(new Set(groups.keys()))
      for (const [group, members] of groups) {
        const wanted = recomputed(members, { covered_s: step_s ?? covered_s, one_session: true, classesOf })
        const times = framesOf(distinctEvents(members)).map(({ us }) => us)
        const actual = found.get(group) ?? []
        if (by === 'overall')
          for (const [i, id] of METRIC_IDS.entries())
            shown[id] = { ...shown[id], expected: wanted[id], [tier]: actual[i] ?? null }
        expectMetrics(tier, actual, wanted, times)
      }
    }
  }
}
const distinctEvents = (stored: readonly Stored[]): QualityEvent[] =>
  [...grouped(stored, ({ event }) => `${event.session_id} ${event.seq}`).values()].flatMap(([first]) =>
    first ? [first.event] : [],
  )

describe('every metric', () => {
  test('is what generated events give, from each tier, by game and by minute, in any order, and when they are sent again', async () => {
    let from = START
    await fc.assert(
      fc.asyncProperty(fc.array(session, { minLength: 4, maxLength: 7 }), uint(1_000), async (players, order) => {
        const range = { from, to: from + 4 * MINUTE_MS }
        from = range.to
        const delivered = shuffled(
          players.flatMap(player => deliveredOf(player, range.from)),
          order,
        )
        if (delivered.length === 0) return
        await seed.insert(delivered)
        await settleAll(store, range.from / 1_000)
        await expectEverything(delivered, range)
        const again = shuffled(delivered, order + 1)
          .filter((_, i) => i % 4 === 0)
          .map(one => ({ ...one, appended_at_ms: one.appended_at_ms + 90_000 }))
        await seed.insert(again)
        await settleAll(store, range.from / 1_000)
        await expectEverything([...delivered, ...again], range)
      }),
      { numRuns: 4, seed: 20_261_122, endOnFailure: true },
    )
    expect([...seen].sort()).toEqual([...METRIC_IDS].sort())
  }, 300_000)
})

const envelope = (n: number, seq: number, at_ms: number, context = {}) => ({
  v: 1 as const,
  session_id: sessionId(n),
  source: 'client' as const,
  seq,
  started_at_ms: at_ms,
  sent_at_ms: at_ms + 1_000,
  context,
})
/** A second of 60 even frames and what its network said. */
function secondOf(n: number, i: number, from: number, rate: Partial<BitrateEvent>, of: Partial<FrameTimesEvent> = {}) {
  const at_ms = from + i * 1_000
  return [
    {
      ...envelope(n, 2 * i, at_ms),
      kind: 'frame_times',
      target_fps: 60,
      frame_time_us: Array<number>(60).fill(16_667),
      ...of,
    },
    { ...envelope(n, 2 * i + 1, at_ms), kind: 'bitrate', interval_ms: 1_000, bitrate_kbps: 20_000, ...rate },
  ] as QualityEvent[]
}
const MEASURED = { width: 1_920, height: 1_080, encoded_fps: 60, rtt_us: 20_000 }
const secondsOf = (
  n: number,
  from: number,
  count: number,
  rate: (i: number) => Partial<BitrateEvent>,
): QualityEvent[] => Array.from({ length: count }, (_, i) => secondOf(n, i, from, rate(i))).flat()

describe('an answer about opinion scores', () => {
  const from = NOW - 30 * MINUTE_MS
  const range = { from, to: from + 2 * MINUTE_MS }
  beforeAll(async () => {
    await seed.insert([
      // Two minutes well inside the model, a minute outside, ten seconds nobody measured, four seconds of a session.
      ...secondsOf(1, from, 120, () => MEASURED),
      ...secondsOf(2, from, 60, () => ({ ...MEASURED, encoded_fps: 120, rtt_us: 500_000 })),
      ...secondsOf(3, from, 10, () => ({ encoded_fps: 60 })),
      ...secondsOf(4, from, 4, () => MEASURED),
    ])
    await settleAll(store, from / 1_000)
  })

  test.each(['mos_avg', 'mos_p5', 'mos_below_3_pct'])(
    'as %s counts what was scored, what lies outside the model, and why the rest has none',
    async id => {
      for (const tier of MINUTE_TIERS)
        expect((await get(`/v1/metrics/${id}`, { ...range, tier })).meta.model).toEqual({
          scored: 12,
          outside: 6,
          unscored: 2,
          flags: {
            'out_of_range:fps': 6,
            'out_of_range:rtt': 6,
            'missing:resolution': 1,
            'missing:rtt': 1,
            too_short: 1,
          },
        })
    },
  )

  test('leaves out what is outside the model', async () => {
    const { data } = await get('/v1/metrics/mos_avg', range)
    const { data: inside } = await get('/v1/metrics/mos_avg', { ...range, filter: `session_id:${sessionId(1)}` })
    expect(data).toEqual(inside)
    expect(data[0]).toMatchObject({ n: 12, value: expect.closeTo(4.41, 1) })
    expect((await get('/v1/metrics/mos_avg', { ...range, filter: `session_id:${sessionId(2)}` })).data).toEqual([
      { value: null, reason: 'no_data', n: 0 },
    ])
  })

  test('as good_session_pct counts the sessions that were judged without a score', async () => {
    const { data, meta } = await get('/v1/metrics/good_session_pct', range)
    expect(data).toEqual([{ value: 100, n: 2 }])
    expect(meta.model).toMatchObject({ sessions_unscored: 1 })
  })

  test('about other things says nothing of them', async () => {
    expect((await get('/v1/metrics/fps_avg', range)).meta.model).toBeUndefined()
  })
})

describe('a breakdown by rung', () => {
  const from = NOW - 40 * MINUTE_MS
  const range = { from, to: from + MINUTE_MS }
  const [high, low] = ['1080p60-15m', "720p60'\\8m"]
  beforeAll(async () => {
    const counted = (lost: number) => ({ packets_received: 1_000 - lost, packets_lost: lost })
    await seed.insert([
      // 17 s at one rung, 3 at the other, of which the second ten seconds have both; then 10 s that name none.
      ...secondsOf(5, from, 20, i => (i < 17 ? { rung: high, ...counted(10) } : { rung: low, ...counted(40) })),
      ...secondsOf(6, from, 10, i => ({ ...(i < 9 ? {} : { packets_lost: 5 }) })),
    ])
    await settleAll(store, from / 1_000)
  })

  test.each(MINUTE_TIERS)('shares out time, stutter and loss by %s; what names no rung is null', async tier => {
    const by = async (id: MetricId) => {
      const { data, meta } = await get(`/v1/metrics/${id}/breakdown`, { ...range, tier, by: 'rung' })
      expect(meta.groups_total).toBe(data.length)
      return Object.fromEntries(data.map(({ rung, ...row }) => [String(rung), row]))
    }
    const time = await by('rung_time_share_pct')
    expect(time).toMatchObject({
      [high]: { value: expect.closeTo((100 * 17) / 30, 9), n: 17, sessions: 1, frames: 1_200 },
      [low]: { value: expect.closeTo(10, 9), n: 3, sessions: 1, frames: 0 },
      null: { value: expect.closeTo(100 / 3, 9), n: 10, sessions: 1, frames: 600 },
    })
    const loss = await by('packet_loss_pct')
    expect(loss).toMatchObject({
      [high]: { value: 1, n: 17_000 },
      [low]: { value: 4, n: 3_000 },
      null: { value: null },
    })
    expect(sum(Object.values(loss).map(({ share_of_bad }) => Number(share_of_bad)))).toBeCloseTo(1, 9)
    expect(await by('stutter_time_pct')).toMatchObject({
      [high]: { value: 0 },
      [low]: { value: null },
      null: { value: 0 },
    })
  })

  test('is for what is known by rung', async () => {
    const response = await request('/v1/metrics/fps_avg/breakdown', { ...range, by: 'rung' })
    expect(await response.json()).toMatchObject({ status: 400, code: 'bad_parameter', parameter: 'by' })
    const impact = await request('/v1/metrics/rung_time_share_pct/breakdown', { ...range, by: 'rung', order: 'impact' })
    expect(await impact.json()).toMatchObject({ status: 400, code: 'bad_order', parameter: 'order' })
  })
})

describe('sessions at a time', () => {
  const from = NOW - 50 * MINUTE_MS
  const range = { from, to: from + 2 * MINUTE_MS }
  beforeAll(async () => {
    await seed.insert([
      ...secondsOf(7, from, 60, () => ({})),
      ...secondsOf(8, from + 50_000, 10, () => ({})),
      ...secondsOf(9, from + 50_000, 20, () => ({})),
    ])
    await settleAll(store, from / 1_000)
  })

  test('are the mean over the ten seconds of the range, or of each step as far as it lies in the range', async () => {
    for (const tier of MINUTE_TIERS)
      expect((await get('/v1/metrics/concurrent_sessions', { ...range, tier })).data).toEqual([
        { value: expect.closeTo(9 / 12, 9), n: 9 },
      ])
    const half = { from: from + 30_000, to: from + 90_000, step: '1m' }
    const { data } = await get('/v1/metrics/concurrent_sessions/timeseries', half)
    expect(data.map(({ value }) => value)).toEqual([expect.closeTo(5 / 3, 9), expect.closeTo(1 / 3, 9)])
  })

  test('have a peak, which minutes have forgotten', async () => {
    const peak = { value: 3, n: 9 }
    for (const tier of METRICS.concurrent_sessions_max.tiers)
      expect((await get('/v1/metrics/concurrent_sessions_max', { ...range, tier })).data).toEqual([peak])
    const refused = await request('/v1/metrics/concurrent_sessions_max', { ...range, tier: 'minute' })
    expect(await refused.json()).toMatchObject({ status: 400, code: 'bad_tier', parameter: 'tier' })
    // A range that minutes would answer.
    const long = await get('/v1/metrics/concurrent_sessions_max', {
      from: from - 180 * MINUTE_MS,
      to: from + 3_600_000,
    })
    expect(long.meta.tier).toBe('10s')
  })
})

describe('the catalogue', () => {
  test('publishes each metric whole, and the classes of games that scores stand on', async () => {
    const response = await request('/v1/metrics')
    const { data, game_classes } = (await response.json()) as Body & { game_classes: unknown }
    expect(data.map(({ id }) => id)).toEqual(METRIC_IDS)
    for (const metric of data) {
      expect(metric).toMatchObject({ definition_version: 1, unit: expect.any(String), better: expect.any(String) })
      expect(String(metric.definition)).toMatch(/\.$/)
    }
    expect(data.find(({ id }) => id === 'concurrent_sessions_max')).toMatchObject({ tiers: ['events', '10s'] })
    expect(data.filter(({ by_rung }) => by_rung).map(({ id }) => id)).toEqual([
      'stutter_time_pct',
      'rung_time_share_pct',
      'packet_loss_pct',
    ])
    expect(game_classes).toEqual([{ game: 'chess', video: 'low', interaction: 'low' }])
  })

  test('holds no figure of refused messages: those have no session', () => {
    expect(METRIC_IDS.filter(id => id.includes('reject'))).toEqual([])
  })
})

describe('a migration that adds to cells', () => {
  test('has every bucket settled again whose events are still there, and keeps the others as they are', async () => {
    const before = await store.query<{ n: number }>('SELECT count() AS n FROM settled_v1 FINAL')
    expect(before[0]?.n).toBeGreaterThan(0)
    const last = readMigrations().find(({ name }) => name === '004_catalogue')
    for (const statement of last?.statements ?? []) await store.command(statement)
    const cells = () =>
      store.query('SELECT toString(tuple(* EXCEPT settled_at)) AS cell FROM quality_per_10s_v1 FINAL ORDER BY cell')
    const cellsBefore = await cells()
    expect(await due10s(store, START / 1_000)).not.toEqual([])
    await settleAll(store, START / 1_000)
    expect(await due10s(store, START / 1_000)).toEqual([])
    expect(await cells()).toEqual(cellsBefore)
  })
})
