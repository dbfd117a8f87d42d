/**
 * The store against the real ClickHouse, without Kafka: our description of its tables is what they are, what is written is what is
 * read, a batch is there whole or not at all, and only its partition's owner can write it.
 */

import { randomUUID } from 'node:crypto'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAdmission, NEW_VALUES_PER_FIELD_AND_DAY, OTHER } from '../ingest/load/admit.ts'
import { Batch, insertBatch, storedPartitions } from '../ingest/store/batch.ts'
import { CELL_COLUMNS } from '../ingest/store/cells.ts'
import { openStore, type Store, type StoreConfig } from '../ingest/store/clickhouse.ts'
import { type Accepted, EventRows } from '../ingest/store/columns.ts'
import { EditedMigration, migrate, readMigrations } from '../ingest/store/migrate.ts'
import * as native from '../ingest/store/native.ts'
import { claim, noteProgress, OWNERS, type Progress, readProgress } from '../ingest/store/owner.ts'
import { due10s, dueCoarser, settle, TIERS } from '../ingest/store/settle.ts'
import { eventOf } from './support/events.ts'
import { RETENTION } from './support/seed.ts'
import { sharedServices, unique } from './support/services.ts'

const START = Math.floor(Date.now() / 60_000) * 60_000 - 10 * 60_000

const inDatabase = (database: string): StoreConfig => ({ ...sharedServices().clickhouse, database })
const asIs = (_field: string, value: string): string => value

let config: StoreConfig
let store: Store

beforeAll(async () => {
  config = inDatabase(unique('store'))
  await migrate(config, RETENTION)
  store = openStore(config)
})

afterAll(() => store?.close())

const scalar = async <T>(sql: string, params = {}, of = store): Promise<T | undefined> =>
  (await of.query<{ value: T }>(sql, params))[0]?.value

/** Rows of offsets [first, first + n), spread over the partitions. */
function batchOf(log_id: string, partitions: readonly number[], n: number, first = 0, admit = asIs): Batch {
  const batch = new Batch(admit)
  for (const kafka_partition of partitions)
    for (let i = 0; i < n; i++)
      batch.append({ log_id, kafka_partition, kafka_offset: first + i, appended_at_ms: START + i }, accepted(i), 100)
  return batch
}

/** Two thousand events of fifty sessions, then the same again. */
const contents: readonly Accepted[] = Array.from({ length: 2_000 }, (_, i) => {
  const event = eventOf(i % 50, Math.floor(i / 50), START)
  return { event, at_ms: event.started_at_ms, clock_shift_ms: 0, extensions: 0 }
})
const accepted = (i: number): Accepted => contents[i % contents.length] as Accepted

const always = () => true
const rowsOf = (log_id: string) =>
  scalar<number>('SELECT count() AS value FROM events_v1 WHERE log_id = {log_id:String}', { log_id })

describe('the tables', () => {
  const described = async (table: string, without: readonly string[]): Promise<string[][]> => {
    const rows = await store.query<{ name: string; type: string }>(`DESCRIBE TABLE ${table}`)
    return rows.filter(({ name }) => !without.includes(name)).map(({ name, type }) => [name, type])
  }

  test('of events has the columns that are written, by name, type and order', async () => {
    expect(await described('events_v1', ['ingested_at', 't10'])).toEqual(new EventRows(asIs).structure)
  })

  test.each(Object.values(TIERS))('$table has the columns of a cell, by name, type and order', async ({ table }) => {
    const cell = Object.entries(CELL_COLUMNS).map(([name, { type }]) => [name, type])
    const key = [
      ['t', "DateTime('UTC')"],
      ['session_id', 'UUID'],
    ]
    expect(await described(table, ['settled_at'])).toEqual([...key, ...cell])
  })
})

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

