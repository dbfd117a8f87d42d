/**
 * The list of sessions: who meets the conditions, in the order asked, each once however the pages are cut.
 */
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BitrateEvent, FrameTimesEvent, QualityEvent } from '../ingest/contract/events.ts'
import { METRICS, type MetricId } from '../query/metrics/catalogue.ts'
import { AskedApi, HARMFUL, type Query } from './support/ask.ts'
import { eventOf, sessionId } from './support/events.ts'
import { sharedServices, unique } from './support/services.ts'

const MINUTE_MS = 60_000
const NOW = Date.now()
const START = Math.floor(NOW / (10 * MINUTE_MS)) * 10 * MINUTE_MS - 30 * MINUTE_MS
const MINUTES = 2
const RANGE = { from: START, to: START + MINUTES * MINUTE_MS }
const PLAYERS = 10

/** Sessions that are equal in everything but their id: what cuts a page must still tell them apart. */
const alike = Array.from({ length: 9 }, (_, i): FrameTimesEvent => {
  const { context, ...envelope } = eventOf(500 + i, 0, START)
  return {
    ...envelope,
    started_at_ms: START + 30_000,
    context: { ...context, region: 'alike' },
    kind: 'frame_times',
    target_fps: 60,
    frame_time_us: [16_667, 16_667, 50_000],
  }
})
/** Sessions without frames: most of what can be known of them is unknown. */
const silent = Array.from({ length: 4 }, (_, i): BitrateEvent => {
  const envelope = eventOf(600 + i, 1, START)
  return { ...envelope, kind: 'bitrate', interval_ms: 1_000, bitrate_kbps: 100 * (i % 2) } as BitrateEvent
})
const fleet = Array.from({ length: PLAYERS }, (_, n) =>
  Array.from({ length: MINUTES * 120 - 10 * n }, (_, seq) => eventOf(n, seq, START)),
).flat()
const everything: QualityEvent[] = [...fleet, ...alike, ...silent]
const IDS = [...new Set(everything.map(event => event.session_id))]

interface Listed {
  session_id: string
  context: Record<string, string | null>
  first_seen_at: string
  last_seen_at: string
  played_s: number
  metrics: Partial<Record<MetricId, number | null>>
}

let api: AskedApi
/** Every metric of every session, as the session's own page tells it. */
const told = new Map<string, Record<MetricId, number | null>>()

beforeAll(async () => {
  api = await AskedApi.start(sharedServices().clickhouse, unique('sessions'), NOW)
  await api.insert(everything)
  await api.insert(everything.filter((_, i) => i % 4 === 0))
  for (const id of IDS) {
    const { data } = await api.get(`/v1/sessions/${id}`)
    told.set(id, data[0]?.metrics as Record<MetricId, number | null>)
  }
})
afterAll(() => api?.close())

async function page(
  query: Query = {},
): Promise<{ data: Listed[]; next: string | null; meta: Record<string, unknown> }> {
  const { data, meta } = await api.get<Listed>('/v1/sessions', { ...RANGE, ...query })
  return { data, next: meta.next_cursor as string | null, meta }
}
async function walk(query: Query, limit: number): Promise<Listed[]> {
  const found: Listed[] = []
  let next: string | null = null
  do {
    const one = await page({ ...query, limit, ...(next === null ? {} : { cursor: next }) })
    expect(one.data.length).toBeLessThanOrEqual(limit)
    found.push(...one.data)
    next = one.next
    expect(found.length).toBeLessThanOrEqual(IDS.length)
  } while (next !== null)
  return found
}
const metric = (id: string, of: MetricId): number | null => told.get(id)?.[of] ?? null

