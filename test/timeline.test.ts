/**
 * A session over time: each second what its events say of it, stutters and freezes as the player lived through them, and what changed.
 */
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BitrateEvent, FrameTimesEvent, QualityEvent, SessionEvent } from '../ingest/contract/events.ts'
import { type BadFrame, EPISODE_GAP_US, episodesOf } from '../query/sessions/episodes.ts'
import type { Timeline } from '../query/sessions/timeline.ts'
import { AskedApi, HARMFUL, type Query } from './support/ask.ts'
import { eventOf, sessionId } from './support/events.ts'
import { sharedServices, unique } from './support/services.ts'

const MINUTE_MS = 60_000
const NOW = Date.now()
const START = Math.floor(NOW / (10 * MINUTE_MS)) * 10 * MINUTE_MS - 90 * MINUTE_MS

let api: AskedApi
beforeAll(async () => {
  api = await AskedApi.start(sharedServices().clickhouse, unique('timeline'), NOW)
})
afterAll(() => api?.close())

const envelope = (n: number, source: 'client' | 'host', seq: number, at_ms: number) => ({
  v: 1 as const,
  session_id: sessionId(n),
  source,
  seq,
  started_at_ms: at_ms,
  sent_at_ms: at_ms + 1_000,
  context: {},
})
const frames = (n: number, seq: number, at_ms: number, rest: Partial<FrameTimesEvent>): FrameTimesEvent => ({
  ...envelope(n, 'client', seq, at_ms),
  kind: 'frame_times',
  target_fps: 60,
  frame_time_us: [],
  ...rest,
})
const rate = (n: number, seq: number, at_ms: number, rest: Partial<BitrateEvent>): BitrateEvent => ({
  ...envelope(n, 'host', seq, at_ms),
  kind: 'bitrate',
  interval_ms: 1_000,
  bitrate_kbps: 8_000,
  ...rest,
})
const state = (n: number, seq: number, at_ms: number, rest: Partial<SessionEvent>): SessionEvent => ({
  ...envelope(n, 'host', seq, at_ms),
  kind: 'session',
  state: 'connecting',
  ...rest,
})

async function timelineOf(n: number, query: Query = {}): Promise<Timeline & { meta: Record<string, unknown> }> {
  const { data, meta } = await api.get<Timeline>(`/v1/sessions/${sessionId(n)}/timeline`, query)
  const [timeline] = data
  if (!timeline || data.length > 1) throw new Error(`${data.length} timelines`)
  return { ...timeline, meta }
}
const iso = (ms: number): string => new Date(Math.floor(ms)).toISOString()

/** The rules in words of the contract, in floating point, on each frame by itself. */
function badFrames(events: readonly QualityEvent[]): BadFrame[] {
  const speaking = events.filter(event => event.kind === 'frame_times')
  const last = [...speaking].sort((a, b) => a.started_at_ms - b.started_at_ms || a.seq - b.seq).at(-1)
  return speaking.flatMap(event => {
    const { target_fps: fps, paused = false, final = false, open_frame_us: open = 0 } = event
    const isFreeze = (us: number) => !paused && us >= 3e6 / fps && us >= 1e6 / fps + 150_000
    const all = [...event.frame_time_us, ...(final && open > 0 ? [open] : [])]
    let begin_us = event.started_at_ms * 1_000
    const bad: BadFrame[] = []
    for (const frame_us of all) {
      if (isFreeze(frame_us)) bad.push({ begin_us, frame_us, kind: 'freeze', open: false })
      else if (2 * frame_us * fps > 5e6 + 2_000 * fps) bad.push({ begin_us, frame_us, kind: 'stutter', open: false })
      begin_us += frame_us
    }
    if (event === last && !final && isFreeze(open)) bad.push({ begin_us, frame_us: open, kind: 'freeze', open: true })
    return bad
  })
}