describe('a batch', () => {
  test('of several partitions is one part', async () => {
    const log_id = unique('part')
    const own = inDatabase(unique('store_part'))
    await migrate(own, RETENTION)
    const alone = openStore(own)
    try {
      const lease = await claim(alone, log_id, [0, 1, 2, 3], always)
      const batch = batchOf(log_id, [0, 1, 2, 3], 30_000)
      await insertBatch(alone, lease, batch)
      expect(await storedPartitions(alone, lease, batch)).toEqual(new Set([0, 1, 2, 3]))
      expect(await scalar('SELECT count() AS value FROM events_v1', {}, alone)).toBe(120_000)
      expect(await scalar('SELECT uniqExact(_part) AS value FROM events_v1', {}, alone)).toBe(1)
    } finally {
      await alone.close()
    }
  }, 120_000)

  test('that is cut off on its way is not there at all', async () => {
    const log_id = unique('cut')
    const lease = await claim(store, log_id, [0], always)
    const batch = batchOf(log_id, [0], 5_000)
    const whole = Buffer.concat(batch.block())
    for (const share of [0.2, 0.6, 0.999]) {
      const cut: Store = {
        ...store,
        insertNative: (sql, _block, ...rest) =>
          store.insertNative(sql, [whole.subarray(0, Math.floor(whole.length * share))], ...rest),
      }
      await expect(insertBatch(cut, lease, batch)).rejects.toThrow()
      expect(await rowsOf(log_id)).toBe(0)
      expect(await storedPartitions(store, lease, batch)).toEqual(new Set())
    }
    await insertBatch(store, lease, batch)
    expect(await rowsOf(log_id)).toBe(5_000)
  }, 60_000)

  test('keeps at most so many new values of a context field a day; the rest become (other), and are counted', async () => {
    const log_id = unique('other')
    const lease = await claim(store, log_id, [0], always)
    let others = 0
    const admit = createAdmission(() => others++)
    const beyond = 50
    const n = NEW_VALUES_PER_FIELD_AND_DAY + beyond
    const batch = new Batch(admit)
    for (let i = 0; i < n + 10; i++) {
      const known = i < n ? i : i - n
      const content = accepted(i)
      const event = { ...content.event, context: { isp: `isp ${known}`, game: 'one' } }
      const position = { log_id, kafka_partition: 0, kafka_offset: i, appended_at_ms: START }
      batch.append(position, { ...content, event }, 0)
    }
    await insertBatch(store, lease, batch)
    const [stored] = await store.query<{ isps: number; others: number; games: number }>(
      `SELECT uniqExact(isp) AS isps, countIf(isp = {other:String}) AS others, uniqExact(game) AS games
       FROM events_v1 WHERE log_id = {log_id:String}`,
      { log_id, other: OTHER },
    )
    expect(stored).toEqual({ isps: NEW_VALUES_PER_FIELD_AND_DAY + 1, others: beyond, games: 1 })
    expect(others).toBe(beyond)
  }, 60_000)
})

describe('a partition', () => {
  test('takes nothing from a writer that lost it, though ClickHouse says OK', async () => {
    const log_id = unique('fenced')
    const old = await claim(store, log_id, [0, 1], always)
    const late = batchOf(log_id, [0, 1], 10)
    await claim(store, log_id, [1], always)
    await insertBatch(store, old, late)
    expect(await storedPartitions(store, old, late)).toEqual(new Set([0]))
    expect(await rowsOf(log_id)).toBe(10)
    await claim(store, log_id, [0], always)
    await insertBatch(store, old, batchOf(log_id, [0], 10, 10))
    expect(await rowsOf(log_id)).toBe(10)
  })

  test('has exactly one owner, however many claim it at once', async () => {
    const log_id = unique('claims')
    const partitions = [0, 1, 2]
    const leases = await Promise.all([1, 2, 3].map(() => claim(store, log_id, partitions, always)))
    const owners = await store.query<{ kafka_partition: number; writer: string }>(
      `SELECT kafka_partition, writer FROM (${OWNERS}) AS owners (kafka_partition, writer) ORDER BY kafka_partition`,
      { log_id },
    )
    expect(owners.map(owner => owner.kafka_partition)).toEqual(partitions)
    const [writer] = new Set(owners.map(owner => owner.writer))
    expect(leases.map(lease => lease.writer)).toContain(writer)
    for (const lease of leases) await insertBatch(store, lease, batchOf(log_id, partitions, 4))
    expect(await rowsOf(log_id)).toBe(partitions.length * 4)
  }, 60_000)

  test('goes on behind its rows or behind its noted progress, whichever is further', async () => {
    const log_id = unique('progress')
    const lease = await claim(store, log_id, [0, 1, 2], always)
    await insertBatch(store, lease, batchOf(log_id, [0, 1], 7))
    await noteProgress(
      store,
      log_id,
      new Map([
        [0, { next: 3, last_appended_at_ms: 1 }],
        [1, { next: 90, last_appended_at_ms: START }],
      ]),
    )
    const rows: Progress = { next: 7, last_appended_at_ms: START + 6 }
    const noted: Progress = { next: 90, last_appended_at_ms: START }
    const nothing: Progress = { next: undefined, last_appended_at_ms: undefined }
    expect(await readProgress(store, log_id, [0, 1, 2])).toEqual(
      new Map([
        [0, rows],
        [1, noted],
        [2, nothing],
      ]),
    )
    expect(await readProgress(store, log_id, [0, 1])).toEqual(
      new Map([
        [0, rows],
        [1, noted],
      ]),
    )
  })

  test('whose last offsets Kafka never delivered has no append time to be known by', async () => {
    const log_id = unique('gap')
    const lease = await claim(store, log_id, [0], always)
    const batch = batchOf(log_id, [0], 2)
    batch.append(
      { log_id, kafka_partition: 0, kafka_offset: 2, appended_at_ms: START },
      { gap: 'control', offsets: 5 },
      0,
    )
    await insertBatch(store, lease, batch)
    expect(await storedPartitions(store, lease, batch)).toEqual(new Set([0]))
    expect(await readProgress(store, log_id, [0])).toEqual(new Map([[0, { next: 7, last_appended_at_ms: undefined }]]))
  })
})

