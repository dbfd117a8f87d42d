/**
 * The API as a service: who may ask, what is told when the store is ill, and the process around it.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { chmodSync, existsSync, readFileSync, statSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { migrate } from '../ingest/store/migrate.ts'
import { devKeyFile, openKeys } from '../query/http/keys.ts'
import { apiOver } from './support/app.ts'
import { keyFor, RETENTION } from './support/seed.ts'
import { sharedServices, temporaryDirectory, unique } from './support/services.ts'
import { createTopic } from './support/topic.ts'

const { key, hash } = keyFor('service tests')
const authorization = `Bearer ${key}`

const appOver = (store: Store, loopback_only = true) => apiOver(store, [hash], { loopback_only })
type App = ReturnType<typeof appOver>

const ask = async (app: App, path: string, headers: Record<string, string> = { authorization }) => {
  const response = await app.request(path, { headers })
  const text = await response.text()
  const json = (response.headers.get('content-type') ?? '').includes('json')
  return { response, text, status: response.status, body: json ? (JSON.parse(text) as Record<string, unknown>) : {} }
}

const database = unique('service')
let store: Store
let app: App
const opened: Store[] = []
const openOn = (over: { url?: string; database?: string }): Store => {
  const store = openStore({ ...sharedServices().clickhouse, database, ...over })
  opened.push(store)
  return store
}

beforeAll(async () => {
  await migrate({ ...sharedServices().clickhouse, database }, RETENTION)
  store = openOn({})
  app = appOver(store)
})
afterAll(async () => {
  for (const store of opened) await store.close()
})

describe('a key', () => {
  test.each([
    ['none', {}],
    ['an empty one', { authorization: 'Bearer ' }],
    ['one of another scheme', { authorization: `Basic ${key}` }],
    ['a wrong one', { authorization: `Bearer ${key.slice(1)}x` }],
    ['two at once', { authorization: `Bearer ${key} ${key}` }],
    ['an endless one', { authorization: `Bearer ${key.repeat(1_000)}` }],
  ])('is needed on every path below /v1: %s is 401', async (_, headers) => {
    for (const path of ['/v1/metrics', '/v1/metrics/fps_avg', '/v1/rejects', '/v1/nothing', '/v1']) {
      const { status, body, response } = await ask(app, path, headers)
      expect({ status, code: body.code }).toEqual({ status: 401, code: 'unauthorized' })
      expect(response.headers.get('www-authenticate')).toBe('Bearer')
    }
  })

  test('is not needed to see whether the service is well', async () => {
    for (const path of ['/livez', '/readyz', '/metrics', '/openapi.json'])
      expect((await ask(app, path, {})).status).toBe(200)
  })

  test('is made at the first start, readable by its owner alone, and the same one after that', () => {
    const directory = join(temporaryDirectory(), 'new')
    openKeys(directory)
    const made = readFileSync(devKeyFile(directory), 'utf8').trim()
    expect(statSync(devKeyFile(directory)).mode & 0o777).toBe(0o600)
    const again = openKeys(directory)
    expect(again.admit(`Bearer ${made}`)).toMatchObject({ id: 'dev' })
    expect(again.admit(`Bearer ${made}x`)).toBeUndefined()
    expect(again.admit(undefined)).toBeUndefined()
  })

  test('that is no key stops the start instead of letting anybody in', () => {
    const directory = temporaryDirectory()
    writeFileSync(devKeyFile(directory), '\n')
    expect(() => openKeys(directory)).toThrow(/holds no key/)
  })
})

describe('a request', () => {
  test('to a name that is not ours is refused where only loopback is listened to', async () => {
    for (const host of ['localhost:18080', '127.0.0.1', '[::1]:18080'])
      expect((await app.request(`http://${host}/livez`)).status).toBe(200)
    for (const host of ['evil.example', 'localhost.evil.example', '127.0.0.1.nip.example'])
      expect((await app.request(`http://${host}/livez`)).status).toBe(421)
    expect((await appOver(store, false).request('http://quality.example/livez')).status).toBe(200)
  })

  test('has an id: the caller’s if that is one, else a new one', async () => {
    const id = async (given: string) =>
      (await app.request('/livez', { headers: { 'x-request-id': given } })).headers.get('x-request-id')
    expect(await id('trace-1.a')).toBe('trace-1.a')
    expect(await id('<script>')).toMatch(/^[0-9a-f-]{36}$/)
    const { body, response } = await ask(app, '/v1/nothing')
    expect(body.request_id).toBe(response.headers.get('x-request-id'))
  })

  test('of absurd size is refused', async () => {
    expect((await ask(app, `/v1/metrics?x=${'x'.repeat(9_000)}`)).status).toBe(413)
    const body = 'x'.repeat(70_000)
    const headers = { authorization, 'content-length': String(body.length) }
    expect((await app.request('/v1/metrics', { method: 'POST', body, headers })).status).toBe(413)
  })

  test('is counted and timed by its route as declared, whatever was put into it', async () => {
    await ask(app, '/v1/metrics/fps_avg?filter=region:secret')
    const { text } = await ask(app, '/metrics', {})
    expect(text).toMatch(/query_request_seconds_count\{route="\/v1\/metrics\/:id",status="200"\} \d/)
    expect(text).toMatch(/query_question_seconds_count\{question="overall",answered="true"\} \d/)
    expect(text).not.toContain('secret')
  })
})

/** Words of ClickHouse, of its client, of our tables and statements. */
const INSIDE = /DB::|Exception|Code: |ECONN|127\.0\.0\.1|quality_per|events_v1|settled_v1|SELECT|column|identifier/i
const ROUTES = [
  '/v1/metrics',
  '/v1/metrics/fps_avg',
  '/v1/metrics/rtt_p95_us/timeseries?group_by=region',
  '/v1/metrics/stutter_time_pct/breakdown?by=isp',
  '/v1/sessions/0f8fad5b-d9cb-469f-a165-70867728950e',
  '/v1/rejects',
]