/** An episode ends where every bad frame so far has been over for longer than the gap. */
function recomputedEpisodes(events: readonly QualityEvent[]): Timeline['episodes'] {
  const bad = badFrames(events).sort((a, b) => a.begin_us - b.begin_us)
  const begins = bad.filter((frame, i) =>
    bad.slice(0, i).every(before => before.begin_us + before.frame_us + EPISODE_GAP_US < frame.begin_us),
  )
  return begins.map((first, i) => {
    const next = begins[i + 1]?.begin_us ?? Number.POSITIVE_INFINITY
    const inside = bad.filter(({ begin_us }) => begin_us >= first.begin_us && begin_us < next)
    return {
      kind: inside.some(({ kind }) => kind === 'freeze') ? 'freeze' : 'stutter',
      from: iso(first.begin_us / 1_000),
      to: inside.some(({ open }) => open)
        ? null
        : iso(Math.max(...inside.map(({ begin_us, frame_us }) => begin_us + frame_us)) / 1_000),
      longest_frame_us: Math.max(...inside.map(({ frame_us }) => frame_us)),
      frames: inside.length,
    }
  })
}

/** Hyndman & Fan, type 7. */
function r7(values: readonly number[], p: number): number | null {
  const sorted = [...values].sort((a, b) => a - b)
  const h = (sorted.length - 1) * p
  const below = sorted[Math.floor(h)]
  return below === undefined ? null : below + (h - Math.floor(h)) * ((sorted[Math.ceil(h)] ?? below) - below)
}
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)
const mean = (values: readonly (number | undefined)[]): number | null => {
  const known = values.filter(value => value !== undefined)
  return known.length === 0 ? null : sum(known) / known.length
}

/** What one second was like, from the events that begin in it. */
function recomputedSecond(events: readonly QualityEvent[]) {
  const times = events.flatMap(e =>
    e.kind === 'frame_times' ? [...e.frame_time_us, ...(e.final && e.open_frame_us ? [e.open_frame_us] : [])] : [],
  )
  const rates = events.filter(event => event.kind === 'bitrate')
  const counted = rates.filter(e => e.packets_lost !== undefined && e.packets_received !== undefined)
  const lost = sum(counted.map(e => e.packets_lost ?? 0))
  const packets = lost + sum(counted.map(e => e.packets_received ?? 0))
  const covered_ms = sum(rates.map(e => e.interval_ms))
  const aimed = rates.filter(e => e.target_bitrate_kbps !== undefined)
  const aimed_ms = sum(aimed.map(e => e.interval_ms))
  return {
    fps: times.length === 0 ? null : (1e6 * times.length) / sum(times),
    frame_time_p95_us: r7(times, 0.95),
    frame_time_max_us: times.length === 0 ? null : Math.max(...times),
    bitrate_kbps: covered_ms === 0 ? null : sum(rates.map(e => e.bitrate_kbps * e.interval_ms)) / covered_ms,
    target_bitrate_kbps:
      aimed_ms === 0 ? null : sum(aimed.map(e => (e.target_bitrate_kbps ?? 0) * e.interval_ms)) / aimed_ms,
    available_kbps: mean(rates.map(e => e.available_kbps)),
    rtt_us: mean(rates.map(e => e.rtt_us)),
    jitter_us: mean(rates.map(e => e.jitter_us)),
    packet_loss_pct: packets === 0 ? null : (100 * lost) / packets,
    rung:
      [...rates].sort((a, b) => a.started_at_ms - b.started_at_ms || a.seq - b.seq).findLast(e => e.rung)?.rung ?? null,
  }
}

function expectTruth({ points, episodes }: Timeline, events: readonly QualityEvent[], from_ms: number): void {
  expect(episodes).toEqual(recomputedEpisodes(events))
  for (const [i, { t, ...point }] of points.entries()) {
    const at = from_ms + i * 1_000
    expect(t).toBe(iso(at))
    const wanted = recomputedSecond(events.filter(e => e.started_at_ms >= at && e.started_at_ms < at + 1_000))
    for (const [name, value] of Object.entries(wanted)) {
      const found = point[name as keyof typeof point]
      if (typeof value === 'number') expect(found, name).toBeCloseTo(value, 6)
      else expect(found, name).toBe(value)
    }
  }
}

