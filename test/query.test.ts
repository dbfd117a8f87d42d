/**
 * What the API says about quality: the same number as the events themselves give, from each tier, for whomever and whenever is asked.
 * Everything over HTTP's own functions, on the real ClickHouse, from rows that were stored and settled as in production.
 */

import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BitrateEvent, FrameTimesEvent, QualityEvent } from '../ingest/contract/events.ts'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { migrate } from '../ingest/store/migrate.ts'
import { cutOf, settledOf } from '../query/metrics/answer.ts'
import { ANSWER_TIERS, type AnswerTier, METRIC_IDS, METRICS, type MetricId } from '../query/metrics/catalogue.ts'
import { conditionOf, type Dimension, parseFilter } from '../query/metrics/filter.ts'
import { createAsk } from '../query/metrics/question.ts'
import { everyMetricSql, paramsOf } from '../query/metrics/questions.ts'
import { chooseWindow } from '../query/metrics/range.ts'
import { groupedSql } from '../query/metrics/sql.ts'
import { type App, apiOver } from './support/app.ts'
import { eventOf, sessionId } from './support/events.ts'
import { framesOf, grouped, r7, recomputed as recomputedOf, type Scores, type Stored } from './support/recompute.ts'
import { keyFor, RETENTION, Seed, settleAll } from './support/seed.ts'
import { sharedServices, unique } from './support/services.ts'

const MINUTE_MS = 60_000
const NOW = Date.now()
/** Each group of tests has minutes of its own. */
const START = Math.floor(NOW / (10 * MINUTE_MS)) * 10 * MINUTE_MS - 30 * MINUTE_MS
const { key, hash } = keyFor('query tests')

interface Body {
  data: Record<string, unknown>[]
  dimensions?: { id: string; values: string[] }[]
  meta: Record<string, unknown>
}
type Problem = Record<string, unknown>
type Query = Readonly<Record<string, string | number | readonly string[]>>

let store: Store
let seed: Seed
let app: App

beforeAll(async () => {
  const { clickhouse } = sharedServices()
  const config = { ...clickhouse, database: unique('query') }
  await migrate(config, RETENTION)
  store = openStore(config)
  seed = new Seed(store, 'query#1')
  app = apiOver(store, [hash], { now: () => NOW })
  await seed.insert([...fleet, ...oddities])
  await settleAll(store, START / 1_000 - 3_600)
})

afterAll(() => store?.close())

async function request(path: string, query: Query = {}): Promise<Response> {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) for (const one of [value].flat()) search.append(name, String(one))
  return app.request(`${path}?${search}`, { headers: { authorization: `Bearer ${key}` } })
}
async function get(path: string, query: Query = {}): Promise<Body> {
  const response = await request(path, query)
  expect(response.status, await response.clone().text()).toBe(200)
  return (await response.json()) as Body
}
async function refused(path: string, query: Query = {}): Promise<Problem> {
  const response = await request(path, query)
  expect(response.headers.get('content-type')).toBe('application/problem+json')
  const problem = (await response.json()) as Problem
  expect(problem.status).toBe(response.status)
  return problem
}

const envelope = (n: number, source: 'client' | 'host', seq: number, at_ms: number, context = {}) => ({
  v: 1 as const,
  session_id: sessionId(n),
  source,
  seq,
  started_at_ms: at_ms,
  sent_at_ms: at_ms + 1_000,
  context,
})
const framesAt = (
  n: number,
  seq: number,
  at_ms: number,
  rest: Partial<FrameTimesEvent>,
  context = {},
): FrameTimesEvent => ({
  ...envelope(n, 'client', seq, at_ms, context),
  kind: 'frame_times',
  target_fps: 60,
  frame_time_us: [],
  ...rest,
})
const bitrateAt = (n: number, seq: number, at_ms: number, rest: Partial<BitrateEvent>, context = {}): BitrateEvent => ({
  ...envelope(n, 'host', seq, at_ms, context),
  kind: 'bitrate',
  interval_ms: 1_000,
  bitrate_kbps: 8_000,
  ...rest,
})

/** Six minutes of eight ordinary players. */
const MINUTES = 6
const RANGE = { from: START, to: START + MINUTES * MINUTE_MS }
const fleet = Array.from({ length: 8 }, (_, n) =>
  Array.from({ length: MINUTES * 120 }, (_, seq) => eventOf(n, seq, START)),
).flat()

