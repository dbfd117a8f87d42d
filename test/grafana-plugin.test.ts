/**
 * The local ClickHouse serves Grafana too: the requests of the plugin's own client library (Go), as they were recorded, get the answers
 * that it could read. It reads Native in the form of the protocol version it names, which the embedded engine does not write by itself.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { Failure } from '../local/clickhouse/failure.ts'
import { nativeForVersion } from '../local/clickhouse/native.ts'
import { sharedServices } from './support/services.ts'

const recorded = z
  .array(
    z.object({
      method: z.literal('POST'),
      path: z.string(),
      headers: z.record(z.string(), z.string()),
      body: z.string(),
      status: z.number(),
      answer_base64: z.string().nullable(),
    }),
  )
  .parse(JSON.parse(readFileSync(join(import.meta.dirname, 'data/grafana/clickhouse-go-2.51.0-http.json'), 'utf8')))

async function send(path: string, body: string, headers: Record<string, string> = {}) {
  const { url, username, password } = sharedServices().clickhouse
  const authorization = `Basic ${Buffer.from(`${username}:${password}`).toString('base64')}`
  const response = await fetch(url + path, { method: 'POST', headers: { ...headers, authorization }, body })
  return { status: response.status, headers: response.headers, bytes: Buffer.from(await response.arrayBuffer()) }
}

test.each(recorded)('$body', async ({ path, body, headers, status, answer_base64 }) => {
  const answer = await send(path, body, headers)
  expect(answer.status).toBe(status)
  if (status !== 200) return expect(answer.headers.get('x-clickhouse-exception-code')).toMatch(/^\d+$/)
  expect(answer.headers.get('x-clickhouse-format')).toBe('Native')
  // Of the greeting: the block's info, four columns, one row.
  if (answer_base64 === null)
    return expect([...answer.bytes.subarray(0, 10)]).toEqual([1, 0, 2, 255, 255, 255, 255, 0, 4, 1])
  expect(answer.bytes.toString('base64')).toBe(answer_base64)
})

/** Values of every type that a column of ours, or of a panel, may have. */
const TYPES: Readonly<Record<string, string>> = {
  UInt8: 'number',
  Bool: 'number % 2',
  Int64: '-number',
  Float64: 'number / 3',
  String: "repeat('x', number * 100)",
  'FixedString(5)': "'abc'",
  UUID: "'00000000-0000-4000-8000-000000000001'",
  Date: "'2026-01-01'",
  "DateTime('UTC')": 'number',
  "DateTime64(6, 'UTC')": 'number',
  'Decimal(9, 2)': 'number',
  'Decimal(18, 2)': 'number',
  'Decimal(38, 2)': 'number',
  'Decimal(76, 2)': 'number',
  "Enum8('a' = 0, 'b, (' = 1)": 'number % 2',
  "Enum16('a' = 0, 'it\\'s' = 1)": 'number % 2',
  'Nullable(String)': "if(number % 2 = 0, NULL, 'x')",
  'LowCardinality(String)': 'toString(number % 300)',
  'LowCardinality(Nullable(String))': "if(number % 2 = 0, NULL, 'x')",
  'Array(String)': "arrayWithConstant(number, 'x')",
  'Array(Array(Nullable(UInt32)))': '[range(number), [NULL]]',
  'Array(LowCardinality(String))': 'arrayMap(n -> toString(n), range(number))',
  'Map(UInt16, UInt64)': 'map(number, number)',
  'Map(LowCardinality(String), Array(UInt8))': "map('x', range(number % 5))",
  'Tuple(UInt8, String)': "(number, 'x')",
  'Tuple(a UInt8, b LowCardinality(String))': "(number, 'x')",
  'Array(Tuple(UInt32, Nullable(Float64)))': '[(number, NULL)]',
}

describe('Native for a client of version 54460', () => {
  const rows = 700
  const ask = (sql: string, version: number) => send(`/?default_format=Native&client_protocol_version=${version}`, sql)

  test.each(Object.entries(TYPES))(
    '%s: the same data, a byte more a column and a block’s info',
    async (type, value) => {
      const sql = `SELECT CAST(${value} AS ${type}) AS value, number FROM numbers(${rows}) SETTINGS max_block_size = 1000`
      const [plain, told] = [await ask(sql, 0), await ask(sql, 54_460)]
      expect(plain.status, plain.bytes.toString()).toBe(200)
      expect(told.bytes.length).toBe(plain.bytes.length + 8 + 2)
      expect(told.bytes.subarray(0, 8)).toEqual(Buffer.from([1, 0, 2, 255, 255, 255, 255, 0]))
      // The last column is plain numbers: it stands where it should only if the length of the one before was read rightly.
      const last = Buffer.alloc(8 * rows)
      for (let i = 0; i < rows; i++) last.writeBigUInt64LE(BigInt(i), i * 8)
      expect(told.bytes.subarray(-8 * rows)).toEqual(last)
      expect(told.bytes.at(-8 * rows - 1)).toBe(0)
      expect(told.bytes.subarray(-8 * rows - 1 - 'number'.length - 1 - 'UInt64'.length, -8 * rows - 1).toString()).toBe(
        'number\x06UInt64',
      )
    },
  )

  test('several blocks have an info each; no rows are no blocks or an empty one', async () => {
    const sql =
      "SELECT number, toLowCardinality('x') AS x FROM numbers(2500) SETTINGS max_block_size = 1000, max_threads = 1"
    const [plain, told] = [await ask(sql, 0), await ask(sql, 54_460)]
    expect((told.bytes.length - plain.bytes.length) % 10).toBe(0)
    expect(told.bytes.length).toBeGreaterThan(plain.bytes.length)
    expect(nativeForVersion(new Uint8Array(0), 54_460)).toHaveLength(0)
  })

  test('an older client gets the info alone', () => {
    const block = Buffer.from([1, 1, 1, 0x78, 5, ...Buffer.from('UInt8'), 7])
    expect([...nativeForVersion(block, 50_000)]).toEqual([1, 0, 2, 255, 255, 255, 255, 0, ...block])
    expect(nativeForVersion(block, 0)).toBe(block)
  })

  test('a type whose length is not known is refused, not guessed', () => {
    const name = 'AggregateFunction(sum, UInt8)'
    const block = Buffer.from([1, 1, 1, 0x78, name.length, ...Buffer.from(name), 7])
    expect(() => nativeForVersion(block, 54_460)).toThrow(Failure)
  })
})
