/**
 * What is taken away as a file: the same rows as the routes answer, whole or visibly not, sent as fast as they are read, and harmless
 * in a spreadsheet.
 */
import { once } from 'node:events'
import { createServer, request, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { createAdaptorServer } from '@hono/node-server'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { QualityEvent } from '../ingest/contract/events.ts'
import { bodyOf, type Cell, type Table } from '../query/http/table.ts'
import { AskedApi, HARMFUL, type Query } from './support/ask.ts'
import { eventOf } from './support/events.ts'
import { sharedServices, unique } from './support/services.ts'

const MINUTE_MS = 60_000
const NOW = Date.now()
const START = Math.floor(NOW / (10 * MINUTE_MS)) * 10 * MINUTE_MS - 30 * MINUTE_MS
const RANGE = { from: START, to: START + MINUTE_MS }

/** What a session may call itself, and what a spreadsheet would make of it. */
const FORMULAS = ['=HYPERLINK("http://x")', '+1', '-1', '@SUM(A1)', '＝1']
const NAMES = [...FORMULAS, 'a,b', 'say "hi"', "it's", 'Ünï ☂', '1-1']
const named = NAMES.flatMap((isp, i) =>
  Array.from({ length: 20 }, (_, seq): QualityEvent => {
    const event = eventOf(100 + i, seq, START)
    return { ...event, context: { ...event.context, isp } } as QualityEvent
  }),
)
const fleet = Array.from({ length: 30 }, (_, n) =>
  Array.from({ length: 40 }, (_, seq) => eventOf(n, seq, START)),
).flat()

let api: AskedApi
beforeAll(async () => {
  api = await AskedApi.start(sharedServices().clickhouse, unique('export'), NOW)
  await api.insert([...fleet, ...named])
})
afterAll(() => api?.close())

async function exported(query: Query): Promise<{ text: string; headers: Headers }> {
  const response = await api.request('/v1/export', { ...RANGE, ...query })
  const text = await response.text()
  expect(response.status, text).toBe(200)
  return { text, headers: response.headers }
}
const ndjson = (text: string): Record<string, unknown>[] =>
  text
    .split('\n')
    .filter(line => line !== '')
    .map(line => JSON.parse(line))

/** RFC 4180, strictly. */
function csv(text: string): string[][] {
  const field = /(?:"((?:[^"]|"")*)"|([^",\r\n]*))(,|\r\n)/y
  const rows: string[][] = [[]]
  while (field.lastIndex < text.length) {
    const [, quoted, plain = '', end] = field.exec(text) ?? expect.fail(`no CSV: ${text.slice(field.lastIndex)}`)
    rows.at(-1)?.push(quoted === undefined ? plain : quoted.replaceAll('""', '"'))
    if (end === '\r\n') rows.push([])
  }
  expect(rows.pop()).toEqual([])
  return rows
}
const harmless = (text: string): string => (/^[=+\-@＝]/.test(text) ? `'${text}` : text)