describe('migrating', () => {
  const schemaOf = (database: string) =>
    store.query(
      'SELECT name, replaceAll(create_table_query, {database:String}, {empty:String}) AS text FROM system.tables WHERE database = {database:String} ORDER BY name',
      { database, empty: '' },
    )

  test('a second time changes nothing', async () => {
    const before = await schemaOf(config.database)
    expect(await migrate(config, RETENTION)).toEqual([])
    expect(await schemaOf(config.database)).toEqual(before)
  })

  test('by several at once gives the same tables', async () => {
    const together = inDatabase(unique('store_together'))
    await Promise.all([1, 2, 3].map(() => migrate(together, RETENTION)))
    expect(await migrate(together, RETENTION)).toEqual([])
    const fresh = inDatabase(unique('store_fresh'))
    expect(await migrate(fresh, RETENTION)).toEqual(readMigrations().map(({ name }) => name))
    expect(await schemaOf(together.database)).toEqual(await schemaOf(fresh.database))
  }, 60_000)

  test.each([0, 1, 2])(
    'puts minutes into another order and keeps them, also after it died behind %i statements',
    async died_behind => {
      const migrations = readMigrations()
      const at = migrations.findIndex(({ name }) => name === '010_minutes_by_session')
      const moving = inDatabase(unique('store_minutes'))
      await migrate(moving, RETENTION, migrations.slice(0, at))
      const place = openStore(moving)
      const from = Math.floor(Date.now() / 3_600_000 - 3) * 3_600
      const minutes = { from, sessions: 500 }
      await place.command(
        `INSERT INTO ${TIERS.minute.table} (t, session_id, isp, frames, frame_time_buckets, settled_at)
       SELECT toDateTime({from:UInt32} + 60 * intDiv(number, {sessions:UInt32}), 'UTC'), reinterpret(sipHash128(number % {sessions:UInt32}), 'UUID'),
         concat('isp-', toString(number % 7)), number, map(toUInt16(number % 900), number), now64(6, 'UTC') - INTERVAL 1 HOUR
       FROM numbers(120 * {sessions:UInt32})`,
        minutes,
      )
      // What an ingester of before settles while the table is copied: noted, and gone with the old table. Long before: noted and copied.
      await place.command(
        `INSERT INTO settled_v1 (tier, t, rows, settled_at) VALUES
         ('10s', {from:UInt32}, 6, now64(6, 'UTC')), ('minute', {from:UInt32}, 6, now64(6, 'UTC')),
         ('10s', {from:UInt32} + 60, 6, now64(6, 'UTC')), ('minute', {from:UInt32} + 60, 6, now64(6, 'UTC') - INTERVAL 2 HOUR)`,
        minutes,
      )
      const kept = () =>
        place.query(
          `SELECT count() AS cells, groupBitXor(sipHash64(toString(tuple(*)))) AS hash FROM ${TIERS.minute.table} FINAL`,
        )
      const before = await kept()
      for (const statement of migrations[at]?.statements.slice(0, died_behind) ?? []) await place.command(statement)
      expect(await migrate(moving, RETENTION)).toContain('010_minutes_by_session')
      expect(await kept()).toEqual(before)
      expect((await dueCoarser(place, 'minute', from)).map(({ t }) => t)).toEqual([from])

      const read = async (where: string) => {
        const [parts] = await place.query<{ rows: number }>(
          `EXPLAIN ESTIMATE SELECT sum(frames) FROM ${TIERS.minute.table} FINAL WHERE ${where}`,
          minutes,
        )
        return parts?.rows ?? 0
      }
      const ten = "t >= toDateTime({from:UInt32} + 1800, 'UTC') AND t <= toDateTime({from:UInt32} + 2399, 'UTC')"
      const granule = 512
      expect(await read('1')).toBe(120 * minutes.sessions)
      expect(await read(ten)).toBeLessThanOrEqual(10 * minutes.sessions + 2 * granule)
      expect(await read("session_id = reinterpret(sipHash128(toUInt64(42)), 'UUID')")).toBeLessThanOrEqual(
        12 * 2 * granule,
      )
      await place.close()
    },
    60_000,
  )

  test('refuses a file that was edited after it was applied, by its name', async () => {
    const edited = readMigrations().map((migration, i) => (i === 1 ? { ...migration, hash: 'another' } : migration))
    const attempt = migrate(config, RETENTION, edited)
    await expect(attempt).rejects.toThrow(EditedMigration)
    await expect(attempt).rejects.toThrow(edited[1]?.name)
  })

  test('brings the tables to the retention that is configured now', async () => {
    const changing = inDatabase(unique('store_retention'))
    const days = async (): Promise<Record<string, number>> => {
      const rows = await store.query<{ name: string; days: number }>(
        `SELECT name, toUInt32(extract(engine_full, 'toIntervalDay\\\\((\\\\d+)\\\\)')) AS days FROM system.tables
         WHERE database = {database:String} AND name IN ('events_v1', 'quality_per_10s_v1', 'quality_per_minute_v1', 'quality_per_hour_v1', 'sessions_v1')`,
        { database: changing.database },
      )
      return Object.fromEntries(rows.map(row => [row.name, row.days]))
    }
    for (const [raw_days, cell_days, minute_days, hour_days, session_days] of [
      [30, 30, 400, 1_200, 1_200],
      [9, 8, 77, 88, 99],
    ] as const) {
      await migrate(changing, { raw_days, cell_days, minute_days, hour_days, session_days })
      expect(await days()).toEqual({
        events_v1: raw_days,
        quality_per_10s_v1: cell_days,
        quality_per_minute_v1: minute_days,
        quality_per_hour_v1: hour_days,
        sessions_v1: session_days,
      })
    }
  }, 60_000)
})

