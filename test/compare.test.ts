/**
 * Comparing two cohorts or two windows: each side is the number it is when asked for alone, what is resampled is the catalogue's own
 * metric, and the verdict follows from the interval. On the real ClickHouse, over HTTP's own functions.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type FrameTimesEvent, type QualityEvent, type SessionEvent, STAGES } from '../ingest/contract/events.ts'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { migrate } from '../ingest/store/migrate.ts'
import { clustersQuestion, sidesOf } from '../query/comparisons/clusters.ts'
import { shapeOf } from '../query/comparisons/shape.ts'
import { subjectOf } from '../query/metrics/answer.ts'
import { METRIC_IDS, METRICS } from '../query/metrics/catalogue.ts'
import { parseFilter } from '../query/metrics/filter.ts'
import { createAsk } from '../query/metrics/question.ts'
import { chance } from '../query/statistics/weights.ts'
import { type App, apiOver } from './support/app.ts'
import { eventOf, sessionId } from './support/events.ts'
import { keyFor, RETENTION, Seed, settleAll } from './support/seed.ts'
import { sharedServices, unique } from './support/services.ts'

const MINUTE_MS = 60_000
const NOW = Date.now()
const START = Math.floor(NOW / (10 * MINUTE_MS)) * 10 * MINUTE_MS - 30 * MINUTE_MS
const { key, hash } = keyFor('compare tests')

type Json = Record<string, unknown>
interface Side extends Json {
  value: number | null
  sessions: number
}
interface Interval {
  value: number
  low: number | null
  high: number | null
}
interface Comparison extends Json {
  a: Side
  b: Side
  difference: Interval | null
  ratio: Interval | null
}
type Query = Readonly<Record<string, string | number | readonly string[]>>

let store: Store
let app: App

/** A minute of sixty ordinary players who say all there is to say … */
const ordinary = Array.from({ length: 60 }, (_, n) => [
  ...Array.from({ length: 120 }, (_, seq) => telling(eventOf(n, seq, START))),
  ...life(n),
]).flat()

function telling(event: QualityEvent): QualityEvent {
  const { seq } = event
  if (event.kind === 'frame_times') {
    const stage_us = Object.fromEntries(STAGES.map((stage, i) => [stage, 1_000 * (i + 1) + seq]))
    return { ...event, frames_generated: seq % 7, stage_us, input_latency_us: 60_000 + seq }
  }
  if (event.kind !== 'bitrate') return event
  const picture = { width: 1_920, height: 1_080, encoded_fps: 60, rung: '1080p60-15m', rung_switches: seq % 3 }
  return { ...event, ...picture, rtt_us: 20_000 + 50 * seq, available_kbps: 20_000 + seq, jitter_us: 500 + seq }
}

function life(n: number): QualityEvent[] {
  const envelope = { ...eventOf(n, 0, START), kind: 'session' as const }
  const { v, kind, session_id, source, started_at_ms, sent_at_ms, context } = envelope
  const said = (seq: number, what: Pick<SessionEvent, 'state' | 'startup_ms' | 'end_reason'>): SessionEvent => ({
    ...{ v, kind, session_id, source, started_at_ms, sent_at_ms, context, seq },
    ...what,
  })
  return [
    said(120, { state: 'connecting' }),
    said(121, { state: 'first_frame', startup_ms: 900 + 10 * n }),
    said(122, { state: 'ended', end_reason: n % 5 === 0 ? 'network' : 'user_quit' }),
  ]
}

/** … and later forty of whom half, in `bad`, stutter three times as often; all of them twice as often in the second minute. */
const LATER = START + 10 * MINUTE_MS
const stuttering = Array.from({ length: 40 }, (_, i) => stutterer(100 + i, i % 2 === 0 ? 'bad' : 'good')).flat()

