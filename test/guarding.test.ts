/**
 * Who may ask what, how often and how much: 401, 403, 422, 429 and 503 that say what to do; and that whoever asks much is not in the
 * way of whoever asks little.
 */

import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { createRoute, OpenAPIHono, z } from '@hono/zod-openapi'
import { pino } from 'pino'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { migrate } from '../ingest/store/migrate.ts'
import type { AppOptions } from '../query/http/app.ts'
import { guard } from '../query/http/guard.ts'
import { entryOf, type KeyEntry, keysOf, newKey, openKeys } from '../query/http/keys.ts'
import type { RequestEnv } from '../query/http/problems.ts'
import { needs, requirementsOf, SCOPES, type Scope } from '../query/http/scopes.ts'
import { FAILED_ATTEMPTS_MAX } from '../query/http/strangers.ts'
import { createQueryVitals } from '../query/http/vitals.ts'
import { apiOver } from './support/app.ts'
import { eventOf, sessionId } from './support/events.ts'
import { keyFor, RETENTION, Seed, settleAll } from './support/seed.ts'
import { ownDatabase, temporaryDirectory } from './support/services.ts'
import { until } from './support/verify.ts'

const MINUTE_MS = 60_000
const NOW = Date.now()
const START = Math.floor(NOW / MINUTE_MS) * MINUTE_MS - 10 * MINUTE_MS
const SESSIONS = 6
const SECONDS = 300
/** Every ten-second cell there is. */
const CELLS = (SESSIONS * SECONDS) / 10
const { key, hash } = keyFor('guarding tests')

let store: Store
beforeAll(async () => {
  const config = ownDatabase('guarding')
  await migrate(config, RETENTION)
  store = openStore(config)
  const events = Array.from({ length: SESSIONS }, (_, n) =>
    Array.from({ length: SECONDS * 2 }, (_, seq) => eventOf(n, seq, START)),
  )
  await new Seed(store, 'guarding#1').insert(events.flat())
  await settleAll(store, START / 1_000 - 3_600)
})
afterAll(() => store?.close())

const appWith = (options: Partial<AppOptions> = {}) => apiOver(store, [hash], { now: () => NOW, ...options })
type App = ReturnType<typeof appWith>

interface Asked {
  readonly with?: string
  readonly from?: string
  readonly method?: string
}
async function ask(app: App, path: string, asked: Asked = {}) {
  const headers = { authorization: `Bearer ${asked.with ?? key}` }
  const address = { incoming: { socket: { remoteAddress: asked.from ?? '192.0.2.1' } } }
  const response = await app.request(path, { headers, method: asked.method ?? 'GET' }, address)
  const text = await response.text()
  const json = (response.headers.get('content-type') ?? '').includes('json')
  const body = json && text !== '' ? (JSON.parse(text) as Record<string, unknown>) : {}
  return {
    status: response.status,
    code: body.code,
    detail: String(body.detail),
    body,
    text,
    headers: response.headers,
  }
}

const RANGE = `from=${START}&to=${START + SECONDS * 1_000}`
const HEAVY = `/v1/metrics/fps_avg?${RANGE}`
const LIGHT = `/v1/sessions/${sessionId(1)}`
/** One of each scope that has a route. */
const ROUTES: Partial<Record<Scope, string>> = { 'metrics:read': HEAVY, 'sessions:read': LIGHT }

/** A store whose answers to some questions are held back until they are let go. */
function holding(isHeld: (sql: string) => boolean) {
  const calls: string[] = []
  let letGo = (): void => {}
  const gate = new Promise<void>(resolve => {
    letGo = resolve
  })
  const held: Store = {
    ...store,
    async query(sql, params, settings) {
      calls.push(sql)
      if (isHeld(sql)) await gate
      return store.query(sql, params, settings)
    },
  }
  return { store: held, calls, letGo }
}
const isOverall = (sql: string): boolean => sql.includes('AS value')