describe('the timeline of a session', () => {
  test('says of each second what its events say, and what the player lived through, whatever that was', async () => {
    const frame = fc.oneof(
      { weight: 20, arbitrary: fc.integer({ min: 10_000, max: 22_000 }) },
      { weight: 2, arbitrary: fc.integer({ min: 30_000, max: 170_000 }) },
      { weight: 1, arbitrary: fc.integer({ min: 160_000, max: 3_000_000 }) },
    )
    const unknown = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined })
    const second = fc.record({
      pause_ms: fc.constantFrom(0, 0, 0, 300, 700, 2_500),
      target_fps: fc.constantFrom(30, 60, 60, 60, 144),
      frame_time_us: fc.array(frame, { maxLength: 50 }),
      paused: unknown(fc.constantFrom(true, false, false)),
      open_frame_us: unknown(fc.integer({ min: 0, max: 900_000 })),
      rate: unknown(
        fc.record({
          bitrate_kbps: fc.nat({ max: 40_000 }),
          interval_ms: fc.integer({ min: 100, max: 2_000 }),
          target_bitrate_kbps: unknown(fc.nat({ max: 50_000 })),
          available_kbps: unknown(fc.nat({ max: 60_000 })),
          rtt_us: unknown(fc.nat({ max: 200_000 })),
          jitter_us: unknown(fc.nat({ max: 20_000 })),
          packets_received: unknown(fc.nat({ max: 2_000 })),
          packets_lost: unknown(fc.nat({ max: 50 })),
          rung: unknown(fc.constantFrom('low', "mid'\\", 'high')),
        }),
      ),
    })
    const stories = fc.tuple(fc.array(second, { minLength: 1, maxLength: 25 }), fc.boolean())
    const known = (fields: object) =>
      Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined))

    const sessions = fc.sample(stories, { numRuns: 25, seed: 11 }).map(([seconds, final], s) => {
      const n = 1_000 + s
      let at_ms = START + s * 377
      return seconds.flatMap(({ pause_ms, rate: measured, ...said }, i): QualityEvent[] => {
        at_ms += pause_ms
        const last = final && i === seconds.length - 1 ? { final } : {}
        const event = frames(n, i, at_ms, { ...known(said), ...last })
        const beside = measured ? [rate(n, i, at_ms + 5, known(measured))] : []
        at_ms += Math.max(100, Math.floor(sum(said.frame_time_us) / 1_000))
        return [event, ...beside]
      })
    })
    await api.insert(sessions.flat())
    // Sent again: nothing of it counts twice.
    await api.insert(sessions.flat().filter((_, i) => i % 3 === 0))
    for (const [s, events] of sessions.entries()) {
      const found = await timelineOf(1_000 + s)
      const first_ms = Math.floor(Math.min(...events.map(e => e.started_at_ms)) / 10_000) * 10_000
      const end_ms = Math.floor(Math.max(...events.map(e => e.started_at_ms)) / 10_000) * 10_000 + 10_000
      expect(found.meta).toMatchObject({ tier: 'events', step_s: 1, from: iso(first_ms), to: iso(end_ms), sessions: 1 })
      expect(found.points).toHaveLength((end_ms - first_ms) / 1_000)
      expectTruth(found, events, first_ms)
    }
  })

  test('has the bad frames that the metrics count', async () => {
    const events = Array.from({ length: 240 }, (_, seq) => eventOf(3, seq, START))
    await api.insert(events)
    const { episodes } = await timelineOf(3)
    const { data } = await api.get(`/v1/sessions/${sessionId(3)}`)
    const metrics = data[0]?.metrics as Record<string, number>
    const bad =
      (Number(metrics.stutters_per_minute) + Number(metrics.freezes_per_minute)) * Number(metrics.session_minutes)
    expect(sum(episodes?.map(one => one.frames) ?? [])).toBeCloseTo(bad, 6)
    expect(episodes?.length).toBeGreaterThan(3)
  })

  test('shows a freeze that has not ended, and only where nothing ended it', async () => {
    const at = START + 20_000
    const good = Array(60).fill(16_667)
    const told = [
      frames(40, 0, at, { frame_time_us: good, open_frame_us: 400_000 }),
      // As long as nothing is shown an event begins where the last frame began to stand.
      frames(40, 1, at + 1_000, { open_frame_us: 1_400_000 }),
      frames(40, 2, at + 1_000, { open_frame_us: 2_400_000 }),
    ]
    await api.insert(told)
    expect((await timelineOf(40)).episodes).toEqual([
      { kind: 'freeze', from: iso(at + 1_000), to: null, longest_frame_us: 2_400_000, frames: 1 },
    ])
    await api.insert([frames(40, 3, at + 1_000, { frame_time_us: [3_000_000, 16_667], open_frame_us: 5_000 })])
    expect((await timelineOf(40)).episodes).toEqual([
      { kind: 'freeze', from: iso(at + 1_000), to: iso(at + 4_000), longest_frame_us: 3_000_000, frames: 1 },
    ])
    await api.insert([frames(40, 4, at + 4_016, { frame_time_us: good, open_frame_us: 9_000_000, paused: true })])
    expect((await timelineOf(40)).episodes).toHaveLength(1)
  })

  test('marks where the rung and the state changed', async () => {
    const at = START + 40_000
    const rungs = ['low', 'low', undefined, 'high', 'high', 'low']
    await api.insert([
      state(50, 0, at, {}),
      state(50, 1, at + 800, { state: 'first_frame', startup_ms: 812 }),
      ...rungs.map((rung, i) => rate(50, 2 + i, at + 1_000 + i * 1_000, rung === undefined ? {} : { rung })),
      state(50, 9, at + 9_000, { state: 'ended', end_reason: 'network' }),
    ])
    const { marks, points } = await timelineOf(50)
    const said = { startup_ms: null, end_reason: null }
    expect(marks).toEqual([
      { kind: 'state', at: iso(at), state: 'connecting', ...said },
      { kind: 'state', at: iso(at + 800), state: 'first_frame', ...said, startup_ms: 812 },
      { kind: 'rung', at: iso(at + 4_000), before: 'low', rung: 'high' },
      { kind: 'rung', at: iso(at + 6_000), before: 'high', rung: 'low' },
      { kind: 'state', at: iso(at + 9_000), state: 'ended', ...said, end_reason: 'network' },
    ])
    expect(points.map(({ rung }) => rung).slice(0, 8)).toEqual([null, 'low', 'low', null, 'high', 'high', 'low', null])
  })
})