function stutterer(n: number, experiment: string): FrameTimesEvent[] {
  const dice = chance(n)
  const level = (0.5 + dice()) * (experiment === 'bad' ? 0.03 : 0.01)
  return Array.from({ length: 120 }, (_, seq) => {
    const chance = seq < 60 ? level : 2 * level
    return {
      ...{ v: 1, session_id: sessionId(n), source: 'client', seq, kind: 'frame_times', target_fps: 60 },
      started_at_ms: LATER + seq * 1_000,
      sent_at_ms: LATER + seq * 1_000 + 1_000,
      context: { experiment, region: "o'hare" },
      frame_time_us: Array.from({ length: 50 }, () => (dice() < chance ? 60_000 : 16_667)),
    } as const
  })
}

beforeAll(async () => {
  const { clickhouse } = sharedServices()
  const config = { ...clickhouse, database: unique('compare') }
  await migrate(config, RETENTION)
  store = openStore(config)
  app = apiOver(store, [hash], { now: () => NOW })
  await new Seed(store, 'compare#1').insert([...ordinary, ...stuttering])
  await settleAll(store, START / 1_000 - 3_600)
})
afterAll(() => store?.close())

async function request(path: string, query: Query): Promise<Response> {
  const search = new URLSearchParams()
  for (const [name, value] of Object.entries(query)) for (const one of [value].flat()) search.append(name, String(one))
  return app.request(`${path}?${search}`, { headers: { authorization: `Bearer ${key}` } })
}
async function compared(id: string, query: Query): Promise<{ comparison: Comparison; meta: Json }> {
  const response = await request(`/v1/metrics/${id}/compare`, query)
  expect(response.status, await response.clone().text()).toBe(200)
  const { data, meta } = (await response.json()) as { data: [Comparison]; meta: Json }
  return { comparison: data[0], meta }
}
async function asked(id: string, query: Query): Promise<Json> {
  const { data } = (await (await request(`/v1/metrics/${id}`, query)).json()) as { data: [Json] }
  return data[0]
}

const RANGE = { from: START, to: START + MINUTE_MS * 2 }
const STUTTERING = { from: LATER, to: LATER + 2 * MINUTE_MS }
const COHORTS = { ...STUTTERING, a: 'experiment:bad', b: 'experiment:good' }
const FIRST = { from: LATER, to: LATER + MINUTE_MS }
const SECOND = { from: LATER + MINUTE_MS, to: LATER + 2 * MINUTE_MS }
const WINDOWS = { ...SECOND, baseline_from: FIRST.from, baseline_to: FIRST.to }

const COMPARABLE = METRIC_IDS.filter(id => shapeOf(METRICS[id]) !== undefined)

describe('what is resampled', () => {
  test.each(COMPARABLE)('%s over sessions and over blocks of them is the catalogue’s own number', async id => {
    const desk = { ask: createAsk(store, () => {}), retention: RETENTION, now: () => NOW }
    const wanted = { metric: id, filters: [], from: { at_ms: RANGE.from }, to: { at_ms: RANGE.to } }
    const shape = shapeOf(METRICS[id])
    const { value } = await asked(id, RANGE)
    // Sixty starts are too few for that one.
    if (id === 'startup_p95_ms') return expect(value).toBeNull()
    expect(value).toEqual(expect.any(Number))
    for (const tier of ['10s', 'minute', 'events'] as const) {
      const { subject } = await subjectOf(desk, { ...wanted, tier })
      for (const blocks of [0, 7]) {
        const rows = shape ? await desk.ask(clustersQuestion(shape, subject, blocks)) : []
        expect(rows).toHaveLength(blocks || 60)
        const sides = shape && sidesOf(shape, rows, rows)
        expect(sides?.a.value).toBeCloseTo(Number(value), 6)
        expect(sides?.shared).toBe(true)
      }
    }
  })

  test('a maximum, a total, a count and what has no form of a ratio or a percentile are not compared, and the caller hears why', async () => {
    expect(METRIC_IDS.filter(id => !COMPARABLE.includes(id))).toEqual([
      'frame_time_max_us',
      'fps_low1',
      'rung_time_share_pct',
      'mos_p5',
      'mos_below_3_pct',
      'sessions',
      'concurrent_sessions',
      'concurrent_sessions_max',
      'session_minutes',
    ])
    const response = await request('/v1/metrics/frame_time_max_us/compare', COHORTS)
    expect(await response.json()).toMatchObject({ status: 400, code: 'not_comparable', parameter: 'id' })
  })
})

