/**
 * A session frame by frame: each frame that its client told once, in order, with the bad ones named by the same rule that metrics and
 * episodes count by.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { QualityEvent } from '../ingest/contract/events.ts'
import type { FrameRow } from '../query/sessions/frames.ts'
import type { Timeline } from '../query/sessions/timeline.ts'
import { AskedApi, HARMFUL, type Query } from './support/ask.ts'
import { eventOf, sessionId } from './support/events.ts'
import { sharedServices, unique } from './support/services.ts'

const MINUTE_MS = 60_000
const NOW = Date.now()
const START = Math.floor(NOW / (10 * MINUTE_MS)) * 10 * MINUTE_MS - 90 * MINUTE_MS
const SECONDS = 240

const events = Array.from({ length: 2 * SECONDS }, (_, seq) => eventOf(1, seq, START))
const frameEvents = events.filter(event => event.kind === 'frame_times')

let api: AskedApi
beforeAll(async () => {
  api = await AskedApi.start(sharedServices().clickhouse, unique('frames'), NOW)
  await api.insert([...events].reverse())
  await api.insert(events.filter((_, i) => i % 5 === 0))
})
afterAll(() => api?.close())

type Line = Omit<FrameRow, 'at_ms'> & { readonly at: string }

async function framesOf(n: number, query: Query = {}): Promise<{ lines: Line[]; headers: Headers }> {
  const response = await api.request(`/v1/sessions/${sessionId(n)}/frames`, query)
  const text = await response.text()
  expect(response.status, text).toBe(200)
  expect(response.headers.get('content-type')).toMatch(/^application\/x-ndjson/)
  const lines = text.split('\n').filter(line => line !== '')
  return { lines: lines.map(line => JSON.parse(line)), headers: response.headers }
}
const iso = (ms: number): string => new Date(ms).toISOString()

describe('the frames of a session', () => {
  test('are those that were told, each once and in order, however they arrived', async () => {
    const { lines } = await framesOf(1)
    expect(lines.map(({ at, target_fps, frame_time_us }) => ({ at, target_fps, frame_time_us }))).toEqual(
      frameEvents.map(({ started_at_ms, target_fps, frame_time_us }) => ({
        at: iso(started_at_ms),
        target_fps,
        frame_time_us,
      })),
    )
  })

  test('are bad where the contract says so', async () => {
    const { lines } = await framesOf(1)
    const placesOf = (times: readonly number[], holds: (us: number) => boolean): number[] =>
      times.flatMap((us, i) => (holds(us) ? [i] : []))
    // At 60 fps: a freeze is at least one interval and 150 ms, a stutter over two and a half with 1 ms of slack.
    const isFreeze = (us: number) => us >= 1e6 / 60 + 150_000
    expect(lines.map(({ stutters, freezes }) => ({ stutters, freezes }))).toEqual(
      frameEvents.map(({ frame_time_us }) => ({
        stutters: placesOf(frame_time_us, us => !isFreeze(us) && 2 * us * 60 > 5e6 + 2_000 * 60),
        freezes: placesOf(frame_time_us, isFreeze),
      })),
    )
    expect(lines.flatMap(({ freezes }) => freezes).length).toBeGreaterThan(5)
  })

  test('hold the bad frames that its episodes hold', async () => {
    const [{ lines }, { data }] = await Promise.all([
      framesOf(1),
      api.get<Timeline>(`/v1/sessions/${sessionId(1)}/timeline`),
    ])
    const bad = lines.reduce((n, { stutters, freezes }) => n + stutters.length + freezes.length, 0)
    expect(data[0]?.episodes?.reduce((n, { frames }) => n + frames, 0)).toBe(bad)
  })

  test('are those of the range, snapped to ten seconds, which the answer says', async () => {
    const { lines, headers } = await framesOf(1, { from: START + 34_000, to: START + 61_000 })
    expect([headers.get('x-from'), headers.get('x-to')]).toEqual([iso(START + 30_000), iso(START + 70_000)])
    expect(lines.map(({ at }) => Date.parse(at))).toEqual(
      frameEvents.map(event => event.started_at_ms).filter(ms => ms >= START + 30_000 && ms < START + 70_000),
    )
    expect((await framesOf(1, { from: START - 20 * MINUTE_MS, to: START - 10 * MINUTE_MS })).lines).toEqual([])
  })

  test('of an event without frames are none, a paused one has no freeze, and the last event has its open frame', async () => {
    const [first] = frameEvents
    if (!first) throw new Error('no event')
    const told = (seq: number, rest: Partial<typeof first>): QualityEvent => ({
      ...first,
      session_id: sessionId(2),
      seq,
      started_at_ms: START + seq * 1_000,
      ...rest,
    })
    await api.insert([
      told(0, { frame_time_us: [] }),
      told(1, { frame_time_us: [16_667, 900_000], paused: true }),
      told(2, { frame_time_us: [16_667], open_frame_us: 700_000 }),
      told(3, { frame_time_us: [16_667], open_frame_us: 800_000, final: true }),
    ])
    const { lines } = await framesOf(2)
    expect(lines.map(({ frame_time_us, stutters, freezes }) => [frame_time_us, stutters, freezes])).toEqual([
      [[16_667, 900_000], [1], []],
      [[16_667], [], []],
      [[16_667, 800_000], [], [1]],
    ])
  })
})

describe('what cannot be answered as put', () => {
  const path = `/v1/sessions/${sessionId(1)}/frames`
  test.each([
    [`/v1/sessions/${sessionId(999)}/frames`, {}, 404, 'unknown_session', 'id'],
    ['/v1/sessions/1/frames', {}, 400, 'bad_session_id', 'id'],
    [path, { from: 'yesterday' }, 400, 'bad_time', 'from'],
    [path, { from: 'now', to: 'now-1h' }, 400, 'bad_range', 'from'],
    [path, { from: START, to: START + 61 * MINUTE_MS }, 400, 'bad_range', 'from'],
    [path, { limit: 1 }, 400, 'unknown_parameter', 'limit'],
  ])('%s %j names what is wrong', async (where, query, status, code, parameter) => {
    expect(await api.refused(where, query as Query)).toMatchObject({ status, code, parameter })
  })

  test('an hour is answered', async () => {
    expect((await framesOf(1, { from: START, to: START + 60 * MINUTE_MS })).lines).toHaveLength(SECONDS)
  })

  test('no parameter carries SQL', async () => {
    for (const text of HARMFUL) {
      for (const name of ['from', 'to'])
        expect(await api.refused(path, { [name]: text })).toMatchObject({ status: 400 })
      expect(await api.refused(`/v1/sessions/${encodeURIComponent(text)}/frames`)).toMatchObject({ status: 400 })
    }
  })
})
