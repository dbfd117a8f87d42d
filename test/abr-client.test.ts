/**
 * The client for bitrate logic, over real sockets, before the real API: whatever stands between them or happens to it, the caller gets an
 * answer it can act upon, is told why it is not a fresh one, and the present again once there is one.
 */
import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BitrateEvent, FrameTimesEvent } from '../ingest/contract/events.ts'
import { createKafkaSender, type KafkaSender } from '../ingest/emit/kafka.ts'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { migrate } from '../ingest/store/migrate.ts'
import { firstRung, superviseOnce } from '../query/abr-client/client.example.ts'
import { type AbrAnswer, type AbrClient, createAbrClient } from '../query/abr-client/client.ts'
import { devKeyFile, openKeys } from '../query/http/keys.ts'
import { eventOf, sessionId } from './support/events.ts'
import { Relay } from './support/relay.ts'
import { RETENTION } from './support/seed.ts'
import {
  type Service,
  sharedServices,
  startApi,
  startIngester,
  stopServices,
  temporaryDirectory,
  unique,
} from './support/services.ts'
import { until } from './support/verify.ts'

const DEADLINE_MS = 60_000
const STANDING = { rung: '1080p60-10m', since_ms: 60_000, switches_last_minute: 0 }
const MEASURED = { target_bitrate_kbps: 10_000, available_kbps: 14_000, rung: STANDING.rung }
const { brokers, clickhouse } = sharedServices()
const id = sessionId(1)

let api: Service & { readonly url: string }
let store: Store
let relay: Relay
let key: string
let sender: KafkaSender
const clients: AbrClient[] = []
let seq = 0

function clientOf(timeout_ms = 50, url = relay.url): AbrClient {
  const client = createAbrClient({ url, key, timeout_ms })
  clients.push(client)
  return client
}

/** A good second of the session. */
async function speak(): Promise<void> {
  const now_ms = { started_at_ms: Date.now(), sent_at_ms: Date.now() }
  const frame_time_us = Array<number>(60).fill(16_667)
  const events = [
    { ...(eventOf(1, seq++, 0) as FrameTimesEvent), ...now_ms, frame_time_us, open_frame_us: 5_000 },
    { ...(eventOf(1, seq++, 0) as BitrateEvent), ...now_ms, ...MEASURED },
  ]
  await sender.sendRaw(
    events.map(event => ({ key: Buffer.from(event.session_id), value: Buffer.from(JSON.stringify(event)) })),
  )
}

/** Asks, while the session speaks, until the answer is as said. */
async function untilTold(client: AbrClient, what: string, holds: (answer: AbrAnswer) => boolean): Promise<AbrAnswer> {
  let last: AbrAnswer | undefined
  await until(what, DEADLINE_MS, async () => {
    await speak()
    last = await client.session(id, STANDING)
    return holds(last)
  })
  return last as AbrAnswer
}
const isFresh = ({ problem, stale, samples }: AbrAnswer): boolean => problem === undefined && !stale && samples > 0

beforeAll(async () => {
  const database = unique('abr_client')
  const topic = unique('abr_client')
  const data_dir = temporaryDirectory()
  await migrate({ ...clickhouse, database }, RETENTION)
  store = openStore({ ...clickhouse, database })
  openKeys(data_dir, undefined)
  key = readFileSync(devKeyFile(data_dir), 'utf8').trim()
  const place = { brokers, clickhouse, database, topic }
  await startIngester(place)
  const environment = { ABR_STALE_AFTER_MS: '8000', API_REQUESTS_PER_SECOND: '100000' }
  api = await startApi({ ...place, data_dir, environment })
  relay = await Relay.before(api.url)
  sender = createKafkaSender({ brokers: [brokers], topic })
  await sender.connect()
})
afterAll(async () => {
  for (const client of clients) await client.close()
  await relay?.stop()
  await sender?.disconnect()
  await store?.close()
  await stopServices()
})

test('tells what the API tells', async () => {
  const answer = await untilTold(clientOf(5_000), 'a fresh answer', isFresh)
  expect(answer).toMatchObject({ session_id: id, recommendation: { rung: STANDING.rung, reason: 'hold' } })
  expect(answer.safe_default).toEqual({ rung: STANDING.rung, target_bitrate_kbps: 10_000 })
  const ladder = [{ name: 'low', bitrate_kbps: 2_000 }] as const
  expect(await firstRung(clientOf(5_000), { access: 'wifi' })).toBe('720p60-5m')
  const start = await clientOf(5_000).start({ context: { access: 'wifi', host: 'not asked about' }, ladder })
  expect(start).toMatchObject({ recommendation: { rung: 'low' }, problem: undefined })
})

test('the guide shows the example, as it is', () => {
  const [guide = '', example = ''] = ['../docs/API.md', '../query/abr-client/client.example.ts'].map(file =>
    readFileSync(new URL(file, import.meta.url), 'utf8'),
  )
  const [loop = ''] = /^export async function superviseOnce[\s\S]*?^\}$/m.exec(example) ?? []
  expect(loop.split('\n').length).toBeGreaterThan(8)
  expect(guide).toContain(loop)
})

const json = (status: string, body: string): string =>
  `HTTP/1.1 ${status}\r\ncontent-type: application/json\r\ncontent-length: ${body.length}\r\n\r\n${body}`