/** Values that would do harm if anything but a parameter carried them. */
const NASTY = {
  region: `a,b:c'"\\d`,
  isp: "x' OR 1=1 --",
  game: '{from:UInt32} %25 $__all ☃ \\n',
  experiment: "']; SELECT 1; --",
}

/** What ordinary players do not do. */
const oddities: QualityEvent[] = [
  // Paused, empty, 24 fps inside 60, a frame that never ended, seconds lost on the way.
  framesAt(20, 0, START + 1_000, { frame_time_us: [900_000, 16_667], paused: true }),
  framesAt(20, 1, START + 2_000, {}),
  framesAt(20, 4, START + 61_000, { frame_time_us: Array(24).fill(41_667), frames_dropped: 0 }),
  framesAt(20, 9, START + 95_500, { frame_time_us: [16_667], open_frame_us: 700_000, final: true }),
  framesAt(20, 11, START + 96_500, { frame_time_us: [16_666, 8_333], open_frame_us: 5_000_000, frames_generated: 1 }),
  // A speaker of bitrate alone, whose rounds trips are too short to measure.
  ...Array.from({ length: 30 }, (_, i) =>
    bitrateAt(
      21,
      i * 2,
      START + i * 1_000,
      { rtt_us: i < 3 ? 0 : 1_000 + i, interval_ms: 500 + i, bitrate_kbps: i * 100 },
      NASTY,
    ),
  ),
  { ...envelope(22, 'client', 0, START + 5_000), kind: 'session', state: 'connecting' },
  { ...envelope(22, 'client', 1, START + 6_000), kind: 'session', state: 'first_frame', startup_ms: 840 },
  framesAt(22, 2, START + 7_000, { frame_time_us: Array(50).fill(16_000) }, { codec: 'av1' }),
  { ...envelope(22, 'client', 3, START + 130_000), kind: 'session', state: 'ended', end_reason: 'network' },
]
const everything = [...fleet, ...oddities]

/** As the seed stores them, with no word of what was sent again. */
const storedOf = (events: readonly QualityEvent[]): Stored[] =>
  events.map(event => ({
    event,
    at_ms: event.started_at_ms,
    appended_at_ms: event.sent_at_ms + 40,
    clock_shift_ms: 0,
  }))
const recomputed = (events: readonly QualityEvent[], one_session = false, range: Range = RANGE): Scores =>
  recomputedOf(storedOf(events), { covered_s: (range.to - range.from) / 1_000, one_session })
/** Metrics that every tier can answer. */
const EVERYWHERE = METRIC_IDS.filter(id => METRICS[id].tiers.length === ANSWER_TIERS.length)

type Range = { readonly from: number; readonly to: number }

/** Every metric at once, by the API's own question; per group, if there are any, under the JSON of its dimensions. */
async function scores(tier: AnswerTier, range: Range, filters: readonly string[] = [], by: readonly Dimension[] = []) {
  const asked = { from: { at_ms: range.from }, to: { at_ms: range.to }, tier }
  const window = chooseWindow(asked, NOW, RETENTION)
  const condition = conditionOf(filters.map(parseFilter))
  const desk = { ask: createAsk(store, () => {}), retention: RETENTION, now: () => NOW }
  const cut = cutOf(window, await settledOf(desk, window))
  const keys = Object.fromEntries(by.map(name => [name, name]))
  const sql = groupedSql({ tier, where: condition, keys, values: { metrics: everyMetricSql(false) } })
  const rows = await store.query<Record<string, string> & { metrics: (number | null)[] }>(
    sql,
    paramsOf({ window, cut, condition }),
  )
  return new Map(
    rows.map(({ metrics, ...row }) => [
      JSON.stringify(by.map(name => row[name])),
      Object.fromEntries(METRIC_IDS.map((id, i) => [id, metrics[i] ?? null])) as Scores,
    ]),
  )
}

