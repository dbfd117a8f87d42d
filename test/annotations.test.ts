/**
 * Annotations: what was noted comes back as it was said, once however often it was sent, and nothing else gets in. On the real
 * ClickHouse, over HTTP's own functions.
 */

import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { migrate } from '../ingest/store/migrate.ts'
import { type App, apiOver } from './support/app.ts'
import { keyFor, RETENTION } from './support/seed.ts'
import { sharedServices, unique } from './support/services.ts'

const { key, hash } = keyFor('annotation tests')
const authorization = `Bearer ${key}`
const AT = Date.UTC(2026, 5, 1)
const iso = (at_ms: number): string => new Date(at_ms).toISOString()

type Json = Record<string, unknown>
let store: Store
let app: App

beforeAll(async () => {
  const config = { ...sharedServices().clickhouse, database: unique('annotations') }
  await migrate(config, RETENTION)
  store = openStore(config)
  app = apiOver(store, [hash])
})
afterAll(() => store?.close())

const send = (body: string): Promise<Response> =>
  Promise.resolve(
    app.request('/v1/annotations', {
      method: 'POST',
      headers: { authorization, 'content-type': 'application/json' },
      body,
    }),
  )
const noted = async (annotation: Json): Promise<Json> => {
  const response = await send(JSON.stringify(annotation))
  expect(response.status, await response.clone().text()).toBe(201)
  const { data } = (await response.json()) as { data: [Json] }
  return data[0]
}
const listed = async (query: Record<string, string | number>): Promise<Json[]> => {
  const search = new URLSearchParams(Object.entries(query).map(([name, one]): [string, string] => [name, String(one)]))
  const response = await app.request(`/v1/annotations?${search}`, { headers: { authorization } })
  expect(response.status, await response.clone().text()).toBe(200)
  return ((await response.json()) as { data: Json[] }).data
}
const deploy = (rest: Json = {}): Json => ({
  id: randomUUID(),
  at: iso(AT),
  kind: 'deploy',
  title: 'client 4.2',
  ...rest,
})

describe('an annotation', () => {
  test('comes back as it was said, whatever was said', async () => {
    const text = fc.string({ unit: 'binary', minLength: 1, maxLength: 60 })
    const nasty = fc.constantFrom(
      "'; DROP TABLE annotations_v1 --",
      '\\',
      '\\N',
      '\0\t\n',
      '{id:UUID}',
      "\\'",
      '☃👩‍👩‍👧',
    )
    await fc.assert(
      fc.asyncProperty(
        fc.oneof(text, nasty),
        fc.oneof(text, nasty),
        fc.oneof(text, nasty),
        async (title, body, isp) => {
          const given = deploy({ title, text: body, dimensions: { isp, client_version: '4.2' } })
          expect(await noted(given)).toMatchObject({ ...given, until: null, created_by: expect.stringMatching(/.+/) })
          const found = await listed({ from: AT, to: AT + 1, limit: 1_000 })
          expect(found.find(({ id }) => id === given.id)).toMatchObject({ ...given, until: null })
        },
      ),
      { numRuns: 40 },
    )
  })

  test('sent again is the same answer and is there once; an absent field and its default are the same', async () => {
    const given = deploy({ at: iso(AT + 3_600_000) })
    const first = await noted(given)
    const again = { ...given, at: '2026-06-01T03:00:00+02:00', text: '', dimensions: {}, until: null }
    expect(
      await Promise.all([noted(given), noted(again), noted({ ...given, id: String(given.id).toUpperCase() })]),
    ).toEqual([first, first, first])
    expect(await listed({ from: AT + 3_600_000, to: AT + 3_600_001 })).toEqual([first])
  })

  test('sent twice at once is there once', async () => {
    const given = deploy({ at: iso(AT + 2 * 3_600_000) })
    const answers = await Promise.all(Array.from({ length: 5 }, () => noted(given)))
    expect(new Set(answers.map(({ id }) => id)).size).toBe(1)
    const [kept, ...more] = await listed({ from: AT + 2 * 3_600_000, to: AT + 2 * 3_600_000 + 1 })
    expect(more).toEqual([])
    expect(await noted(given)).toEqual(kept)
  })

  test.each<[string, Json]>([
    ['title', { title: 'client 4.3' }],
    ['time', { at: iso(AT + 1) }],
    ['end', { until: iso(AT + 1) }],
    ['segment', { dimensions: { region: 'eu-west' } }],
  ])('under a known id with another %s is refused, and the first stays', async (_, other) => {
    const given = deploy()
    const first = await noted(given)
    const response = await send(JSON.stringify({ ...given, ...other }))
    expect(await response.json()).toMatchObject({ status: 409, code: 'already_exists', parameter: 'id' })
    expect(await noted(given)).toEqual(first)
  })
})