describe('a keys file', () => {
  const fileOf = (content: unknown): string => {
    const file = join(temporaryDirectory(), 'keys.json')
    writeFileSync(file, typeof content === 'string' ? content : JSON.stringify(content))
    return file
  }
  const open = (content: unknown) => openKeys(temporaryDirectory(), fileOf(content))
  const [reader, other] = [newKey(), newKey()]
  const entry = entryOf('grafana', reader, ['metrics:read'])

  test('says whose each key is and what it may do; the key itself is nowhere', () => {
    const file = fileOf([entry, { ...entryOf('ops', other, ['admin']), requests_per_second: 5 }])
    expect(readFileSync(file, 'utf8')).not.toContain(reader)
    const keys = openKeys(temporaryDirectory(), file)
    expect(keys.admit(`Bearer ${reader}`)).toEqual({ id: 'grafana', scopes: new Set(['metrics:read']) })
    expect(keys.admit(`Bearer ${other}`)).toMatchObject({ id: 'ops', requests_per_second: 5 })
    expect(keys.admit(`Bearer ${newKey()}`)).toBeUndefined()
  })

  test.each<[string, unknown, RegExp]>([
    ['no JSON', `{"sha256":"${entry.sha256}"`, /is no JSON/],
    ['no list', entry, /expected array/],
    ['nobody', [], /refused/],
    ['no hash', [entry, { ...entry, id: 'b', sha256: reader }], /entry 2, sha256: expected the SHA-256/],
    ['a scope nobody knows', [{ ...entry, scopes: ['everything'] }], /entry 1, scopes\.0: .*metrics:read/],
    ['no scope', [{ ...entry, scopes: [] }], /entry 1, scopes/],
    ['a name for two', [entry, { ...entryOf('grafana', other, ['admin']) }], /entry 2: its id occurs twice/],
    ['a key for two', [entry, { ...entry, id: 'b' }], /entry 2: its sha256 occurs twice/],
    ['a limit of none', [{ ...entry, requests_per_second: 0 }], /entry 1, requests_per_second/],
    ['a word too much', [{ ...entry, key: 1 }], /entry 1: .*key/],
  ])('with %s stops the start and says where, without what stands there', (_, content, said) => {
    let message = ''
    try {
      open(content)
    } catch (error) {
      message = error instanceof Error ? error.message : ''
    }
    expect(message).toMatch(/^API_KEYS_FILE .*keys\.json/)
    expect(message).toMatch(said)
    expect(message).not.toContain(entry.sha256)
    expect(message).not.toContain(reader)
  })

  test('that is not there stops the start', () => {
    expect(() => openKeys(temporaryDirectory(), join(temporaryDirectory(), 'none.json'))).toThrow(/ENOENT/)
  })
})

describe('a key', () => {
  test.each(SCOPES)('with the scope %s does what that is for, and nothing else', async scope => {
    const mine = newKey()
    const app = appWith({ keys: keysOf([entryOf('mine', mine, [scope])]) })
    for (const [needed, path] of Object.entries(ROUTES)) {
      const { status, code, detail } = await ask(app, path, { with: mine })
      if (scope === needed || scope === 'admin') expect(status).toBe(200)
      else expect({ status, code, detail }).toMatchObject({ status: 403, code: 'forbidden', detail: /\bscope \S+/ })
      if (status === 403) expect(detail).toContain(needed)
    }
    expect((await ask(app, '/v1/nothing', { with: mine })).status).toBe(404)
  })

  test('is asked for its scope by HEAD as well', async () => {
    const mine = newKey()
    const app = appWith({ keys: keysOf([entryOf('mine', mine, ['abr:read'])]) })
    expect((await ask(app, HEAVY, { with: mine, method: 'HEAD' })).status).toBe(403)
  })

  test('is needed with a scope by every route: one that names none is no app', () => {
    const app = new OpenAPIHono<RequestEnv>()
    const responses = { 200: { description: 'x', content: { 'application/json': { schema: z.object({}) } } } }
    const named = createRoute({ method: 'get', path: '/v1/a/{id}', security: needs('admin'), responses })
    app.use('/v1/*', (_, next) => next())
    app.openapi(named, c => c.json({}, 200))
    expect(requirementsOf(app)).toEqual(new Map([['GET /v1/a/:id', 'admin']]))
    app.openapi(createRoute({ method: 'post', path: '/v1/b', responses }), c => c.json({}, 200))
    expect(() => requirementsOf(app)).toThrow(/POST \/v1\/b does not say which scope/)
  })
})