describe('a metric', () => {
  const wanted = recomputed(everything)
  const found = new Map<AnswerTier, Scores | undefined>()
  beforeAll(async () => {
    for (const tier of ANSWER_TIERS) found.set(tier, (await scores(tier, RANGE)).get('[]'))
  })

  test.each(EVERYWHERE)('%s is what the events themselves give, the same from every tier', id => {
    for (const tier of ANSWER_TIERS) {
      // A mean over the range, which the hour tier snaps to whole hours.
      if (id === 'concurrent_sessions' && tier === 'hour') continue
      expectMetric(id, found.get(tier)?.[id], wanted[id])
      expect(found.get(tier)?.[id]).toBe(found.get('events')?.[id])
    }
  })

  test.each(EVERYWHERE)('%s is that number over HTTP', async id => {
    const { data, meta } = await get(`/v1/metrics/${id}`, RANGE)
    const value = found.get('10s')?.[id] ?? null
    expect(data).toEqual([{ value, n: expect.any(Number), ...(value === null ? { reason: expect.any(String) } : {}) }])
    const { unit, definition_version } = METRICS[id]
    const frames = framesOf(everything).length
    expect(meta).toMatchObject({ metric: id, unit, definition_version, tier: '10s', sessions: 11, frames })
    expect(meta.completeness_pct).toBe(found.get('10s')?.completeness_pct)
  })

  test('is the same number from every tier, over any whole minutes and for anybody', async () => {
    for (const [first, length, filters] of [
      [1, 3, ['region:eu-west']],
      [0, 2, ['!access:wifi', 'isp:isp-1', 'isp:isp-2']],
      [2, 4, ['!codec:av1']],
    ] as const) {
      const range = { from: START + first * MINUTE_MS, to: START + (first + length) * MINUTE_MS }
      const [events, fine, minute] = await Promise.all(ANSWER_TIERS.map(tier => scores(tier, range, filters)))
      expect(events?.size).toBe(1)
      expect(fine).toEqual(events)
      expect(minute).toEqual(events)
    }
  })

  test('of each group is what that group’s events give', async () => {
    const keyOf = ({ context }: QualityEvent) => JSON.stringify([context.region ?? '', context.game ?? ''])
    const groups = grouped(everything, keyOf)
    const answer = await scores('minute', RANGE, [], ['region', 'game'])
    expect(new Set(answer.keys())).toEqual(new Set(groups.keys()))
    for (const [group, events] of groups) {
      const wanted = recomputed(events)
      for (const id of EVERYWHERE) expectMetric(id, answer.get(group)?.[id], wanted[id])
    }
    const { data } = await get('/v1/metrics/fps_avg/breakdown', { ...RANGE, by: 'region,game' })
    for (const row of data)
      expect(row.value).toBe(answer.get(JSON.stringify([row.region ?? '', row.game ?? '']))?.fps_avg)
  })

  test('over time is, step by step, what it is over that step', async () => {
    for (const id of ['frame_time_p95_us', 'stutter_time_pct', 'bitrate_p50_kbps', 'sessions'] as const) {
      const { data } = await get(`/v1/metrics/${id}/timeseries`, { ...RANGE, step: '2m' })
      expect(data.map(point => point.t)).toEqual([0, 2, 4].map(m => new Date(START + m * MINUTE_MS).toISOString()))
      for (const { t, ...point } of data) {
        const from = Date.parse(String(t))
        const { data: over } = await get(`/v1/metrics/${id}`, { from, to: from + 2 * MINUTE_MS })
        expect(over).toEqual([point])
      }
    }
  })

  test('adds up: what is counted is the same however it is divided, by time or by anything', async () => {
    const total = recomputed(everything).session_minutes ?? 0
    const sum = (rows: Body['data'], field: string) => rows.reduce((all, row) => all + Number(row[field] ?? 0), 0)
    for (const step of ['10s', '30s', '1m', '2m', '1h']) {
      const { data } = await get('/v1/metrics/session_minutes/timeseries', { ...RANGE, step })
      expect(sum(data, 'value')).toBeCloseTo(total, 9)
    }
    for (const by of ['region', 'codec', 'isp,access']) {
      const { data } = await get('/v1/metrics/stutter_time_pct/breakdown', { ...RANGE, by, order: 'impact' })
      expect(sum(data, 'share_of_bad')).toBeCloseTo(1, 9)
      expect(sum(data, 'frames')).toBe(framesOf(everything).length)
      const { data: series } = await get('/v1/metrics/session_minutes/timeseries', {
        ...RANGE,
        step: '1m',
        group_by: by,
      })
      expect(sum(series, 'value')).toBeCloseTo(total, 9)
    }
  })

  test('changes by nothing when events are sent again', async () => {
    const before = await Promise.all(
      ANSWER_TIERS.map(tier => get('/v1/metrics/stutters_per_minute', { ...RANGE, tier })),
    )
    await seed.insert(everything.filter((_, i) => i % 3 === 0))
    await settleAll(store, START / 1_000 - 3_600)
    for (const [i, tier] of ANSWER_TIERS.entries()) {
      const { data, meta } = await get('/v1/metrics/stutters_per_minute', { ...RANGE, tier })
      expect({ data, sessions: meta.sessions, frames: meta.frames, completeness_pct: meta.completeness_pct }).toEqual({
        data: before[i]?.data,
        sessions: before[i]?.meta.sessions,
        frames: before[i]?.meta.frames,
        completeness_pct: before[i]?.meta.completeness_pct,
      })
    }
  })

  test('that nobody reported is null with its reason, never zero', async () => {
    const few = { ...RANGE, filter: 'codec:av1' }
    const value = async (id: MetricId, query: Query) => (await get(`/v1/metrics/${id}`, query)).data
    expect(await value('frame_time_p95_us', few)).toEqual([{ value: null, reason: 'too_few_values', n: 50 }])
    expect(await value('frames_dropped_pct', few)).toEqual([{ value: null, reason: 'not_reported', n: 50 }])
    expect(await value('bitrate_avg_kbps', few)).toEqual([{ value: null, reason: 'no_data', n: 0 }])
  })

  test('asked for one session is answered from however few values', async () => {
    const { data } = await get('/v1/metrics/frame_time_p99_us', { ...RANGE, filter: `session_id:${sessionId(22)}` })
    expect(data).toEqual([{ value: 16_000, n: 50 }])
  })
})