describe('the range of a timeline', () => {
  const MINUTES = 45
  const events = Array.from({ length: MINUTES * 60 }, (_, i) =>
    frames(60, i, START + i * 1_000, { frame_time_us: [...Array(9).fill(16_667), i % 300 === 0 ? 100_000 : 16_667] }),
  )
  beforeAll(() => api.insert(events))

  test('is the last ten minutes of a long session, a point a second, and half an hour if asked', async () => {
    const { meta, points, episodes } = await timelineOf(60)
    const end = START + MINUTES * MINUTE_MS
    expect(meta).toMatchObject({ tier: 'events', step_s: 1, from: iso(end - 10 * MINUTE_MS), to: iso(end) })
    expect(points).toHaveLength(600)
    expect(episodes).toHaveLength(2)
    const longer = await timelineOf(60, { from: end - 30 * MINUTE_MS })
    expect([longer.meta.tier, longer.points.length, longer.episodes?.length]).toEqual(['events', 1_800, 6])
  })

  test('is what was asked, snapped to ten seconds', async () => {
    const { meta, points, episodes } = await timelineOf(60, { from: START + 123_456, to: START + 301_000 })
    expect(meta).toMatchObject({ tier: 'events', from: iso(START + 120_000), to: iso(START + 310_000), frames: 1_900 })
    expectTruth({ points, episodes, marks: [] }, events.slice(120, 310), START + 120_000)
    expect((await timelineOf(60, { to: START + MINUTE_MS })).points).toHaveLength(60)
    expect((await timelineOf(60, { from: START + 44 * MINUTE_MS })).points).toHaveLength(60)
  })

  test('of more than half an hour is answered from cells: fewer points, and nothing said of what happened', async () => {
    const range = { from: START, to: START + MINUTES * MINUTE_MS }
    const { meta, points, episodes, marks } = await timelineOf(60, range)
    expect(meta).toMatchObject({ tier: '10s', step_s: 10, frames: MINUTES * 600, sessions: 1 })
    expect([episodes, marks]).toEqual([null, null])
    expect(points).toHaveLength(MINUTES * 6)
    const { data } = await api.get('/v1/metrics/fps_avg/timeseries', {
      ...range,
      step: '10s',
      filter: `session_id:${sessionId(60)}`,
    })
    expect(points.map(({ t, fps }) => ({ t, value: fps }))).toEqual(data.map(({ t, value }) => ({ t, value })))
    expect(points[0]).toMatchObject({ frame_time_max_us: 100_000, rtt_us: null, target_bitrate_kbps: null, rung: null })
  })

  test('in which the session was silent has its points, all unknown', async () => {
    const range = { from: START - 10 * MINUTE_MS, to: START - 9 * MINUTE_MS }
    const { points, episodes, marks, meta } = await timelineOf(60, range)
    expect(points).toHaveLength(60)
    expect(points.every(({ fps, rung }) => fps === null && rung === null)).toBe(true)
    expect([episodes, marks, meta.frames]).toEqual([[], [], 0])
  })
})

