/**
 * What adaptive-bitrate logic asks while a game runs, over a real Kafka and the API process: answers come from memory, say how old they
 * are, and are 200 whatever is unknown; only a malformed request is refused.
 */

import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BitrateEvent, FrameTimesEvent, QualityEvent } from '../ingest/contract/events.ts'
import { createKafkaSender, type KafkaSender } from '../ingest/emit/kafka.ts'
import { migrate } from '../ingest/store/migrate.ts'
import type { Advice, PriorAdvice } from '../query/abr/advice.ts'
import { devKeyFile, openKeys } from '../query/http/keys.ts'
import { eventOf, sessionId } from './support/events.ts'
import { RETENTION } from './support/seed.ts'
import { sharedServices, startApi, stopServices, temporaryDirectory, unique } from './support/services.ts'
import { createTopic } from './support/topic.ts'
import { until } from './support/verify.ts'

const DEADLINE_MS = 60_000
const RUNG = '1080p60-10m'
const { brokers, clickhouse } = sharedServices()
const topic = unique('abr')
const data_dir = temporaryDirectory()
const begun_ms = Date.now() - 20_000

let url: string
let authorization: string
let sender: KafkaSender
const seqs = new Map<number, number>()

/** A second of session `n` as it is meant to be, and what differs. */
function second(n: number, frames: Partial<FrameTimesEvent> = {}, rate: Partial<BitrateEvent> = {}): QualityEvent[] {
  const seq = seqs.get(n) ?? 0
  seqs.set(n, seq + 2)
  const good = Array.from({ length: 60 }, () => 16_667)
  return [
    { ...(eventOf(n, seq, begun_ms) as FrameTimesEvent), frame_time_us: good, open_frame_us: 5_000, ...frames },
    {
      ...(eventOf(n, seq + 1, begun_ms) as BitrateEvent),
      ...{ bitrate_kbps: 9_900, target_bitrate_kbps: 10_000, available_kbps: 14_000, rung: RUNG },
      ...{ rtt_us: 20_000, jitter_us: 500, packets_received: 1_000, packets_lost: 0 },
      ...{ width: 1_920, height: 1_080, encoded_fps: 60 },
      ...rate,
    },
  ]
}
const send = (events: readonly QualityEvent[]): Promise<unknown> =>
  sender.sendRaw(
    events.map(event => ({ key: Buffer.from(event.session_id), value: Buffer.from(JSON.stringify(event)) })),
  )
const seconds = (n: number, count: number): QualityEvent[] => Array.from({ length: count }, () => second(n)).flat()

const ask = (path: string, init: RequestInit = {}): Promise<Response> =>
  fetch(`${url}${path}`, { ...init, headers: { authorization, 'content-type': 'application/json' } })
async function told<T = Advice>(path: string, init: RequestInit = {}): Promise<T> {
  const response = await ask(path, init)
  expect(response.status, await response.clone().text()).toBe(200)
  return (await response.json()) as T
}
const adviceOf = (n: number, query = ''): Promise<Advice> => told(`/v1/abr/sessions/${sessionId(n)}${query}`)
/** Waits until the answer is as said. */
async function untilTold(n: number, what: string, holds: (advice: Advice) => boolean, query = ''): Promise<Advice> {
  let last: Advice | undefined
  await until(`session ${n}: ${what}`, DEADLINE_MS, async () => {
    last = await adviceOf(n, query)
    return holds(last)
  })
  return last as Advice
}

/** Until it holds; the session says a good second before each try. */
async function whileSpeaking(n: number, holds: () => Promise<void>): Promise<void> {
  await until(`session ${n} is told of`, DEADLINE_MS, async () => {
    await send(second(n))
    await holds()
    return true
  })
}

beforeAll(async () => {
  const database = unique('abr')
  await migrate({ ...clickhouse, database }, RETENTION)
  await createTopic(brokers, topic, 3)
  sender = createKafkaSender({ brokers: [brokers], topic })
  await sender.connect()
  // Before the API starts: it is ready only once it knows of them.
  await send([1, 2, 3].flatMap(n => seconds(n, 10)))
  openKeys(data_dir, undefined)
  authorization = `Bearer ${readFileSync(devKeyFile(data_dir), 'utf8').trim()}`
  const environment = { ABR_STALE_AFTER_MS: '6000', API_REQUESTS_PER_SECOND: '100000' }
  url = (await startApi({ brokers, clickhouse, database, topic, data_dir, environment })).url
})
afterAll(async () => {
  await sender?.disconnect()
  await stopServices()
})