describe('percentiles from buckets', () => {
  test('stay within 1 % of the exact ones, whatever the values', async () => {
    const at = START - 20 * MINUTE_MS
    const times = fc.array(fc.integer({ min: 100, max: 60_000_000 }), { minLength: 1, maxLength: 60 })
    let n = 0
    const cases = fc.sample(times, { numRuns: 15, seed: 7 }).map(frame_time_us => ({ n: 100 + n++, frame_time_us }))
    await seed.insert(cases.map(({ n, frame_time_us }) => framesAt(n, 0, at, { frame_time_us })))
    await settleAll(store, at / 1_000)
    for (const { n, frame_time_us } of cases) {
      const { data } = await get(`/v1/sessions/${sessionId(n)}`)
      const metrics = data[0]?.metrics as Record<string, number>
      for (const [id, p] of [
        ['frame_time_p50_us', 0.5],
        ['frame_time_p95_us', 0.95],
        ['frame_time_p99_us', 0.99],
      ] as const) {
        const exact = r7(frame_time_us, p)
        expect(Math.abs((metrics[id] ?? Number.NaN) - exact) / exact).toBeLessThan(0.01)
      }
    }
  })
})

describe('a filter', () => {
  const context = (event: QualityEvent) => event.context as Record<string, string | undefined>

  test.each(Object.entries(NASTY))(
    'on %s finds exactly %j, whatever it could mean elsewhere',
    async (dimension, value) => {
      const { data, meta } = await get('/v1/metrics/bitrate_avg_kbps', { ...RANGE, filter: `${dimension}:${value}` })
      const events = everything.filter(event => context(event)[dimension] === value)
      expectMetric('bitrate_avg_kbps', data[0]?.value, recomputed(events).bitrate_avg_kbps)
      expect(meta.sessions).toBe(1)
    },
  )

  test('on what nobody said finds nothing', async () => {
    for (const value of ["'", '\\', '%', 'eu-west,us-east', "eu-west' OR '1'='1", '{from}', '\u0000', 'eu-west\n'])
      expect((await get('/v1/metrics/fps_avg', { ...RANGE, filter: `region:${value}` })).data).toEqual([])
  })

  test('selects as it reads: or within a dimension, and between them, ! leaves out', async () => {
    const values = {
      access: ['ethernet', 'wifi', 'cellular', ''],
      isp: ['isp-0', 'isp-1', 'isp-2', NASTY.isp],
      game: ['game-1', ''],
    }
    const filter = fc.constantFrom(...Object.entries(values).flatMap(([d, vs]) => vs.map(v => [d, v] as const)))
    const filters = fc.array(fc.tuple(filter, fc.boolean()), { maxLength: 5 })
    await fc.assert(
      fc.asyncProperty(filters, async chosen => {
        const selected = everything.filter(event =>
          Object.keys(values).every(dimension => {
            const said = context(event)[dimension] ?? ''
            const given = chosen.filter(([[d]]) => d === dimension)
            const only = given.filter(([, exclude]) => !exclude).map(([[, v]]) => v)
            const never = given.filter(([, exclude]) => exclude).map(([[, v]]) => v)
            return (only.length === 0 || only.includes(said)) && !never.includes(said)
          }),
        )
        const { data } = await get('/v1/metrics/sessions', {
          ...RANGE,
          filter: chosen.map(([[dimension, value], exclude]) => `${exclude ? '!' : ''}${dimension}:${value}`),
        })
        const expected = new Set(selected.map(event => event.session_id)).size
        expect(data).toEqual(expected === 0 ? [] : [{ value: expected, n: expected }])
      }),
      { numRuns: 20 },
    )
  })

  test('on what a session said of itself before it said otherwise does not find it any more', async () => {
    const at = START - 25 * MINUTE_MS
    const range = { from: at, to: at + MINUTE_MS }
    await seed.insert([framesAt(60, 0, at, { frame_time_us: [16_000] }, { device: 'A' })])
    await settleAll(store, at / 1_000)
    expect((await get('/v1/metrics/sessions', { ...range, filter: 'device:A' })).data).toHaveLength(1)
    await seed.insert([framesAt(60, 1, at + 1_000, { frame_time_us: [16_000] }, { device: 'B' })])
    await settleAll(store, at / 1_000)
    expect((await get('/v1/metrics/sessions', { ...range, filter: 'device:A' })).data).toEqual([])
    expect((await get('/v1/metrics/sessions', { ...range, filter: 'device:B' })).data).toHaveLength(1)
  })
})