describe.each([
  ['hangs', 'hang'],
  ['resets', 'reset'],
  ['answers 500', { say: json('500 Internal Server Error', '{"title":"no"}') }],
  ['answers another question', { say: json('200 OK', '{"session_id":"other"}') }],
  ['answers with a page', { say: json('200 OK', '<html>') }],
  ['answers what is no HTTP', { say: '\u0000\u0001\u0002 garbage \r\n\r\n' }],
  ['stops in the middle', { say: json('200 OK', '{"session_id"').replace('length: 13', 'length: 999') }],
] as const)('a server that %s', (_, mischief) => {
  test('keeps nobody waiting: the last state, getting older; and recovers', async () => {
    const client = clientOf(200)
    relay.does('none')
    const before = await untilTold(client, 'a fresh answer', isFresh)
    relay.does(mischief)
    const first = await client.session(id, STANDING)
    expect(first.problem).toEqual(expect.any(String))
    expect(first).toMatchObject({ as_of: before.as_of, state: before.state, recommendation: { rung: STANDING.rung } })
    const second = await client.session(id, STANDING)
    expect(second.age_ms).toBeGreaterThan(first.age_ms ?? Number.POSITIVE_INFINITY)
    expect(second.valid_for_ms).toBeLessThanOrEqual(first.valid_for_ms)
    relay.does('none')
    await untilTold(client, 'a fresh answer again', isFresh)
  })
})

test('an answer that comes too late is known the next time', async () => {
  const client = clientOf(50)
  let release = (): void => {}
  relay.does({
    answer: new Promise<void>(resolve => {
      release = resolve
    }),
  })
  expect(await client.session(id, STANDING)).toMatchObject({ samples: 0, problem: expect.stringContaining('waits') })
  release()
  await until('the late answer is known', DEADLINE_MS, async () => (await client.session(id, STANDING)).samples > 0)
})

test('a server that is down is not asked by everybody all the time, and not for ever', async () => {
  const client = clientOf(5_000)
  relay.does('reset')
  const asked = 100
  const problems = new Set<string | undefined>()
  for (let i = 0; i < asked; i++) problems.add((await client.session(sessionId(i + 10), STANDING)).problem)
  expect(problems).toContain('not asked: it did not answer lately')
  expect(relay.requests).toBeLessThan(asked / 2)
  relay.does('none')
  await until('asked again', DEADLINE_MS, async () => (await client.session(id, STANDING)).problem === undefined)
})

describe('a caller nobody answers', () => {
  test('is told what is safe: to stay, or where a session begins; of an unknown rung the lowest', async () => {
    const client = clientOf(50, 'http://127.0.0.1:1')
    const { recommendation, safe_default, stale, age_ms } = await client.session(id, STANDING)
    expect({ stale, age_ms }).toEqual({ stale: true, age_ms: null })
    expect(recommendation).toMatchObject({ rung: STANDING.rung, reason: 'state_unknown' })
    expect(safe_default).toMatchObject({ rung: STANDING.rung })
    expect((await client.start({})).recommendation).toMatchObject({ rung: '720p60-5m', reason: 'nothing_known' })
    const nowhere = await client.session(id, { ...STANDING, rung: 'nowhere' })
    expect(nowhere.recommendation).toMatchObject({ rung: '360p60-1m' })
  })

  test('hears what it did wrong, and the API hears it once', async () => {
    const client = clientOf(5_000)
    relay.does('none')
    // A busy machine may not answer within a second, and is asked again for that; never for what it refused.
    await until('the API says what is wrong, asked once', DEADLINE_MS, async () => {
      const before = relay.requests
      const { problem, recommendation } = await client.session(id, { ...STANDING, rung: 'nowhere' })
      expect(recommendation.rung).toBe('360p60-1m')
      return /^400 .*none of 360p60-1m/.test(problem ?? '') && relay.requests === before + 1
    })
  })
})

test('an API that is stopped for a while: the last state until it is too old, then what is safe, then the present', async () => {
  const client = clientOf(100, api.url)
  await untilTold(client, 'a fresh answer', isFresh)
  api.part.kill('SIGSTOP')
  try {
    const stale = await untilTold(client, 'too old', ({ stale }) => stale)
    expect(stale.problem).toEqual(expect.any(String))
    expect(stale.age_ms).toBeGreaterThan(8_000)
    expect(stale.recommendation).toEqual({ ...stale.safe_default, reason: 'stale' })
    expect(stale.state?.samples).toBeGreaterThan(0)
  } finally {
    api.part.kill('SIGCONT')
  }
  await untilTold(client, 'a fresh answer again', isFresh)
})

test('decisions of the example’s loop are in the ledger once, though the API was away when they were made', async () => {
  const client = clientOf(1_000)
  relay.does('none')
  await untilTold(client, 'a fresh answer', isFresh)
  relay.does('reset')
  const encoder = { ...STANDING, rung: '1440p60-25m' }
  // More than there is: the last state says so as well as the API would.
  const answer = await superviseOnce(client, id, encoder)
  expect(answer.recommendation.reason).toBe('does_not_fit')
  expect(encoder.rung).toBe(answer.recommendation.rung)
  relay.does('none')
  const ledger = `SELECT to_rung, count() AS times FROM events_v1 WHERE kind = 'abr_decision' GROUP BY to_rung`
  await until('the decision is stored', DEADLINE_MS, async () => (await store.query(ledger, {})).length > 0)
  expect(await store.query(ledger, {})).toEqual([{ to_rung: encoder.rung, times: 1 }])
})