describe('a store that', () => {
  test('is not there makes every question 503 with a time to try again, and nothing of the cause gets out', async () => {
    const down = appOver(openOn({ url: 'http://127.0.0.1:1' }))
    for (const path of ROUTES) {
      const { status, body, text, response } = await ask(down, path)
      expect({ status, code: body.code }, path).toEqual({ status: 503, code: 'store_unavailable' })
      expect(Number(response.headers.get('retry-after'))).toBeGreaterThan(0)
      expect(text).not.toMatch(INSIDE)
    }
    expect((await ask(down, '/readyz', {})).status).toBe(503)
    expect((await ask(down, '/livez', {})).status).toBe(200)
  })

  test('is not migrated is not ready', async () => {
    const empty = appOver(openOn({ database: 'default' }))
    expect(await ask(empty, '/readyz', {})).toMatchObject({ status: 503, text: 'ClickHouse is not migrated\n' })
    expect(await ask(empty, '/v1/metrics/fps_avg')).toMatchObject({ status: 503, body: { code: 'store_unavailable' } })
  })

  test('has not the columns we ask for makes it our fault, and nothing of the cause gets out', async () => {
    const other = unique('service')
    await migrate({ ...sharedServices().clickhouse, database: other }, RETENTION)
    const broken = openOn({ database: other })
    await broken.command('ALTER TABLE quality_per_10s_v1 RENAME COLUMN frames TO pictures')
    const { status, body, text } = await ask(appOver(broken), '/v1/metrics/fps_avg')
    expect({ status, code: body.code }).toEqual({ status: 500, code: 'internal' })
    expect(text).not.toMatch(INSIDE)
  })

  test('finds a question too expensive says what to do about it', async () => {
    const strict: Store = {
      ...store,
      query: (sql, params, settings) => store.query(sql, params, { ...settings, max_memory_usage: 1 }),
    }
    const { status, body, text } = await ask(appOver(strict), '/v1/metrics/fps_avg')
    expect({ status, code: body.code }).toEqual({ status: 422, code: 'too_expensive' })
    expect(text).not.toMatch(INSIDE)
  })
})

