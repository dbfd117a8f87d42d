/**
 * The typed client against the API as it runs: data with its types, problems as they were sent, and an end to waiting.
 */
import { createServer } from 'node:http'
import { afterAll, beforeAll, describe, expect, expectTypeOf, test } from 'vitest'
import type { Store } from '../ingest/store/clickhouse.ts'
import { worstRightNow } from '../query/client.example.ts'
import { ApiProblem, answer, type Client, createClient } from '../query/client.ts'
import { seededTarget } from './fuzz/seeded.ts'
import { sharedServices, unique } from './support/services.ts'

let store: Store
let clientWith: (key: string) => Client
let keys: { readonly all: string; readonly few: string }
beforeAll(async () => {
  const target = await seededTarget({ ...sharedServices().clickhouse, database: unique('client') })
  const { send } = target
  store = target.store
  keys = target.keys
  const through: typeof fetch = async (input, init) => {
    const { pathname, search } = new URL(String(input))
    return send(pathname + search, init ?? {})
  }
  clientWith = key => createClient({ url: 'http://localhost', key, fetch: through })
})
afterAll(() => store?.close())

const caught = (promise: Promise<unknown>): Promise<unknown> =>
  promise.then(
    () => undefined,
    error => error,
  )

describe('the client', () => {
  test('answers with data, typed as the route says', async () => {
    const api = clientWith(keys.all)
    const param = { id: 'fps_avg' } as const
    const { data, meta } = await answer(api.v1.metrics[':id'].timeseries.$get({ param, query: { group_by: 'game' } }))
    expectTypeOf(data[0]?.value).toEqualTypeOf<number | null | undefined>()
    expectTypeOf(meta.tier).toEqualTypeOf<string | null>()
    expect(new Set(data.map(({ game }) => game)).size).toBe(5)
    expect(meta.metric).toBe('fps_avg')
    const known = await answer(api.v1.metrics.$get({ query: {} }))
    expect(known.dimensions.find(({ id }) => id === 'game')?.values).toHaveLength(5)
  })

  test('says a parameter as often as it is given', async () => {
    const api = clientWith(keys.all)
    const query = { by: 'game', filter: ['game:game-1', 'game:game-2'] }
    const { data } = await answer(api.v1.metrics[':id'].breakdown.$get({ param: { id: 'sessions' }, query }))
    expect(data.map(({ game }) => game).sort()).toEqual(['game-1', 'game-2'])
  })

  test('throws what the API refused, as it said it', async () => {
    const wrong = await caught(
      answer(clientWith(keys.all).v1.metrics[':id'].$get({ param: { id: 'fps_avg' }, query: { from: 'yesterday' } })),
    )
    expect(wrong).toBeInstanceOf(ApiProblem)
    expect(wrong).toMatchObject({ status: 400, code: 'bad_time', parameter: 'from', request_id: expect.any(String) })
    const forbidden = await caught(answer(clientWith(keys.few).v1.rejects.$get({ query: {} })))
    expect(forbidden).toMatchObject({
      status: 403,
      code: 'forbidden',
      message: expect.stringContaining('metrics:read'),
    })
    const stranger = await caught(answer(clientWith('nobody').v1.rejects.$get({ query: {} })))
    expect(stranger).toMatchObject({ status: 401, code: 'unauthorized' })
  })

  test('gives up when told to, and knows an answer that is not the API’s', async () => {
    const server = createServer((request, response) => {
      if (request.url?.startsWith('/v1/rejects')) response.writeHead(502, { 'retry-after': '7' }).end('<html>')
    })
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const address = server.address()
    const url = `http://127.0.0.1:${typeof address === 'object' && address ? address.port : 0}`
    const api = createClient({ url, key: keys.all, timeout_ms: 100 })
    expect(await caught(answer(api.v1.metrics.$get({ query: {} })))).toMatchObject({ name: 'TimeoutError' })
    const problem = await caught(answer(api.v1.rejects.$get({ query: {} })))
    expect(problem).toMatchObject({ status: 502, code: undefined, retry_after_s: 7 })
    server.closeAllConnections()
    await new Promise(resolve => server.close(resolve))
  })

  test('answers who has it worst right now', async () => {
    const lines = await worstRightNow(clientWith(keys.all))
    expect(lines.length).toBeGreaterThan(2)
    expect(lines[0]).toMatch(
      /^isp-\d (ethernet|wifi|cellular): \d+\.\d\d % of the time in stutters, \d+ % of all there is/,
    )
  })
})