describe('the minute tier', () => {
  const at = START - 10 * MINUTE_MS
  const events = [40, 41].flatMap(n => Array.from({ length: 360 }, (_, seq) => eventOf(n, seq, at)))
  const range = { from: at, to: at + 4 * MINUTE_MS }
  const expectSame = async (): Promise<void> => {
    const [fine, minute] = await Promise.all([scores('10s', range), scores('minute', range)])
    expect(fine.size).toBe(1)
    expect(minute).toEqual(fine)
  }

  test('has its tail: minutes that are not settled yet are answered from ten-second cells', async () => {
    await seed.insert(events)
    await settleAll(store, at / 1_000, at / 1_000 + 120)
    await expectSame()
    const { data } = await get('/v1/metrics/sessions/timeseries', { ...range, tier: 'minute', step: '1m' })
    expect(data.map(point => point.value)).toEqual([2, 2, 2, null])
  })

  test('knows late events of a minute that was settled before they came', async () => {
    await seed.insert([framesAt(42, 0, at + 5_000, { frame_time_us: [70_000, 80_000] })])
    await settleAll(store, at / 1_000, at / 1_000)
    await expectSame()
    await settleAll(store, at / 1_000)
    await expectSame()
  })
})

describe('time', () => {
  test('without anybody in it is an empty list', async () => {
    const empty = { from: START - 50 * MINUTE_MS, to: START - 45 * MINUTE_MS }
    for (const path of ['fps_avg', 'sessions', 'fps_avg/timeseries', 'sessions/timeseries?group_by=region']) {
      const [route = '', query = ''] = path.split('?')
      const extra = Object.fromEntries(new URLSearchParams(query))
      const { data, meta } = await get(`/v1/metrics/${route}`, { ...empty, ...extra })
      expect(data).toEqual([])
      expect(meta).toMatchObject({ sessions: 0, frames: 0, cells: 0, completeness_pct: null, as_of: null })
    }
    expect((await get('/v1/metrics/fps_avg/breakdown', { ...empty, by: 'region' })).data).toEqual([])
    expect((await get('/v1/rejects', empty)).data).toEqual([])
  })

  test('with nobody in a step has a null there, in each series', async () => {
    const range = { from: START + 4 * MINUTE_MS, to: START + 8 * MINUTE_MS, step: '1m' }
    const { data } = await get('/v1/metrics/fps_avg/timeseries', {
      ...range,
      group_by: 'access',
      filter: 'region:eu-west',
    })
    expect(data).toHaveLength(3 * 4)
    for (const { t, value } of data) expect(value === null).toBe(Date.parse(String(t)) >= START + 6 * MINUTE_MS)
  })

  test('is snapped outward, and the answer says to what', async () => {
    const { meta } = await get('/v1/metrics/fps_avg', { from: START + 12_345, to: START + 61_001 })
    expect(meta).toMatchObject({
      from: new Date(START + 10_000).toISOString(),
      to: new Date(START + 70_000).toISOString(),
      tier: '10s',
      step_s: null,
    })
    const coarse = await get('/v1/metrics/fps_avg', { from: START + 12_345, to: START + 61_001, tier: 'minute' })
    expect(coarse.meta).toMatchObject({
      from: new Date(START).toISOString(),
      to: new Date(START + 120_000).toISOString(),
    })
  })

  test('as_of is the newest event behind the answer, and complete says whether all that is stored is in it', async () => {
    const at = START - 15 * MINUTE_MS
    const range = { from: at, to: at + MINUTE_MS }
    await seed.insert([framesAt(50, 0, at + 3_000, { frame_time_us: [16_000] })])
    const unsettled = await get('/v1/metrics/fps_avg', range)
    expect(unsettled).toMatchObject({ data: [], meta: { complete: false, as_of: null } })
    await settleAll(store, at / 1_000)
    const settled = await get('/v1/metrics/fps_avg', range)
    const newest = new Date(at + 3_000 + 1_000 + 40).toISOString()
    expect(settled.meta).toMatchObject({ complete: true, as_of: newest, frames: 1, sessions: 1, cells: 1 })
    expect(settled.meta.ingest_lag_ms).toBeGreaterThan(0)
    await seed.insert([framesAt(50, 1, at + 9_000, { frame_time_us: [16_000] })])
    const grown = await get('/v1/metrics/fps_avg', range)
    expect(grown).toMatchObject({ data: [{ n: 1 }], meta: { complete: false } })
    const live = await get('/v1/metrics/fps_avg', { ...range, tier: 'events' })
    expect(live).toMatchObject({ data: [{ n: 2 }], meta: { as_of: new Date(at + 10_040).toISOString() } })
    expect((await get('/v1/metrics/fps_avg', { from: 'now-5m', to: 'now' })).meta.complete).toBe(false)
  })
})