describe('the state of a session', () => {
  test('is there from the first moment the API calls itself ready', async () => {
    for (const n of [1, 2, 3]) expect((await adviceOf(n)).samples).toBe(10)
  })

  test('is its last ten seconds, stamped with its age', async () => {
    // Again while it holds not: on a machine that stands still for seconds the newest frame grows meanwhile, as it should.
    await whileSpeaking(1, async () => {
      const { state, age_ms, stale, as_of, ...rest } = await adviceOf(1)
      expect(state).toMatchObject({
        ...{ bitrate_avg_kbps: 9_900, target_bitrate_kbps: 10_000, rung: RUNG, samples: 10, completeness_pct: 100 },
        ...{ packet_loss_pct: 0, late_frame_pct: 0, freeze_time_pct: 0, stutter_time_pct: 0, open_frame_us: 5_000 },
        available_kbps: { last: 14_000, stdev: 0, error_max_5: expect.closeTo(0, 9) },
      })
      expect(state?.fps_avg).toBeCloseTo(60, 1)
      expect(state?.mos_avg).toBeGreaterThan(3)
      expect(state?.available_kbps.harmonic_mean).toBeCloseTo(14_000, 6)
      expect({ stale, ...rest }).toMatchObject({ stale: false, samples: 10, freeze_in_progress: false })
      expect(Date.now() - Date.parse(as_of ?? '')).toBeGreaterThanOrEqual(age_ms ?? Number.NaN)
      expect(rest.safe_default).toEqual({ rung: RUNG, target_bitrate_kbps: 10_000 })
    })
  })

  test('gets older, truly, and says when it is too old; what is safe is then recommended', async () => {
    const before = await untilTold(2, 'stale', ({ stale }) => stale)
    expect(before.age_ms).toBeGreaterThan(6_000)
    expect(before.valid_for_ms).toBe(0)
    expect(before.recommendation).toEqual({ rung: RUNG, target_bitrate_kbps: 10_000, reason: 'stale' })
    const after = await untilTold(2, 'older', ({ age_ms }) => (age_ms ?? 0) > (before.age_ms ?? 0))
    expect(after.as_of).toBe(before.as_of)
    await send(seconds(2, 1))
    await untilTold(2, 'fresh again', ({ stale }) => !stale)
  })

  test('shows a freeze in progress, and takes the stream down', async () => {
    await send(second(3, { frame_time_us: [16_667], open_frame_us: 900_000 }))
    const { freeze_in_progress, recommendation } = await untilTold(
      3,
      'frozen',
      ({ state }) => state?.open_frame_us === 900_000,
    )
    expect(freeze_in_progress).toBe(true)
    expect(recommendation).toEqual({ rung: '720p60-5m', target_bitrate_kbps: 5_000, reason: 'freeze' })
  })

  test('shows a freeze by silence too, while it is not stale and others are heard', async () => {
    await send(seconds(4, 10))
    await untilTold(4, 'heard', ({ samples, stale }) => samples === 10 && !stale)
    const { age_ms, stale, state } = await untilTold(
      4,
      'silent',
      ({ freeze_in_progress }) => freeze_in_progress === true,
    )
    expect(age_ms).toBeGreaterThan(2_000)
    expect(stale).toBe(false)
    expect(state?.open_frame_us).toBeGreaterThan(2_000_000)
  })

  test('is of where the caller stands, if it says so', async () => {
    const settling = '?rung=1080p60-15m&since_ms=500&switches_last_minute=1'
    const step = { rung: '1080p60-15m', target_bitrate_kbps: 15_000, reason: 'settling' }
    await whileSpeaking(1, async () => expect((await adviceOf(1, settling)).recommendation).toEqual(step))
    const own = '?rung=low&since_ms=60000&ladder=low:1000,high:9000'
    const climb = { rung: 'high', target_bitrate_kbps: 9_000, reason: 'climb' }
    await whileSpeaking(1, async () => expect((await adviceOf(1, own)).recommendation).toEqual(climb))
  })

  test('of an unknown session is 200, with nothing known and a place to begin', async () => {
    expect(await adviceOf(99)).toEqual({
      ...{ session_id: sessionId(99), as_of: null, age_ms: null, stale: true, valid_for_ms: 0, samples: 0 },
      ...{ completeness_pct: null, freeze_in_progress: null, safe_default: null, state: null },
      prior: expect.toBeOneOf([null, expect.objectContaining({ level: 'global', start_bitrate_kbps: null })]),
      recommendation: { rung: '720p60-5m', target_bitrate_kbps: 5_000, reason: 'nothing_known' },
    })
    const { safe_default, recommendation } = await adviceOf(99, `?rung=${RUNG}`)
    expect(safe_default).toEqual({ rung: RUNG, target_bitrate_kbps: 10_000 })
    expect(recommendation.reason).toBe('state_unknown')
  })

  test('is forgotten when the session says that it has ended', async () => {
    await send(seconds(5, 2))
    await untilTold(5, 'heard', ({ samples }) => samples === 2)
    const [last] = second(5)
    const { v, session_id, source, seq, started_at_ms, sent_at_ms, context } = last as FrameTimesEvent
    await send([{ v, session_id, source, seq, started_at_ms, sent_at_ms, context, kind: 'session', state: 'ended' }])
    await untilTold(5, 'gone', ({ as_of }) => as_of === null)
  })
})

