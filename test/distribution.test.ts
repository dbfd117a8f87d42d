/**
 * The distribution behind a percentile, and the share of frames beyond any threshold: counted as the events themselves count,
 * whichever tier answers, over a range and over time.
 */
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { QualityEvent } from '../ingest/contract/events.ts'
import { AskedApi, HARMFUL } from './support/ask.ts'
import { eventOf } from './support/events.ts'
import { sharedServices, unique } from './support/services.ts'

const MINUTE_MS = 60_000
const NOW = Date.now()
const START = Math.floor(NOW / (10 * MINUTE_MS)) * 10 * MINUTE_MS - 30 * MINUTE_MS
const MINUTES = 4
const RANGE = { from: START, to: START + MINUTES * MINUTE_MS }
const events = Array.from({ length: 6 }, (_, n) =>
  Array.from({ length: MINUTES * 120 }, (_, seq) => eventOf(n, seq, START)),
).flat()
/** The last one of a session counts its open frame; a round trip too short to measure is a 0. */
const last: QualityEvent[] = [
  {
    ...eventOf(7, 0, START),
    kind: 'frame_times',
    target_fps: 60,
    frame_time_us: [16_667],
    open_frame_us: 900_000,
    final: true,
  } as QualityEvent,
  {
    ...eventOf(7, 1, START),
    kind: 'bitrate',
    interval_ms: 700,
    bitrate_kbps: 0,
    rtt_us: 0,
  } as QualityEvent,
]
const everything = [...events, ...last]

const framesOf = (some: readonly QualityEvent[]): number[] =>
  some.flatMap(event =>
    event.kind !== 'frame_times'
      ? []
      : [...event.frame_time_us, ...(event.final && event.open_frame_us ? [event.open_frame_us] : [])],
  )
const rates = (some: readonly QualityEvent[]) => some.filter(event => event.kind === 'bitrate')
type Bars = { from: number; to: number; count: number }[]
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)

let api: AskedApi
beforeAll(async () => {
  api = await AskedApi.start(sharedServices().clickhouse, unique('distribution'), NOW)
  await api.insert(everything)
  await api.insert(everything.filter((_, i) => i % 5 === 0))
})
afterAll(() => api?.close())

/** Values with their weights fall into the bars exactly. */
function expectBars(bars: Bars, values: readonly (readonly [value: number, weight: number])[]): void {
  expect(sum(bars.map(({ count }) => count))).toBe(sum(values.map(([, weight]) => weight)))
  let before = 0
  for (const { from, to, count } of bars) {
    expect(from).toBeGreaterThanOrEqual(before)
    expect(count).toBe(sum(values.filter(([value]) => value >= from && value < to).map(([, weight]) => weight)))
    expect(count).toBeGreaterThan(0)
    before = to
  }
}

const VALUES = {
  frame_time_p99_us: { weight: 'frames', of: (e: readonly QualityEvent[]) => framesOf(e).map(us => [us, 1] as const) },
  rtt_p50_us: {
    weight: 'intervals',
    of: (e: readonly QualityEvent[]) =>
      rates(e).flatMap(({ rtt_us }) => (rtt_us === undefined ? [] : [[rtt_us, 1] as const])),
  },
  bitrate_p50_kbps: {
    weight: 'ms',
    of: (e: readonly QualityEvent[]) => rates(e).map(r => [r.bitrate_kbps, r.interval_ms] as const),
  },
} as const
const IDS = Object.keys(VALUES) as (keyof typeof VALUES)[]