describe('settling', () => {
  const DAY_S = 86_400
  /** Cells less the moment they were settled; hashed as text, where NULL is a value. */
  const cells = (table: string) =>
    store.query(`SELECT toString(tuple(* EXCEPT settled_at)) AS cell FROM ${table} FINAL ORDER BY cell`)
  const both = async () => [await cells(TIERS['10s'].table), await cells(TIERS.minute.table)]
  const since = START / 1_000 - DAY_S
  const settleAll = async (with_store = store): Promise<void> => {
    await settle(with_store, '10s', await due10s(store, since))
    await settle(with_store, 'minute', await dueCoarser(store, 'minute', since))
  }

  beforeAll(async () => {
    const log_id = unique('settle')
    await insertBatch(store, await claim(store, log_id, [0], always), batchOf(log_id, [0], 2_000))
  })

  test('that dies between the cells and the note of it is due again, and nothing is wrong meanwhile', async () => {
    const due = await due10s(store, since)
    expect(due.length).toBeGreaterThan(0)
    const dying: Store = {
      ...store,
      command: (sql, ...rest) =>
        sql.includes('INTO settled_v1') ? Promise.reject(new Error('killed')) : store.command(sql, ...rest),
    }
    await expect(settleAll(dying)).rejects.toThrow('killed')
    expect(await due10s(store, since)).toEqual(due)
    const meanwhile = await cells(TIERS['10s'].table)
    await settleAll()
    expect(await due10s(store, since)).toEqual([])
    expect(await dueCoarser(store, 'minute', since)).toEqual([])
    expect(await cells(TIERS['10s'].table)).toEqual(meanwhile)
  })

  test('again, or by two at once, gives the same cells', async () => {
    const before = await both()
    expect(before[0]?.length).toBeGreaterThan(50)
    const all = await store.query<{ t: number; rows: number }>(
      "SELECT toUnixTimestamp(t) AS t, argMax(rows, settled_at) AS rows FROM settled_v1 WHERE tier = '10s' GROUP BY t",
    )
    const again = all.map(bucket => ({ ...bucket, settled_at_ms: 0 }))
    await Promise.all([settle(store, '10s', again), settle(store, '10s', again)])
    await settleAll()
    expect(await both()).toEqual(before)
  })

  test('of a bucket that grew replaces its cells, and those of no other', async () => {
    const [before = []] = await both()
    // Its place is that of other logs' first message; some of those are resends.
    const log_id = unique('grown')
    const batch = new Batch(asIs)
    const event = { ...eventOf(7, 100, START), seq: 4_000_000, session_id: randomUUID() }
    batch.append(
      { log_id, kafka_partition: 0, kafka_offset: 0, appended_at_ms: START },
      { event, at_ms: START, clock_shift_ms: 0, extensions: 0 },
      0,
    )
    await insertBatch(store, await claim(store, log_id, [0], always), batch)
    expect((await due10s(store, since)).map(bucket => bucket.t)).toEqual([START / 1_000])
    await settleAll()
    const [after = []] = await both()
    const known = new Set(before.map(cell => JSON.stringify(cell)))
    expect(after.filter(cell => !known.has(JSON.stringify(cell)))).toHaveLength(1)
    expect(after).toHaveLength(before.length + 1)
  })
})