describe('episodes', () => {
  const frame = fc.record({
    begin_us: fc.nat({ max: 10_000_000 }),
    frame_us: fc.integer({ min: 1, max: 2_000_000 }),
    kind: fc.constantFrom('stutter' as const, 'freeze' as const),
    open: fc.constant(false),
  })

  test('hold every bad frame once, apart by more than the gap, in whatever order the frames come', () => {
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 30 }), bad => {
        const episodes = episodesOf(bad)
        expect(sum(episodes.map(({ frames }) => frames))).toBe(bad.length)
        for (const [i, { begin_us, end_us }] of episodes.entries()) {
          expect(begin_us - (episodes[i - 1]?.end_us ?? Number.NEGATIVE_INFINITY)).toBeGreaterThan(EPISODE_GAP_US)
          expect(end_us).toBeGreaterThan(begin_us)
        }
        expect(episodesOf([...bad].reverse())).toEqual(episodes)
      }),
    )
  })
})

describe('what cannot be answered as put', () => {
  const path = `/v1/sessions/${sessionId(60)}/timeline`
  test.each([
    [`/v1/sessions/${sessionId(999)}/timeline`, {}, 404, 'unknown_session', 'id'],
    ['/v1/sessions/1/timeline', {}, 400, 'bad_session_id', 'id'],
    [path, { from: 'yesterday' }, 400, 'bad_time', 'from'],
    [path, { from: 'now', to: 'now-1h' }, 400, 'bad_range', 'from'],
    [path, { to: START - 20 * MINUTE_MS }, 400, 'bad_range', 'from'],
    [path, { step: '1s' }, 400, 'unknown_parameter', 'step'],
  ])('%s %j names what is wrong', async (where, query, status, code, parameter) => {
    expect(await api.refused(where, query as Query)).toMatchObject({ status, code, parameter })
  })

  test('no parameter carries SQL', async () => {
    for (const text of HARMFUL) {
      for (const name of ['from', 'to', 'tier', "x' OR 1"])
        expect(await api.refused(path, { [name]: text })).toMatchObject({ status: 400 })
      expect(await api.refused(`/v1/sessions/${encodeURIComponent(text)}/timeline`)).toMatchObject({ status: 400 })
    }
  })
})