describe('the distribution', () => {
  test.each(IDS)('of %s counts what the events say, from every tier and in however many buckets', async id => {
    for (const tier of ['events', '10s', 'minute']) {
      for (const buckets of [undefined, 10, 37, 200]) {
        const asked = { ...RANGE, tier, ...(buckets === undefined ? {} : { buckets }) }
        const { data, meta } = await api.get<Bars[number]>(`/v1/metrics/${id}/distribution`, asked)
        expectBars(data, VALUES[id].of(everything))
        expect(data.length).toBeLessThanOrEqual(buckets ?? Number.POSITIVE_INFINITY)
        expect(meta).toMatchObject({ metric: id, weight: VALUES[id].weight, tier, sessions: 7 })
      }
    }
  })

  test('is of whom and when was asked', async () => {
    const asked = { from: START + MINUTE_MS, to: START + 2 * MINUTE_MS, filter: ['access:wifi', '!isp:isp-1'] }
    const chosen = everything.filter(
      ({ started_at_ms: at, context }) =>
        at >= asked.from && at < asked.to && context.access === 'wifi' && context.isp !== 'isp-1',
    )
    const { data } = await api.get<Bars[number]>('/v1/metrics/frame_time_p50_us/distribution', asked)
    expectBars(data, VALUES.frame_time_p99_us.of(chosen))
  })

  test('over time is, step by step, the distribution over that step, with the same edges everywhere', async () => {
    for (const id of IDS) {
      const range = { from: START - MINUTE_MS, to: RANGE.to, step: '30s' }
      const { data: steps, meta } = await api.get<{ t: string; buckets: Bars }>(`/v1/metrics/${id}/heatmap`, {
        ...range,
        buckets: 20,
      })
      expect(meta).toMatchObject({ step_s: 30, weight: VALUES[id].weight })
      expect(steps.map(({ t }) => Date.parse(t))).toEqual(
        Array.from({ length: 2 * (MINUTES + 1) }, (_, i) => range.from + i * 30_000),
      )
      expect(steps[0]?.buckets).toEqual([])
      for (const { t, buckets } of steps) {
        const at = Date.parse(t)
        const inside = everything.filter(e => e.started_at_ms >= at && e.started_at_ms < at + 30_000)
        expectBars(buckets, VALUES[id].of(inside))
      }
      const edges = new Map(steps.flatMap(({ buckets }) => buckets.map(({ from, to }) => [from, to] as const)))
      expect(edges.size).toBeLessThanOrEqual(20)
      for (const { buckets } of steps) for (const { from, to } of buckets) expect(to).toBe(edges.get(from))
    }
  })

  test('of nothing is empty', async () => {
    const empty = { from: START - 20 * MINUTE_MS, to: START - 10 * MINUTE_MS }
    expect((await api.get('/v1/metrics/rtt_p50_us/distribution', empty)).data).toEqual([])
    expect((await api.get('/v1/metrics/rtt_p50_us/heatmap', empty)).data).toEqual([])
    expect((await api.get('/v1/frames/slower-than', { ...empty, threshold_us: 20_000 })).data).toEqual([])
  })
})