describe('a key’s requests', () => {
  test('are so many in a window; then 429 says how many, and when to try again', async () => {
    const [a, b, c] = [newKey(), newKey(), newKey()]
    const entries: KeyEntry[] = [
      entryOf('a', a, ['admin']),
      entryOf('b', b, ['admin']),
      { ...entryOf('c', c, ['admin']), requests_per_second: 3 },
    ]
    const app = appWith({ keys: keysOf(entries), limits: { requests_per_second: 1 } })
    const spend = async (mine: string) => {
      for (let n = 1; ; n++) {
        const answer = await ask(app, '/v1/nothing', { with: mine })
        if (answer.status === 429) return { n, answer }
      }
    }
    const { n, answer } = await spend(a)
    expect(n).toBe(11)
    expect(answer.code).toBe('too_many_requests')
    expect(answer.detail).toMatch(/may ask 1 times a second.*try again in \d+ s/)
    expect(Number(answer.headers.get('retry-after'))).toBeGreaterThan(0)
    expect(answer.headers.get('ratelimit-policy')).toBe('"key";q=10;w=10')
    expect(answer.headers.get('ratelimit')).toMatch(/^"key";r=0;t=\d+$/)
    const others = await ask(app, '/v1/metrics/none', { with: b })
    expect(others.status).toBe(404)
    expect(others.headers.get('ratelimit')).toMatch(/^"key";r=9;t=\d+$/)
    expect((await spend(c)).n).toBe(31)
  })

  test('are so many at once, whatever becomes of them', async () => {
    const { store: held, letGo, calls } = holding(isOverall)
    const app = appWith({ store: held, limits: { concurrent_requests: 1 } })
    const first = ask(app, HEAVY)
    await until('the question is asked', 10_000, () => calls.some(isOverall))
    const second = await ask(app, LIGHT)
    expect(second).toMatchObject({ status: 429, code: 'too_many_requests' })
    expect(second.detail).toMatch(/may have 1 requests at once/)
    expect(second.headers.get('retry-after')).toBe('1')
    letGo()
    expect((await first).status).toBe(200)
    for (const path of ['/v1/metrics/none', '/v1/nothing', LIGHT]) expect((await ask(app, path)).status).not.toBe(429)
  })
})

describe('an answer that is streamed', () => {
  const streaming = () => {
    const app = new OpenAPIHono<RequestEnv>()
    app.use(async (c, next) => {
      c.set('request_id', 'test')
      await next()
    })
    const limits = { requests_per_second: 100, concurrent_requests: 1 }
    app.use(guard({ keys: keysOf([hash]), limits, vitals: createQueryVitals(), requirements: () => new Map() }))
    app.get('/rows', c => c.body(new Blob(['a,b\n', '1,2\n']).stream(), 200, { 'content-type': 'text/csv' }))
    return async () => app.request('/rows', { headers: { authorization: `Bearer ${key}` } })
  }

  test('is one of the requests at once until it is read, or nobody reads it any more', async () => {
    const request = streaming()
    const first = await request()
    expect((await request()).status).toBe(429)
    expect(await first.text()).toBe('a,b\n1,2\n')
    const second = await request()
    expect(second.status).toBe(200)
    expect((await request()).status).toBe(429)
    await second.body?.cancel()
    expect((await request()).status).toBe(200)
  })
})

describe('keys that are none of ours', () => {
  test('are tried so often from an address; then it is let in with none but those it used before', async () => {
    const [used, unused] = [newKey(), newKey()]
    const app = appWith({ keys: keysOf([entryOf('used', used, ['admin']), entryOf('unused', unused, ['admin'])]) })
    const guesser = '198.51.100.7'
    await ask(app, '/v1/nothing', { with: used, from: guesser })
    for (let n = 0; n < FAILED_ATTEMPTS_MAX; n++)
      expect((await ask(app, '/v1/metrics', { with: `guess-${n}`, from: guesser })).status).toBe(401)
    const over = await ask(app, '/v1/metrics', { with: 'one-more', from: guesser })
    expect(over).toMatchObject({ status: 429, code: 'too_many_requests' })
    expect(Number(over.headers.get('retry-after'))).toBeGreaterThan(0)
    // Whether it was right does not show any more.
    expect((await ask(app, '/v1/nothing', { with: unused, from: guesser })).status).toBe(429)
    expect((await ask(app, '/v1/nothing', { with: used, from: guesser })).status).toBe(404)
    expect((await ask(app, '/v1/nothing', { with: unused, from: '203.0.113.9' })).status).toBe(404)
  })
})