describe('those of a range', () => {
  const DAY = AT + 10 * 86_400_000
  const minute = (n: number): string => iso(DAY + n * 60_000)
  const ids: unknown[] = []
  beforeAll(async () => {
    for (const [at, until] of [
      [0, null],
      [10, 20],
      [15, null],
      [30, 40],
    ] as const)
      ids.push(
        (await noted(deploy({ kind: 'incident', at: minute(at), until: until === null ? null : minute(until) }))).id,
      )
  })
  const found = async (from: number, to: number, limit = 100): Promise<number[]> =>
    (await listed({ from: minute(from), to: minute(to), limit })).map(({ id }) => ids.indexOf(id))

  test('are those that reach into it, the newest first', async () => {
    expect(await found(0, 60)).toEqual([3, 2, 1, 0])
    expect(await found(16, 30)).toEqual([1])
    expect(await found(12, 31)).toEqual([3, 2, 1])
    expect(await found(1, 9)).toEqual([])
    expect(await found(35, 36)).toEqual([3])
  })
  test('are as many as asked for, the newest', async () => {
    expect(await found(0, 60, 2)).toEqual([3, 2])
  })
})

describe('what is none names what does not fit', () => {
  test.each<[string, Json, string, string]>([
    ['no id', { id: undefined }, 'bad_parameter', 'id'],
    ['an id that is no UUID', { id: "x' OR 1=1" }, 'bad_parameter', 'id'],
    ['no title', { title: '' }, 'bad_parameter', 'title'],
    ['a title as long as a book', { title: 'x'.repeat(201) }, 'bad_parameter', 'title'],
    ['a text as long as a shelf', { text: 'x'.repeat(4_001) }, 'bad_parameter', 'text'],
    ['half a character', { text: '\ud800' }, 'bad_parameter', 'text'],
    ['a kind of its own', { kind: 'party' }, 'bad_parameter', 'kind'],
    ['a time without zone', { at: '2026-06-01T00:00:00' }, 'bad_parameter', 'at'],
    ['a time before time', { at: '1969-06-01T00:00:00Z' }, 'bad_parameter', 'at'],
    ['a time far from now', { at: '2999-06-01T00:00:00Z' }, 'bad_parameter', 'at'],
    ['an end before its begin', { until: iso(AT - 1) }, 'bad_range', 'until'],
    ['a dimension nobody has', { dimensions: { shoes: '42' } }, 'unknown_parameter', 'shoes'],
    ['an unknown value', { dimensions: { isp: '' } }, 'bad_parameter', 'dimensions.isp'],
    ['an author', { created_by: 'me' }, 'unknown_parameter', 'created_by'],
  ])('%s', async (_, rest, code, parameter) => {
    const response = await send(JSON.stringify(deploy(rest)))
    expect(response.headers.get('content-type')).toBe('application/problem+json')
    expect(await response.json()).toMatchObject({ status: 400, code, parameter })
  })

  test.each(['', '{', 'null', '[]', '"x"', '1'])('a body of %j', async body => {
    const response = await send(body)
    expect(response.status).toBe(400)
    expect(response.headers.get('content-type')).toBe('application/problem+json')
  })

  test('a body too large, and one without a key', async () => {
    expect((await send(JSON.stringify(deploy({ text: 'x'.repeat(70_000) })))).status).toBe(413)
    const anonymous = await app.request('/v1/annotations', { method: 'POST', body: '{}' })
    expect(anonymous.status).toBe(401)
  })
})
