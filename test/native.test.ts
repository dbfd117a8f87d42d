/** Columns in ClickHouse's Native format: what is written is what the real ClickHouse reads. */
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import * as native from '../ingest/store/native.ts'
import { sharedServices, unique } from './support/services.ts'

let store: Store

beforeAll(() => {
  store = openStore({ ...sharedServices().clickhouse, database: 'default' })
})

afterAll(() => store?.close())

describe('a Native block', () => {
  const columns = {
    u8: native.uint8(),
    bool: native.uint8('Bool'),
    u16: native.uint16(),
    u32: native.uint32(),
    e8: native.enum8({ none: 0, some: 1, last: 127 }),
    i64: native.int64(),
    u64: native.uint64(),
    time: native.dateTime64(),
    id: native.uuid(),
    n16: native.nullable16(),
    n32: native.nullable32(),
    many: native.arrayOfUint32(),
    bytes: native.string(),
    word: native.lowCardinality(),
  }
  const types = Object.entries(columns).map(([name, column]) => [name, column.type] as const)
  const ENUM = { none: 0, some: 1, last: 127 } as const

  const integer = (min: number, max: number) =>
    fc.oneof(fc.constantFrom(min, max), fc.integer({ min, max }), fc.integer({ min, max: Math.min(max, min + 300) }))
  const U32 = 4_294_967_295
  const row = fc.record(
    {
      u8: integer(0, 255),
      bool: fc.constantFrom(0, 1),
      u16: integer(0, 65_535),
      u32: integer(0, U32),
      e8: fc.constantFrom('some', 'last'),
      i64: integer(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER),
      u64: integer(0, Number.MAX_SAFE_INTEGER),
      time: integer(0, 4_102_444_800_000),
      id: fc.uuid(),
      n16: integer(0, 65_535),
      n32: integer(0, U32),
      many: fc.oneof(
        fc.array(integer(0, U32), { maxLength: 5 }),
        fc.integer({ min: 1_000, max: 3_000 }).map(length => Array.from({ length }, (_, i) => U32 - i)),
      ),
      bytes: fc.oneof(
        fc.uint8Array({ maxLength: 40 }),
        fc.integer({ min: 120, max: 20_000 }).map(length => new Uint8Array(length).fill(length)),
      ),
      word: fc.oneof(
        fc.string({ unit: 'binary', maxLength: 20 }),
        fc.constantFrom('', 'a', '\0', '☃', 'x'.repeat(300)),
      ),
    },
    { requiredKeys: [] },
  )
  type Row = typeof row extends fc.Arbitrary<infer R> ? R : never
  const base64 = (value: string | Uint8Array): string => Buffer.from(value as string).toString('base64')

  /** What ClickHouse should say of a row, where what was never set has its type's default. */
  const asRead = (said: Row) => ({
    u8: said.u8 ?? 0,
    bool: said.bool === 1,
    u16: said.u16 ?? 0,
    u32: said.u32 ?? 0,
    e8: said.e8 ?? 'none',
    i64: said.i64 ?? 0,
    u64: said.u64 ?? 0,
    time: said.time ?? 0,
    id: said.id ?? '00000000-0000-0000-0000-000000000000',
    n16: said.n16 ?? null,
    n32: said.n32 ?? null,
    many: said.many ?? [],
    bytes: base64(said.bytes ?? ''),
    word: base64(said.word ?? ''),
  })

  function setRow(at: number, { id, e8, bytes, many, word, ...numbers }: Row): void {
    for (const [name, value] of Object.entries(numbers)) columns[name as keyof typeof numbers].set(at, value as number)
    if (id !== undefined) columns.id.setText(at, id)
    if (e8 !== undefined) columns.e8.set(at, ENUM[e8 as keyof typeof ENUM])
    if (bytes !== undefined) columns.bytes.set(at, bytes)
    if (many !== undefined) columns.many.set(at, many)
    if (word !== undefined) columns.word.set(at, word)
  }

  let table: string
  beforeAll(async () => {
    table = unique('native')
    await store.command(
      `CREATE TABLE ${table} (run UInt32, row UInt32, ${types.map(t => t.join(' ')).join(', ')}) ENGINE = MergeTree ORDER BY (run, row)`,
    )
  })

  test('is read as it was written, whatever is in it, and a block leaves nothing behind for the next', async () => {
    const run = native.uint32()
    const number = native.uint32()
    let runs = 0
    await fc.assert(
      fc.asyncProperty(fc.array(row, { minLength: 1, maxLength: 40 }), async rows => {
        const all = [run, number, ...Object.values(columns)]
        for (const column of all) column.reserve(rows.length)
        const id = ++runs
        for (const [at, said] of rows.entries()) {
          run.set(at, id)
          number.set(at, at)
          setRow(at, said)
        }
        const named = Object.entries({ run, row: number, ...columns })
        await store.insertNative(`INSERT INTO ${table} FORMAT Native`, native.nativeBlock(named, rows.length))
        for (const column of all) column.clear(rows.length)
        const read = await store.query(
          `SELECT u8, bool, u16, u32, e8, i64, u64, toUnixTimestamp64Milli(time) AS time, id, n16, n32, many,
             base64Encode(bytes) AS bytes, base64Encode(word) AS word FROM ${table} WHERE run = {id:UInt32} ORDER BY row`,
          { id },
        )
        expect(read).toEqual(rows.map(asRead))
      }),
      { numRuns: 40 },
    )
  }, 180_000)

  test.each([257, 70_000])(
    'has dictionaries of %d distinct values',
    async distinct => {
      const column = native.lowCardinality()
      column.reserve(distinct)
      for (let i = 0; i < distinct; i++) column.set(i, `value ${i % 2 ? i : distinct - i - (distinct % 2)}`)
      const words = unique('words')
      await store.command(`CREATE TABLE ${words} (word LowCardinality(String)) ENGINE = MergeTree ORDER BY tuple()`)
      await store.insertNative(`INSERT INTO ${words} FORMAT Native`, native.nativeBlock([['word', column]], distinct))
      const read = await store.query<{ word: string }>(`SELECT word FROM ${words}`)
      const wrong = read.filter(({ word }, i) => word !== `value ${i % 2 ? i : distinct - i - (distinct % 2)}`)
      expect({ read: read.length, wrong }).toEqual({ read: distinct, wrong: [] })
    },
    120_000,
  )
})