describe('two cohorts', () => {
  test('are each the number they are when asked for alone, with what is behind it', async () => {
    const { comparison, meta } = await compared('stutter_time_pct', COHORTS)
    const [a, b] = await Promise.all(
      ['bad', 'good'].map(name => asked('stutter_time_pct', { ...STUTTERING, filter: `experiment:${name}` })),
    )
    expect(comparison.a).toMatchObject({ value: a?.value, n: a?.n, sessions: 20, frames: 20 * 120 * 50, tier: '10s' })
    expect(comparison.b).toMatchObject({ value: b?.value, n: b?.n, sessions: 20, completeness_pct: 100 })
    expect(comparison.difference?.value).toBeCloseTo(Number(a?.value) - Number(b?.value), 12)
    expect(comparison.ratio?.value).toBeCloseTo(Number(a?.value) / Number(b?.value), 12)
    expect(meta).toMatchObject({ metric: 'stutter_time_pct', sessions: 20 })
  })

  test('differ if they do: the interval leaves out 0, that of the ratio 1, and the metric’s direction decides', async () => {
    const { comparison } = await compared('stutter_time_pct', COHORTS)
    expect(comparison).toMatchObject({ verdict: 'worse', rounds: 1_000 })
    expect(comparison.difference?.low).toBeGreaterThan(0)
    expect(comparison.ratio?.low).toBeGreaterThan(1)
    expect(comparison.ratio?.high).toBeLessThan(6)
    const { comparison: turned } = await compared('stutter_time_pct', { ...COHORTS, a: COHORTS.b, b: COHORTS.a })
    expect(turned.verdict).toBe('better')
    const { comparison: higher } = await compared('fps_avg', COHORTS)
    expect(higher.verdict).toBe('worse')
    expect(higher.difference?.high).toBeLessThan(0)
  })

  test('do not if they do not', async () => {
    const { comparison } = await compared('stutter_time_pct', { ...RANGE, a: "region:us-'east\\", b: 'region:eu-west' })
    expect(comparison).toMatchObject({ verdict: 'no_difference_shown', a: { sessions: 30 }, b: { sessions: 30 } })
    expect(comparison.difference?.low).toBeLessThan(0)
    expect(comparison.difference?.high).toBeGreaterThan(0)
  })

  test('are given the same interval each time', async () => {
    const [one, other] = await Promise.all([
      compared('frame_time_p99_us', COHORTS),
      compared('frame_time_p99_us', COHORTS),
    ])
    expect(one).toEqual(other)
    expect(one.comparison.difference?.low).not.toBeNull()
  })

  test('of the same sessions differ by nothing at all, since a session counts alike on both sides', async () => {
    const { comparison } = await compared('stutter_time_pct', { ...COHORTS, b: 'experiment:bad' })
    expect(comparison.difference).toMatchObject({ value: 0 })
    expect(comparison.difference?.low).toBeCloseTo(0, 6)
    expect(comparison.difference?.high).toBeCloseTo(0, 6)
  })

  test('are narrowed by what holds for both, dimension by dimension', async () => {
    const both = ['experiment:bad', 'experiment:good']
    const { comparison } = await compared('stutter_time_pct', { ...COHORTS, filter: ["region:o'hare", ...both] })
    expect(comparison).toEqual((await compared('stutter_time_pct', COHORTS)).comparison)
    const response = await request('/v1/metrics/stutter_time_pct/compare', { ...COHORTS, filter: 'experiment:good' })
    expect(await response.json()).toMatchObject({ status: 400, code: 'bad_filter', parameter: 'a' })
  })
})