describe('a breakdown', () => {
  test('shows the worst first, or those who hold most of the harm, and says how many it left out', async () => {
    const worst = await get('/v1/metrics/fps_avg/breakdown', { ...RANGE, by: 'isp' })
    const values = worst.data.map(row => row.value).filter(value => value !== null)
    expect(values).toEqual([...values].sort((a, b) => Number(a) - Number(b)))
    expect(worst.data.every(row => row.share_of_bad === null)).toBe(true)
    const impact = await get('/v1/metrics/stutter_time_pct/breakdown', { ...RANGE, by: 'isp', limit: 3 })
    const shares = impact.data.map(row => Number(row.share_of_bad))
    expect(shares).toHaveLength(3)
    expect(shares).toEqual([...shares].sort((a, b) => b - a))
    expect(impact.meta.groups_total).toBe(worst.data.length)
  })

  test('calls what is unknown null', async () => {
    const { data } = await get('/v1/metrics/sessions/breakdown', { ...RANGE, by: 'access' })
    expect(data.find(row => row.access === null)?.value).toBe(3)
  })

  test('over time shows the largest groups, each with all its steps', async () => {
    const { data, meta } = await get('/v1/metrics/fps_avg/timeseries', {
      ...RANGE,
      group_by: 'game,access',
      limit: 2,
      step: '1m',
    })
    expect(data).toHaveLength(2 * MINUTES)
    expect(new Set(data.map(({ game, access }) => `${game} ${access}`)).size).toBe(2)
    expect(Number(meta.groups_total)).toBeGreaterThan(2)
  })
})