describe('slower than a threshold', () => {
  const share = (frames: readonly number[], over: number) =>
    (100 * frames.filter(us => us > over).length) / frames.length

  test('is exact from events, and from cells at the edge that the answer names, within 1 % of what was asked', async () => {
    const frames = framesOf(everything)
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(fc.integer({ min: 10_000, max: 100_000 }), fc.integer({ min: 2, max: 60_000_000 })),
        fc.constantFrom('events', '10s', 'minute'),
        async (threshold_us, tier) => {
          const { data, meta } = await api.get('/v1/frames/slower-than', { ...RANGE, threshold_us, tier })
          const used = Number(meta.threshold_us)
          expect(meta).toMatchObject({ threshold_exact: tier === 'events', unit: 'pct', tier })
          if (tier === 'events') expect(used).toBe(threshold_us)
          expect(Math.abs(used / threshold_us - 1)).toBeLessThan(0.0101)
          expect(data).toEqual([{ value: share(frames, used), n: frames.length }])
        },
      ),
      { numRuns: 40 },
    )
  })

  test('of each group is what that group’s frames give, the worst first', async () => {
    for (const tier of ['events', '10s']) {
      const asked = { ...RANGE, threshold_us: 33_333, by: 'access,region', tier, filter: '!game:game-0' }
      const { data, meta } = await api.get('/v1/frames/slower-than', asked)
      const chosen = everything.filter(({ context }) => context.game !== 'game-0')
      const nameOf = ({ context: { access, region } }: QualityEvent) => JSON.stringify({ access, region })
      const groups = new Set(chosen.map(nameOf))
      expect(new Set(data.map(({ access, region }) => JSON.stringify({ access, region })))).toEqual(groups)
      expect(meta.groups_total).toBe(groups.size)
      for (const { value, n, ...names } of data) {
        const frames = framesOf(chosen.filter(event => nameOf(event) === JSON.stringify(names)))
        expect({ value, n }).toEqual({ value: share(frames, Number(meta.threshold_us)), n: frames.length })
      }
      const values = data.map(({ value }) => Number(value))
      expect(values).toEqual([...values].sort((a, b) => b - a))
      const first = await api.get('/v1/frames/slower-than', { ...asked, limit: 1 })
      expect(first).toMatchObject({ data: data.slice(0, 1), meta: { groups_total: groups.size } })
    }
  })
})

describe('what cannot be answered as put', () => {
  const M = '/v1/metrics/frame_time_p99_us'
  test.each([
    ['/v1/metrics/fps_avg/distribution', {}, 400, 'no_distribution', 'id'],
    ['/v1/metrics/fps_p1/heatmap', {}, 400, 'no_distribution', 'id'],
    ['/v1/metrics/nothing/distribution', {}, 404, 'unknown_metric', 'id'],
    [`${M}/distribution`, { buckets: 201 }, 400, 'bad_parameter', 'buckets'],
    [`${M}/distribution`, { buckets: 9 }, 400, 'bad_parameter', 'buckets'],
    [`${M}/distribution`, { step: '1m' }, 400, 'unknown_parameter', 'step'],
    [`${M}/heatmap`, { group_by: 'region' }, 400, 'unknown_parameter', 'group_by'],
    [`${M}/heatmap`, { from: 'now-3h', step: '10s', buckets: 200 }, 400, 'too_many_buckets', 'step'],
    ['/v1/frames/slower-than', {}, 400, 'bad_parameter', 'threshold_us'],
    ['/v1/frames/slower-than', { threshold_us: 1 }, 400, 'bad_parameter', 'threshold_us'],
    ['/v1/frames/slower-than', { threshold_us: 16.7 }, 400, 'bad_parameter', 'threshold_us'],
    ['/v1/frames/slower-than', { threshold_us: 60_000_001 }, 400, 'bad_parameter', 'threshold_us'],
    ['/v1/frames/slower-than', { threshold_us: 20_000, by: 'continent' }, 400, 'unknown_dimension', 'by'],
    ['/v1/frames/slower-than', { threshold_us: 20_000, tier: 'events', from: 'now-7h' }, 422, 'too_expensive', 'tier'],
  ])('%s %j names what is wrong', async (path, query, status, code, parameter) => {
    expect(await api.refused(path, query)).toMatchObject({ status, code, parameter })
  })

  test('no parameter carries SQL', async () => {
    const parameters = ['from', 'to', 'tier', 'step', 'buckets', 'threshold_us', 'by', 'limit', "x' OR 1"]
    for (const text of HARMFUL) {
      for (const name of parameters) {
        const query = { ...RANGE, threshold_us: 20_000, [name]: text }
        for (const path of [`${M}/distribution`, `${M}/heatmap`, '/v1/frames/slower-than'])
          expect(await api.refused(path, query)).toMatchObject({ status: 400 })
      }
      const nobody = await api.get('/v1/frames/slower-than', { ...RANGE, threshold_us: 20_000, filter: `isp:${text}` })
      expect(nobody.data).toEqual([])
    }
  })
})