describe('other ways to ask', () => {
  test('a batch answers in the order it was asked', async () => {
    const sessions = [99, 1, 2].map(n => ({ session_id: sessionId(n) }))
    const { data } = await told<{ data: Advice[] }>('/v1/abr/sessions:batch', {
      method: 'POST',
      body: JSON.stringify({ sessions: [...sessions, { session_id: sessionId(1), rung: RUNG, since_ms: 9 }] }),
    })
    expect(data.map(({ session_id, samples }) => [session_id, samples])).toEqual([
      ...[
        [sessionId(99), 0],
        [sessionId(1), 10],
        [sessionId(2), 10],
        [sessionId(1), 10],
      ],
    ])
  })

  test('a prior of nobody is a place to begin', async () => {
    const { recommendation, stale, prior } = await told<PriorAdvice>('/v1/abr/prior?isp=isp-1&access=wifi')
    expect(recommendation).toEqual({ rung: '720p60-5m', target_bitrate_kbps: 5_000, reason: 'nothing_known' })
    expect(prior).toEqual(expect.toBeOneOf([null, expect.objectContaining({ level: 'global', cap_kbps: null })]))
    expect(stale).toBeTypeOf('boolean')
  })

  test('a stream tells the state at once, and again when it changed', async () => {
    await send(seconds(6, 10))
    await untilTold(6, 'heard', ({ samples }) => samples === 10)
    const leaving = new AbortController()
    const response = await ask(`/v1/abr/stream?sessions=${sessionId(6)},${sessionId(98)}`, { signal: leaving.signal })
    expect(response.headers.get('content-type')).toMatch(/^text\/event-stream/)
    const states = statesOf(response)
    const first = [(await states.next()).value, (await states.next()).value]
    expect(first.map(advice => advice?.session_id).sort()).toEqual([sessionId(6), sessionId(98)])
    await send(second(6, { open_frame_us: 700_000 }))
    let frozen: Advice | undefined
    while (frozen?.freeze_in_progress !== true) frozen = (await states.next()).value as Advice
    expect(frozen.state?.open_frame_us).toBeGreaterThanOrEqual(700_000)
    leaving.abort()
  })
})

async function* statesOf(response: Response): AsyncGenerator<Advice, undefined> {
  let text = ''
  for await (const chunk of response.body?.pipeThrough(new TextDecoderStream()) ?? []) {
    text += chunk
    for (let end = text.indexOf('\n\n'); end >= 0; end = text.indexOf('\n\n')) {
      const message = text.slice(0, end)
      text = text.slice(end + 2)
      if (message.includes('event: state')) yield JSON.parse(/^data: (.*)$/m.exec(message)?.[1] ?? '')
    }
  }
  return undefined
}

describe('a malformed request', () => {
  const many = Array.from({ length: 501 }, (_, n) => ({ session_id: sessionId(n) }))
  test.each([
    ['an id that is none', '/v1/abr/sessions/me', undefined, 'bad_session_id', 'id'],
    ['an unknown rung', `/v1/abr/sessions/${sessionId(1)}?rung=8k`, undefined, 'unknown_rung', 'rung'],
    ['a ladder out of order', `/v1/abr/sessions/${sessionId(1)}?ladder=a:2,b:1`, undefined, 'bad_ladder', 'ladder'],
    ['a ladder of words', `/v1/abr/prior?ladder=a`, undefined, 'bad_ladder', 'ladder'],
    [
      'a time that is none',
      `/v1/abr/sessions/${sessionId(1)}?rung=${RUNG}&since_ms=-1`,
      undefined,
      'bad_parameter',
      'since_ms',
    ],
    ['501 in a batch', '/v1/abr/sessions:batch', { sessions: many }, 'bad_parameter', 'sessions'],
    [
      'one bad id in a batch',
      '/v1/abr/sessions:batch',
      { sessions: [{ session_id: 'x' }] },
      'bad_session_id',
      'sessions.0.session_id',
    ],
    [
      'one unknown rung in a batch',
      '/v1/abr/sessions:batch',
      { sessions: [{ session_id: sessionId(1), rung: 'x' }] },
      'unknown_rung',
      'sessions.0.rung',
    ],
    ['a stream of nobody', '/v1/abr/stream?sessions=', undefined, 'bad_session_id', 'sessions'],
  ])('%s is refused by name', async (_, path, body, code, parameter) => {
    const response = await ask(path, body === undefined ? {} : { method: 'POST', body: JSON.stringify(body) })
    const problem = await response.json()
    expect({ status: response.status, ...(problem as object) }).toMatchObject({ status: 400, code, parameter })
  })
})