describe('a session', () => {
  test('is told as a whole: who, how it began and ended, every metric, and what deserves a look', async () => {
    const { data, meta } = await get(`/v1/sessions/${sessionId(22)}`)
    expect(data).toHaveLength(1)
    expect(data[0]).toMatchObject({
      session_id: sessionId(22),
      context: { codec: 'av1', game: null },
      started_at: new Date(START + 5_000).toISOString(),
      last_seen_at: new Date(START + 130_000).toISOString(),
      state: 'ended',
      end_reason: 'network',
      startup_ms: 840,
      flags: ['no_bitrate', 'unexpected_end'],
    })
    expect(meta).toMatchObject({ tier: '10s', sessions: 1, frames: 50, complete: true })
    const range = { from: Date.parse(String(meta.from)), to: Date.parse(String(meta.to)) }
    const expected = recomputed(
      everything.filter(event => event.session_id === sessionId(22)),
      true,
      range,
    )
    const metrics = (data[0]?.metrics ?? {}) as Record<string, unknown>
    // What was sent again depends on the tests before.
    for (const id of METRIC_IDS.filter(id => id !== 'resent_pct')) expectMetric(id, metrics[id], expected[id])
  })

  test('of an hour is answered from minutes, and from ten-second cells where those are behind', async () => {
    const at = START - 150 * MINUTE_MS
    const events = Array.from({ length: 61 }, (_, i) =>
      framesAt(80, i, at + i * MINUTE_MS, { frame_time_us: Array(30).fill(16_000 + i) }),
    )
    await seed.insert(events)
    await settleAll(store, at / 1_000, at / 1_000 + 50 * 60)
    const { data, meta } = await get(`/v1/sessions/${sessionId(80)}`)
    expect(meta).toMatchObject({ tier: 'minute', frames: 61 * 30, from: new Date(at).toISOString() })
    const metrics = (data[0]?.metrics ?? {}) as Record<string, unknown>
    const range = { from: Date.parse(String(meta.from)), to: Date.parse(String(meta.to)) }
    const expected = recomputed(events, true, range)
    for (const id of EVERYWHERE) expectMetric(id, metrics[id], expected[id])
  })

  test('that fell silent and lost events says so', async () => {
    const { data } = await get(`/v1/sessions/${sessionId(20)}`)
    expect(data[0]).toMatchObject({ state: null, flags: ['no_bitrate', 'incomplete', 'silent'] })
  })

  test('that began a moment ago is answered from its events', async () => {
    await seed.insert([framesAt(70, 0, NOW - 1_000, { frame_time_us: [16_000, 17_000] })])
    const { data, meta } = await get(`/v1/sessions/${sessionId(70)}`)
    expect(meta).toMatchObject({ tier: 'events', frames: 2, complete: false })
    expect(data[0]).toMatchObject({ session_id: sessionId(70), flags: ['no_bitrate'] })
  })

  test('nobody has heard of is 404', async () => {
    expect(await refused(`/v1/sessions/${sessionId(999)}`)).toMatchObject({ status: 404, code: 'unknown_session' })
  })
})

describe('refused messages', () => {
  test('are counted by reason, with the newest of each as samples', async () => {
    const at = START - 40 * MINUTE_MS
    const message = (i: number) => ({
      refusal:
        i < 7
          ? { reason: 'bad_shape' as const, detail: 'frame_time_us: must be array' }
          : { reason: 'not_json' as const, detail: 'malformed JSON' },
      key: `key-${i}`,
      bytes: Buffer.from(i < 7 ? '{"frame_time_us":"<script>"}' : '\x00\\ÿ'),
      appended_at_ms: at + i * 1_000,
    })
    await seed.insert(Array.from({ length: 8 }, (_, i) => message(i)))
    const { data } = await get('/v1/rejects', { from: at, to: at + MINUTE_MS })
    expect(data.map(({ reason, count }) => [reason, count])).toEqual([
      ['bad_shape', 7],
      ['not_json', 1],
    ])
    const [shape, json] = data as { first_at: string; last_at: string; samples: Record<string, unknown>[] }[]
    expect(shape).toMatchObject({ first_at: new Date(at).toISOString(), last_at: new Date(at + 6_000).toISOString() })
    expect(shape?.samples.map(sample => sample.key)).toEqual(['key-6', 'key-5', 'key-4', 'key-3', 'key-2'])
    expect(shape?.samples[0]).toMatchObject({
      log_id: 'query#1',
      kafka_partition: 0,
      detail: 'frame_time_us: must be array',
    })
    expect(json?.samples[0]).toMatchObject({ bytes: '\\x00\\\\\\xc3\\xbf', bytes_total: 4 })
  })
})

describe('the catalogue', () => {
  test('tells every metric, and every dimension with the values it has', async () => {
    const { data, dimensions } = await get('/v1/metrics')
    expect(data.map(metric => metric.id)).toEqual(METRIC_IDS)
    expect(data[0]).toMatchObject({ unit: 'fps', better: 'higher', definition_version: 1, tiers: [...ANSWER_TIERS] })
    expect(dimensions?.find(({ id }) => id === 'access')?.values).toEqual(['cellular', 'ethernet', 'wifi'])
    expect(dimensions?.find(({ id }) => id === 'game')?.values).toContain(NASTY.game)
  })
})