describe('a question', () => {
  test('that would read too much is refused before it is asked, and told what to narrow', async () => {
    const { store: held, calls } = holding(() => false)
    const app = appWith({ store: held, asking: { rows_max: CELLS / 2 } })
    const { status, code, body, detail } = await ask(app, HEAVY)
    expect({ status, code, parameter: body.parameter }).toEqual({
      status: 422,
      code: 'too_expensive',
      parameter: 'from',
    })
    expect(detail).toMatch(/narrow from and to to about 2 min/)
    expect(calls.filter(isOverall)).toEqual([])
    expect((await ask(app, `/v1/metrics/fps_avg?from=${START}&to=${START + 100_000}`)).status).toBe(200)
    expect((await ask(app, LIGHT)).status).toBe(200)
  })

  test('that is light is answered while the heavy lane is full, and a heavy one more is told to come back', async () => {
    const { store: held, letGo, calls } = holding(isOverall)
    const lanes = {
      light: { running: 2, waiting: 10, wait_ms: 60_000 },
      heavy: { running: 1, waiting: 1, wait_ms: 60_000 },
    }
    const app = appWith({ store: held, asking: { heavy_rows: CELLS / 2, lanes } })
    const order: string[] = []
    const done = (name: string) => (answer: Awaited<ReturnType<typeof ask>>) => {
      order.push(name)
      return answer
    }
    // Two heavy questions: one is asked, one waits.
    const heavy = ask(app, HEAVY).then(done('heavy'))
    await until('the question is asked', 10_000, () => calls.some(isOverall))
    const light = await ask(app, LIGHT).then(done('light'))
    expect(light.status).toBe(200)
    const more = await ask(app, `${HEAVY}&filter=game:game-1`).then(done('one more'))
    expect(more).toMatchObject({ status: 503, code: 'busy' })
    expect(Number(more.headers.get('retry-after'))).toBeGreaterThan(0)
    const vitals = (await ask(app, '/metrics')).text
    expect(vitals).toContain('query_lane_running{lane="heavy"} 1')
    expect(vitals).toContain('query_lane_waiting{lane="heavy"} 1')
    expect(vitals).toMatch(/query_lane_full_total\{lane="heavy"\} [12]/)
    letGo()
    expect((await heavy).status).toBe(200)
    expect(order).toEqual(['light', 'one more', 'heavy'])
    expect((await ask(app, '/metrics')).text).toContain('query_lane_running{lane="heavy"} 0')
  })

  test('that many ask at once is asked once, and for a moment after that not again', async () => {
    const { store: held, letGo, calls } = holding(isOverall)
    const app = appWith({ store: held, share_ms: 600_000 })
    const many = Array.from({ length: 20 }, () => ask(app, HEAVY))
    await until('the question is asked', 10_000, () => calls.some(isOverall))
    letGo()
    const answers = await Promise.all(many)
    const asked = calls.length
    expect(new Set(answers.map(({ text }) => text)).size).toBe(1)
    expect(calls.filter(isOverall)).toHaveLength(1)
    expect((await ask(app, HEAVY)).body).toEqual(answers[0]?.body)
    expect(calls).toHaveLength(asked)
    expect((await ask(app, `/v1/metrics/fps_p1?${RANGE}`)).status).toBe(200)
    expect(calls.filter(isOverall)).toHaveLength(2)
    expect((await ask(app, '/metrics')).text).toMatch(/query_shared_questions_total\{result="taken"\} \d/)
    // A write, whatever becomes of it: who comes after it may not see what was before.
    await ask(app, '/v1/nothing', { method: 'POST' })
    await ask(app, HEAVY)
    expect(calls.filter(isOverall)).toHaveLength(3)
  })

  test('that failed is asked again', async () => {
    let ill = true
    const fails: Store = {
      ...store,
      query: (sql, params, settings) =>
        ill && isOverall(sql) ? Promise.reject(new Error('away')) : store.query(sql, params, settings),
    }
    const app = appWith({ store: fails, share_ms: 600_000 })
    expect((await ask(app, HEAVY)).status).toBe(503)
    ill = false
    expect((await ask(app, HEAVY)).status).toBe(200)
  })
})

describe('the log', () => {
  test('has one line per request: whose key, which route, how it ended, and nothing of what was asked', async () => {
    const lines: string[] = []
    const log = pino({ level: 'debug', messageKey: 'event' }, { write: (line: string) => lines.push(line) })
    const app = appWith({ log })
    await ask(app, `${HEAVY}&filter=isp:secret`)
    await ask(app, LIGHT)
    await ask(app, '/v1/elsewhere/secret')
    await ask(app, '/v1/metrics', { with: 'no-key' })
    await ask(app, '/livez')
    const requests = lines.map(line => JSON.parse(line)).filter(({ event }) => event === 'request')
    expect(requests.map(({ method, route, status, key, level }) => [method, route, status, key, level])).toEqual([
      ['GET', '/v1/metrics/:id', 200, 'key-1', 30],
      ['GET', '/v1/sessions/:id', 200, 'key-1', 30],
      ['GET', 'none', 404, 'key-1', 30],
      ['GET', '/v1/metrics', 401, undefined, 30],
      ['GET', '/livez', 200, undefined, 20],
    ])
    for (const { ms, request_id } of requests) expect([ms >= 0, request_id.length]).toEqual([true, 36])
    expect(lines.join('')).not.toMatch(/secret|192\.0\.2|no-key/)
    expect(lines.join('')).not.toContain(sessionId(1))
    expect(lines.join('')).not.toContain(key)
  })
})