describe('the process', () => {
  const children: ChildProcess[] = []
  afterAll(() => {
    for (const child of children) child.kill('SIGKILL')
  })
  const start = (args: readonly string[], environment: Record<string, string>) => {
    const child = spawn(process.execPath, ['--import', 'tsx', 'query/main.ts', ...args], {
      cwd: join(import.meta.dirname, '..'),
      env: { ...process.env, LOG_LEVEL: 'info', ...environment },
    })
    children.push(child)
    const run = { child, out: '', err: '' }
    child.stdout.on('data', chunk => (run.out += chunk))
    child.stderr.on('data', chunk => (run.err += chunk))
    const ended = new Promise<number | null>(resolve => child.on('exit', resolve))
    return { run, ended }
  }
  /** At moments of their own. */
  const BESIDE = new Set(['request', 'following', 'follower_waits', 'follower_failed', 'priors_not_read'])
  const freePort = () =>
    new Promise<number>(resolve => {
      const server = createServer().listen(0, '127.0.0.1', () => {
        const address = server.address()
        server.close(() => resolve(typeof address === 'object' && address ? address.port : 0))
      })
    })

  test('tells what it is, and takes no flag it does not know', async () => {
    const [help, unknown] = [start(['--help'], {}), start(['--verbose'], {})]
    expect(await help.ended).toBe(0)
    expect(help.run.out).toContain('answer questions about stream quality over HTTP')
    expect(await unknown.ended).toBe(1)
    expect(unknown.run.err).toContain('--verbose')
  })

  test('does not start on a configuration that does not fit, or on a port that is taken, and says so in a sentence', async () => {
    const taken = createServer()
    await new Promise<void>(resolve => taken.listen(0, '127.0.0.1', resolve))
    const address = taken.address()
    const port = typeof address === 'object' && address ? address.port : 0
    const DATA_DIR = temporaryDirectory()
    const [bad, busy] = [start([], { HTTP_PORT: 'eighty', DATA_DIR }), start([], { HTTP_PORT: String(port), DATA_DIR })]
    expect(await bad.ended).toBe(1)
    expect(bad.run.err).toContain('HTTP_PORT')
    expect(await busy.ended).toBe(1)
    expect(busy.run.err.trim()).toBe(
      `port ${port} on 127.0.0.1 is taken: stop what listens there or set HTTP_PORT to a free one`,
    )
    taken.close()
  })

  test('starts before its store is there, answers when it comes, and ends when told to', async () => {
    const [port, DATA_DIR] = [await freePort(), temporaryDirectory()]
    const { clickhouse, brokers } = sharedServices()
    const { url, password } = clickhouse
    const KAFKA_TOPIC = unique('service')
    await createTopic(brokers, KAFKA_TOPIC)
    const { run, ended } = start([], {
      HTTP_PORT: String(port),
      DATA_DIR,
      CLICKHOUSE_URL: '',
      CLICKHOUSE_PORT: new URL(url).port,
      CLICKHOUSE_PASSWORD: '',
      CLICKHOUSE_DATABASE: database,
      KAFKA_BROKERS: brokers,
      KAFKA_TOPIC,
    })
    const status = async (path: string) => {
      const authorization = existsSync(devKeyFile(DATA_DIR))
        ? `Bearer ${readFileSync(devKeyFile(DATA_DIR), 'utf8').trim()}`
        : ''
      return fetch(`http://127.0.0.1:${port}${path}`, { headers: { authorization } }).then(
        ({ status }) => status,
        () => 0,
      )
    }
    await until(async () => (await status('/livez')) === 200)
    expect(await status('/readyz')).toBe(503)
    expect(await status('/v1/metrics/fps_avg')).toBe(503)
    // As the embedded ClickHouse does when it first starts.
    writeFileSync(join(DATA_DIR, 'clickhouse-password'), password)
    chmodSync(join(DATA_DIR, 'clickhouse-password'), 0o600)
    await until(async () => (await status('/readyz')) === 200)
    expect(await status('/v1/metrics/fps_avg')).toBe(200)
    await until(async () => run.err.includes('store_ready'))
    run.child.kill('SIGTERM')
    expect(await ended).toBe(0)
    expect(
      run.err
        .trim()
        .split('\n')
        .map(line => JSON.parse(line).event)
        .filter(event => !BESIDE.has(event)),
    ).toEqual(['query_started', 'store_not_ready', 'store_unavailable', 'store_ready', 'stopping', 'stopped'])
  })
})

async function until(condition: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 30_000
  while (!(await condition())) {
    if (Date.now() > end) throw new Error('not within 30 s')
    await sleep(50)
  }
}