describe('a question that cannot be answered as put names what is wrong with it', () => {
  test.each([
    ['/v1/metrics/fps_average', {}, 404, 'unknown_metric', 'id'],
    ['/v1/metrics/fps_average/timeseries', {}, 404, 'unknown_metric', 'id'],
    ['/v1/metrics/constructor', {}, 404, 'unknown_metric', 'id'],
    ['/v1/metrics/fps_avg', { from: 'yesterday' }, 400, 'bad_time', 'from'],
    ['/v1/metrics/fps_avg', { to: '2026-01-01T00:00:00' }, 400, 'bad_time', 'to'],
    ['/v1/metrics/fps_avg', { from: ['now-1h', 'now-2h'] }, 400, 'bad_time', 'from'],
    ['/v1/metrics/fps_avg', { from: 'now', to: 'now-1h' }, 400, 'bad_range', 'from'],
    ['/v1/metrics/fps_avg', { tier: 'day' }, 400, 'bad_tier', 'tier'],
    ['/v1/metrics/fps_avg', { filter: 'continent:europe' }, 400, 'unknown_dimension', 'filter'],
    ['/v1/metrics/fps_avg', { filter: 'region' }, 400, 'bad_filter', 'filter'],
    ['/v1/metrics/fps_avg', { filter: ['region:a', "session_id:' OR 1"] }, 400, 'bad_session_id', 'filter'],
    ['/v1/metrics/fps_avg', { group_by: 'region' }, 400, 'unknown_parameter', 'group_by'],
    ['/v1/metrics/fps_avg', { "x'; --": '1' }, 400, 'unknown_parameter', "x'; --"],
    ['/v1/metrics/fps_avg/timeseries', { step: '7s' }, 400, 'bad_step', 'step'],
    ['/v1/metrics/fps_avg/timeseries', { from: 'now-2d', step: '10s' }, 400, 'too_many_buckets', 'step'],
    ['/v1/metrics/fps_avg/timeseries', { group_by: 'continent' }, 400, 'unknown_dimension', 'group_by'],
    ['/v1/metrics/fps_avg/timeseries', { group_by: 'region,region' }, 400, 'unknown_dimension', 'group_by'],
    ['/v1/metrics/fps_avg/timeseries', { group_by: 'region', limit: '0' }, 400, 'bad_limit', 'limit'],
    ['/v1/metrics/fps_avg/breakdown', {}, 400, 'unknown_dimension', 'by'],
    ['/v1/metrics/fps_avg/breakdown', { by: 'region', order: 'name' }, 400, 'bad_order', 'order'],
    ['/v1/metrics/fps_avg/breakdown', { by: 'region', order: 'impact' }, 400, 'bad_order', 'order'],
    ['/v1/metrics/fps_avg', { from: 'now-7h', tier: 'events' }, 422, 'too_expensive', 'tier'],
    ['/v1/sessions/1', {}, 400, 'bad_session_id', 'id'],
    ['/v1/sessions/0F8FAD5B-D9CB-469F-A165-70867728950E', {}, 400, 'bad_session_id', 'id'],
    ['/v1/rejects', { filter: 'region:a' }, 400, 'unknown_parameter', 'filter'],
    ['/v1/metrics', { from: 'now-1h' }, 400, 'unknown_parameter', 'from'],
  ])('%s %j', async (path, query, status, code, parameter) => {
    const problem = await refused(path, query as Query)
    expect(problem).toMatchObject({ status, code, parameter })
    expect(problem.request_id).toMatch(/^[0-9a-f-]{36}$/)
  })

  test('and what is nowhere is 404', async () => {
    expect(await refused('/v1/nothing')).toMatchObject({ status: 404, code: 'unknown_route' })
  })
})

/** Exact, but for the last digits of a division; a percentile within 1 %. */
function expectMetric(id: MetricId, actual: unknown, wanted: number | null): void {
  if (wanted === null) {
    expect(actual, id).toBeNull()
    return
  }
  const tolerance = METRICS[id].definition.includes('within 1 %') ? 0.01 : 1e-12
  expect(typeof actual, id).toBe('number')
  const off = Math.abs(Number(actual) - wanted)
  expect(off, `${id}: ${actual}, not ${wanted}`).toBeLessThanOrEqual(tolerance * Math.abs(wanted))
}