describe('a session in the list', () => {
  test('is what its own page tells of it, and what its events say', async () => {
    const { data, next } = await page({ limit: 1_000, where: 'session_minutes>=0', order: 'frame_time_p95_us' })
    expect(next).toBeNull()
    expect(data).toHaveLength(PLAYERS + alike.length)
    for (const { session_id, context, first_seen_at, last_seen_at, played_s, metrics } of data) {
      const events = everything.filter(event => event.session_id === session_id)
      const times = events.map(event => Math.floor(event.started_at_ms / 10_000) * 10_000)
      expect(Date.parse(first_seen_at)).toBe(Math.min(...times))
      expect(Date.parse(last_seen_at)).toBe(Math.max(...times))
      const played_us = events
        .flatMap(e => (e.kind === 'frame_times' ? e.frame_time_us : []))
        .reduce((a, b) => a + b, 0)
      expect(played_s).toBe(played_us / 1e6)
      expect(context).toMatchObject({ ...events[0]?.context, codec: null })
      expect(Object.keys(metrics)).toEqual(expect.arrayContaining(['session_minutes', 'frame_time_p95_us', 'fps_avg']))
      for (const [id, value] of Object.entries(metrics)) expect(value, id).toBe(metric(session_id, id as MetricId))
    }
  })

  test('is the same from every tier', async () => {
    const [events, fine, minute] = await Promise.all(
      ['events', '10s', 'minute'].map(tier => page({ tier, order: 'fps_avg', limit: 1_000 })),
    )
    const told = (one: typeof events) =>
      one?.data.map(({ session_id, played_s, metrics }) => ({ session_id, played_s, metrics }))
    expect(fine?.data).toEqual(events?.data)
    expect(told(minute)).toEqual(told(fine))
  })

  test('is there if it meets every condition; what is unknown meets none', async () => {
    const conditions = fc.array(
      fc.tuple(
        fc.constantFrom<MetricId>(
          'fps_avg',
          'stutter_time_pct',
          'packet_loss_pct',
          'bitrate_avg_kbps',
          'freezes_per_minute',
        ),
        fc.constantFrom('>', '>=', '<', '<='),
        fc.nat({ max: PLAYERS }),
      ),
      { minLength: 1, maxLength: 3 },
    )
    await fc.assert(
      fc.asyncProperty(conditions, async chosen => {
        // A value that some session has, so that equality matters.
        const where = chosen.map(([id, operator, n]) => {
          const value = metric(sessionId(n), id) ?? 0
          return { id, operator, value: Number(value.toFixed(9)) }
        })
        const holds = (id: string): boolean =>
          where.every(({ id: of, operator, value }) => {
            const known = metric(id, of)
            if (known === null) return false
            if (operator === '>') return known > value
            if (operator === '>=') return known >= value
            return operator === '<' ? known < value : known <= value
          })
        const { data } = await page({
          limit: 1_000,
          where: where.map(({ id, operator, value }) => `${id}${operator}${value}`),
        })
        expect(data.map(({ session_id }) => session_id).sort()).toEqual(IDS.filter(holds).sort())
      }),
      { numRuns: 20 },
    )
  })

  test('is there if the filter is about it', async () => {
    const { data, meta } = await page({ filter: ['region:alike'] })
    expect(data.map(({ session_id }) => session_id).sort()).toEqual(alike.map(e => e.session_id).sort())
    expect(meta).toMatchObject({ sessions: alike.length, frames: alike.length * 3, tier: '10s' })
  })
})

describe('the order', () => {
  test.each(['frame_time_p99_us', 'fps_avg', 'packet_loss_pct', 'session_minutes'] as const)(
    'by %s is the worst first, equal ones by id, unknown ones last',
    async order => {
      const { data } = await page({ limit: 1_000, order })
      const direction = METRICS[order].better === 'higher' ? 1 : -1
      const wanted = [...IDS].sort((a, b) => {
        const [x, y] = [metric(a, order), metric(b, order)]
        if (x === null || y === null) return Number(x === null) - Number(y === null) || (a < b ? -1 : 1)
        return direction * (x - y) || (a < b ? -1 : 1)
      })
      expect(data.map(({ session_id }) => session_id)).toEqual(wanted)
    },
  )

  test('is the newest first, if nothing else is said', async () => {
    const { data } = await page({ limit: 1_000 })
    const begun = data.map(({ first_seen_at }) => first_seen_at)
    expect(begun).toEqual([...begun].sort().reverse())
    expect(data).toHaveLength(IDS.length)
  })
})