describe('too few', () => {
  test('sessions on a side: both numbers, no interval, and that verdict', async () => {
    const nineteen = { ...COHORTS, filter: `!session_id:${sessionId(100)}` }
    const { comparison } = await compared('stutter_time_pct', nineteen)
    expect(comparison).toMatchObject({ verdict: 'too_few', rounds: 0, a: { sessions: 19 }, b: { sessions: 20 } })
    expect(comparison.difference).toMatchObject({ value: expect.any(Number), low: null, high: null })
  })

  test('none at all: nulls with their reason', async () => {
    const { comparison } = await compared('stutter_time_pct', { ...COHORTS, a: 'isp:nobody' })
    expect(comparison).toMatchObject({ verdict: 'too_few', difference: null, ratio: null })
    expect(comparison.a).toMatchObject({ value: null, reason: 'no_data', n: 0, sessions: 0 })
  })
})

describe('two windows', () => {
  test('of the same sessions are compared session by session', async () => {
    const { comparison } = await compared('stutter_time_pct', WINDOWS)
    expect(comparison).toMatchObject({ verdict: 'worse', a: { sessions: 40 }, b: { sessions: 40 } })
    expect(comparison.a.from).toBe(new Date(SECOND.from).toISOString())
    expect(comparison.b.from).toBe(new Date(FIRST.from).toISOString())
    expect(comparison.a.value).toBe((await asked('stutter_time_pct', SECOND)).value)
    expect(comparison.b.value).toBe((await asked('stutter_time_pct', FIRST)).value)
    // Twice as often everywhere, by how much differs from session to session: three times as much.
    expect(comparison.ratio?.low).toBeGreaterThan(1.6)
    expect(comparison.ratio?.high).toBeLessThan(2.3)
  })

  test('may lie anywhere; an empty one is an honest null', async () => {
    const { comparison } = await compared('stutter_time_pct', {
      ...SECOND,
      baseline_from: START - 2 * MINUTE_MS,
      baseline_to: START - MINUTE_MS,
    })
    expect(comparison).toMatchObject({ verdict: 'too_few', b: { value: null, reason: 'no_data', sessions: 0 } })
  })
})

describe('a question that cannot be answered names its parameter', () => {
  test.each<[string, Query, Json]>([
    ['nothing to compare', STUTTERING, { code: 'bad_parameter', parameter: 'a' }],
    ['one cohort', { ...STUTTERING, a: 'isp:x' }, { code: 'bad_parameter', parameter: 'b' }],
    ['half a window', { ...SECOND, baseline_from: FIRST.from }, { code: 'bad_range', parameter: 'baseline_to' }],
    [
      'cohorts and windows',
      { ...WINDOWS, a: 'isp:x', b: 'isp:y' },
      { code: 'bad_parameter', parameter: 'baseline_from' },
    ],
    ['no such dimension', { ...COHORTS, a: 'shoe_size:42' }, { code: 'unknown_dimension', parameter: 'a' }],
    ['no filter', { ...COHORTS, b: 'x' }, { code: 'bad_filter', parameter: 'b' }],
    ['no time', { ...WINDOWS, baseline_to: 'yesterday' }, { code: 'bad_time', parameter: 'baseline_to' }],
    ['turned round', { ...WINDOWS, baseline_to: FIRST.from - 1 }, { code: 'bad_range', parameter: 'baseline_from' }],
    ['unknown', { ...COHORTS, rounds: 1e9 }, { code: 'unknown_parameter', parameter: 'rounds' }],
  ])('%s', async (_, query, problem) => {
    const response = await request('/v1/metrics/stutter_time_pct/compare', query)
    expect(await response.json()).toMatchObject({ status: 400, ...problem })
  })

  test('what is said in a filter stays a value', async () => {
    for (const value of ["x' OR 1=1 --", '{blocks:UInt32}', "']; SELECT 1; --", '\\', '%27 ☃']) {
      const { comparison } = await compared('fps_avg', { ...STUTTERING, a: `isp:${value}`, b: `!isp:${value}` })
      expect(comparison).toMatchObject({ a: { sessions: 0 }, b: { sessions: 40 } })
    }
    expect(parseFilter("isp:x' OR 1=1 --").value).toBe("x' OR 1=1 --")
  })
})