describe('an export', () => {
  const asked = { metric: 'stutter_time_pct', by: 'isp,region' }

  test('of a breakdown has the rows that the breakdown answers, in both formats', async () => {
    const { metric, ...by } = asked
    for (const more of [{}, { order: 'value' }, { filter: 'region:eu-west' }, { limit: 3 }]) {
      const { data, meta } = await api.get(`/v1/metrics/${metric}/breakdown`, {
        ...RANGE,
        ...by,
        limit: 1_000,
        ...more,
      })
      const lines = await exported({ what: 'breakdown', format: 'ndjson', ...asked, ...more })
      expect(ndjson(lines.text)).toEqual(data.map(row => ({ reason: null, ...row })))
      expect(lines.headers.get('content-type')).toBe('application/x-ndjson; charset=utf-8')
      expect(lines.headers.get('x-rows')).toBe(String(data.length))
      expect(lines.headers.get('x-rows-total')).toBe(String(meta.groups_total))
      const table = csv((await exported({ what: 'breakdown', ...asked, ...more })).text)
      const columns = ['isp', 'region', 'value', 'reason', 'n', 'sessions', 'frames', 'share_of_bad']
      expect(table[0]).toEqual(columns)
      const cells = data.map(row => columns.map(name => harmless(String(row[name] ?? ''))))
      expect(table.slice(1)).toEqual(cells)
    }
  })

  test('of sessions has the sessions that the list answers, in both formats', async () => {
    for (const more of [
      {},
      { order: 'frame_time_p95_us' },
      { where: ['fps_avg>30', 'stutter_time_pct>=0.5'] },
      { limit: 7 },
    ]) {
      const { data } = await api.get('/v1/sessions', { ...RANGE, limit: 1_000, ...more })
      expect(data.length).toBeGreaterThan(0)
      const flat = data.map(({ context, metrics, ...row }) => ({
        ...row,
        ...(context as object),
        ...(metrics as object),
      }))
      const lines = await exported({ what: 'sessions', format: 'ndjson', ...more })
      expect(ndjson(lines.text)).toEqual(flat)
      const table = csv((await exported({ what: 'sessions', ...more })).text)
      const [columns = [], ...rows] = table
      expect(rows).toEqual(
        flat.map(row => columns.map(name => harmless(String((row as Record<string, unknown>)[name] ?? '')))),
      )
      expect(lines.headers.get('x-rows')).toBe(String(flat.length))
    }
  })

  test('comes as a file whose name says what it is', async () => {
    const { headers } = await exported({ what: 'breakdown', ...asked })
    expect(headers.get('content-type')).toBe('text/csv; charset=utf-8; header=present')
    expect(headers.get('content-disposition')).toMatch(
      /^attachment; filename="breakdown_stutter_time_pct_\d{8}T\d{6}Z_\d{8}T\d{6}Z\.csv"$/,
    )
  })

  test('of nothing is a header, or nothing', async () => {
    const nobody = { filter: 'isp:nobody' }
    expect(csv((await exported({ what: 'breakdown', ...asked, ...nobody })).text)).toHaveLength(1)
    const { text, headers } = await exported({ what: 'sessions', format: 'ndjson', ...nobody })
    expect([text, headers.get('x-rows')]).toEqual(['', '0'])
  })
})

describe('a table', () => {
  const tableOf = (rows: Cell[][], taken = { rows: 0, closed: 0 }): Table => ({
    columns: ['a', 'b'],
    rows: (async function* () {
      for (const row of rows) {
        taken.rows++
        yield [row]
      }
    })(),
    close: async () => {
      taken.closed++
    },
  })

  test('is read back as it was, whatever the texts; only a formula has a sign in front, and a number never', async () => {
    const cell = fc.oneof(
      fc.string({ unit: 'grapheme' }),
      fc.constantFrom(...FORMULAS, '"', '\r\n'),
      fc.double({ noNaN: true }).map(x => x + 0),
    )
    await fc.assert(
      fc.asyncProperty(fc.array(fc.tuple(cell, cell)), async rows => {
        const text = await new Response(bodyOf(tableOf(rows), 'csv', () => {})).text()
        const wanted = rows.map(row =>
          row.map(value =>
            typeof value === 'string' && /^[=+\-@\t\r＝＋－＠]/.test(value) ? `'${value}` : String(value),
          ),
        )
        expect(csv(text)).toEqual([['a', 'b'], ...wanted])
        for (const [i, row] of csv(text).slice(1).entries())
          for (const [j, field] of row.entries())
            if (typeof rows[i]?.[j] === 'number') expect(Number(field)).toBe(rows[i][j])
      }),
    )
  })

  test('takes a row from the store when it is read, and none before', async () => {
    const taken = { rows: 0, closed: 0 }
    const body = bodyOf(tableOf(Array(1_000).fill(['x', 1]), taken), 'ndjson', () => {})
    expect(taken.rows).toBe(0)
    const reader = body.getReader()
    for (let read = 1; read <= 10; read++) {
      await reader.read()
      expect(taken.rows).toBe(read)
    }
    await reader.cancel()
    expect(taken).toEqual({ rows: 10, closed: 1 })
  })
})