describe('pages', () => {
  test('walked to the end have every session once, in the order of one page that holds all', async () => {
    const orders = fc.constantFrom('newest', 'stutter_time_pct', 'frame_time_p99_us', 'fps_avg', 'frames_dropped_pct')
    await fc.assert(
      fc.asyncProperty(orders, fc.integer({ min: 4, max: IDS.length + 1 }), async (order, limit) => {
        const whole = await page({ order, limit: 1_000 })
        expect(whole.next).toBeNull()
        expect(await walk({ order }, limit)).toEqual(whole.data)
      }),
      { numRuns: 5 },
    )
    // One at a time, of whom nothing but the id tells apart, known or not.
    for (const order of ['frame_time_p99_us', 'frames_dropped_pct'])
      expect(await walk({ order, filter: 'region:alike' }, 1)).toHaveLength(alike.length)
  })

  test('stay over the range of the first, though the clock moves on and sessions come', async () => {
    const moving = await AskedApi.start(sharedServices().clickhouse, unique('sessions'), NOW)
    const late = (n: number): QualityEvent => ({ ...eventOf(n, 0, NOW - 30_000), started_at_ms: NOW - 30_000 })
    await moving.insert([1, 2, 3, 4].map(late))
    const query = { from: 'now-5m', to: 'now', limit: 2 }
    const first = await moving.get('/v1/sessions', query)
    const cursor = String(first.meta.next_cursor)
    moving.advance(20_000)
    await moving.insert([5, 6].map(n => ({ ...eventOf(n, 0, NOW), started_at_ms: NOW + 12_000 })))
    const second = await moving.get('/v1/sessions', { ...query, cursor })
    expect([second.meta.from, second.meta.to]).toEqual([first.meta.from, first.meta.to])
    const ids = [...first.data, ...second.data].map(({ session_id }) => session_id)
    expect(ids).toEqual([1, 2, 3, 4].map(sessionId))
    await moving.close()
  })

  test('of nothing are one empty page', async () => {
    for (const query of [{ from: START - 20 * MINUTE_MS, to: START - 10 * MINUTE_MS }, { where: 'fps_avg>100000' }])
      expect(await page(query)).toMatchObject({ data: [], next: null })
  })
})

describe('what cannot be answered as put', () => {
  test.each([
    [{ where: 'stutter_time_pct' }, 400, 'bad_condition', 'where'],
    [{ where: 'stutter_time_pct=1' }, 400, 'bad_condition', 'where'],
    [{ where: 'stutter_time_pct>' }, 400, 'bad_condition', 'where'],
    [{ where: 'stutter_time_pct>NaN' }, 400, 'bad_condition', 'where'],
    [{ where: 'stutter_time_pct>1e9' }, 400, 'bad_condition', 'where'],
    [{ where: ['fps_avg>1', 'stutter>1'] }, 404, 'unknown_metric', 'where'],
    [{ where: Array(11).fill('fps_avg>1') }, 400, 'bad_condition', 'where'],
    [{ order: 'session_id' }, 400, 'bad_order', 'order'],
    [{ limit: 0 }, 400, 'bad_limit', 'limit'],
    [{ limit: 1_001 }, 400, 'bad_limit', 'limit'],
    [{ cursor: 'e30' }, 400, 'bad_cursor', 'cursor'],
    [{ offset: 10 }, 400, 'unknown_parameter', 'offset'],
    [{ tier: 'events', from: 'now-7h' }, 422, 'too_expensive', 'tier'],
  ])('%j names what is wrong', async (query, status, code, parameter) => {
    expect(await api.refused('/v1/sessions', query as Query)).toMatchObject({ status, code, parameter })
  })

  test('a cursor of another question, or one that was changed, is refused', async () => {
    const { next } = await page({ limit: 3, order: 'fps_avg' })
    const cursor = String(next)
    for (const query of [{ order: 'newest' }, { where: 'fps_avg>1' }, { filter: 'region:alike' }, { from: 'now-2h' }])
      expect(await api.refused('/v1/sessions', { ...RANGE, order: 'fps_avg', ...query, cursor })).toMatchObject({
        code: 'bad_cursor',
      })
    const content = JSON.parse(Buffer.from(cursor, 'base64url').toString())
    for (const change of [
      { session_id: "' OR 1" },
      { bits: '1) OR (1' },
      { bits: '99999999999999999999' },
      { tier: 'raw' },
      { from: -1 },
      { more: 1 },
    ]) {
      const changed = Buffer.from(JSON.stringify({ ...content, ...change })).toString('base64url')
      const asked = { ...RANGE, order: 'fps_avg', cursor: changed }
      expect(await api.refused('/v1/sessions', asked)).toMatchObject({ code: 'bad_cursor', parameter: 'cursor' })
    }
  })

  test('no parameter carries SQL', async () => {
    for (const text of HARMFUL) {
      for (const name of ['from', 'to', 'tier', 'order', 'where', 'limit', 'cursor', "x' OR 1"])
        expect(await api.refused('/v1/sessions', { ...RANGE, [name]: text })).toMatchObject({ status: 400 })
      const inside = await api.refused('/v1/sessions', { ...RANGE, where: `fps_avg>1${text}` })
      expect(inside).toMatchObject({ status: 400, parameter: 'where' })
      expect((await page({ filter: `isp:${text}` })).data).toEqual([])
    }
  })
})