describe('an export that fails', () => {
  /** In front of ClickHouse: sends half of the rows of a session list, and the rest never. */
  let proxy: Server
  let cut: () => void = () => {}
  let broken: AskedApi
  let server: Server

  beforeAll(async () => {
    const { clickhouse } = sharedServices()
    proxy = createServer(async (incoming, outgoing) => {
      const chunks: Buffer[] = []
      for await (const chunk of incoming) chunks.push(chunk as Buffer)
      const { hostname, port } = new URL(clickhouse.url)
      const { method = 'POST', url = '/', headers } = incoming
      const upstream = request({ hostname, port, method, path: url, headers })
      upstream.end(Buffer.concat(chunks))
      const [answer] = await once(upstream, 'response')
      const content: Buffer[] = []
      for await (const chunk of answer) content.push(chunk)
      const body = Buffer.concat(content)
      outgoing.writeHead(answer.statusCode, answer.headers)
      if (!url.includes('stream+sessions') && !url.includes('stream%20sessions')) return outgoing.end(body)
      outgoing.write(body.subarray(0, body.length / 2))
      cut = () => outgoing.destroy()
    })
    await once(proxy.listen(0, '127.0.0.1'), 'listening')
    const url = `http://127.0.0.1:${(proxy.address() as AddressInfo).port}`
    broken = await AskedApi.start({ ...clickhouse, url }, unique('export'), NOW)
    await broken.insert(fleet)
    server = createAdaptorServer({ fetch: broken.app.fetch }) as Server
    await once(server.listen(0, '127.0.0.1'), 'listening')
  })
  afterAll(async () => {
    await broken?.close()
    server?.close()
    proxy?.closeAllConnections()
    proxy?.close()
  })

  test.each(['csv', 'ndjson'])('halfway ends before its end: %s is never taken for the whole', async format => {
    const search = new URLSearchParams({ what: 'sessions', format, from: String(RANGE.from), to: String(RANGE.to) })
    const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1/export?${search}`
    const response = await fetch(url, { headers: { authorization: broken.authorization } })
    expect(response.status).toBe(200)
    expect(response.headers.get('x-rows')).toBe('30')
    const reader = (response.body ?? expect.fail('no body')).pipeThrough(new TextDecoderStream()).getReader()
    let text = (await reader.read()).value ?? ''
    cut()
    const rest = async (): Promise<void> => {
      for (let part = await reader.read(); !part.done; part = await reader.read()) text += part.value
    }
    await expect(rest()).rejects.toThrow()
    expect(text.split('\n').length).toBeLessThan(30)
  })

  test('before its first row is a problem like any other', async () => {
    const { clickhouse } = sharedServices()
    const gone = await AskedApi.start(clickhouse, unique('export'), NOW)
    await gone.store.command('DROP TABLE settled_v1')
    const query = { ...RANGE, what: 'sessions' }
    await gone.store.command('DROP TABLE quality_per_10s_v1')
    expect(await gone.refused('/v1/export', query)).toMatchObject({ status: 503, code: 'store_unavailable' })
    await gone.close()
  })
})

describe('what cannot be exported as asked', () => {
  const B = { what: 'breakdown', metric: 'fps_avg', by: 'isp' }
  test.each([
    [{}, 400, 'bad_parameter', 'what'],
    [{ what: 'frames' }, 400, 'bad_parameter', 'what'],
    [{ ...B, format: 'xlsx' }, 400, 'bad_parameter', 'format'],
    [{ what: 'breakdown', by: 'isp' }, 404, 'unknown_metric', 'metric'],
    [{ ...B, metric: 'fps' }, 404, 'unknown_metric', 'metric'],
    [{ what: 'breakdown', metric: 'fps_avg' }, 400, 'unknown_dimension', 'by'],
    [{ ...B, where: 'fps_avg>1' }, 400, 'bad_condition', 'where'],
    [{ ...B, order: 'newest' }, 400, 'bad_order', 'order'],
    [{ ...B, order: 'impact' }, 400, 'bad_order', 'order'],
    [{ what: 'sessions', by: 'isp' }, 400, 'bad_parameter', 'by'],
    [{ what: 'sessions', order: 'impact' }, 400, 'bad_order', 'order'],
    [{ what: 'sessions', limit: 100_001 }, 400, 'bad_limit', 'limit'],
    [{ what: 'sessions', cursor: 'x' }, 400, 'unknown_parameter', 'cursor'],
  ])('%j names what is wrong', async (query, status, code, parameter) => {
    expect(await api.refused('/v1/export', query as Query)).toMatchObject({ status, code, parameter })
  })

  test('no parameter carries SQL', async () => {
    const names = ['what', 'format', 'metric', 'by', 'order', 'where', 'limit', 'from', 'to', 'tier', "x' OR 1"]
    for (const text of HARMFUL) {
      for (const name of names) {
        const { status } = await api.refused('/v1/export', { ...RANGE, ...B, [name]: text })
        expect([400, 404]).toContain(status)
      }
      expect(csv((await exported({ ...B, filter: `isp:${text}` })).text)).toHaveLength(1)
    }
  })
})
