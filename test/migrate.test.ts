/** Migrations in the real ClickHouse: the tables are as the code describes them, whoever made them, in whatever order, and at what died halfway. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { CELL_COLUMNS } from '../ingest/store/cells.ts'
import { openStore, type Store, type StoreConfig } from '../ingest/store/clickhouse.ts'
import { EventRows } from '../ingest/store/columns.ts'
import { EditedMigration, migrate, readMigrations } from '../ingest/store/migrate.ts'
import { dueCoarser, TIERS } from '../ingest/store/settle.ts'
import { RETENTION } from './support/seed.ts'
import { ownDatabase } from './support/services.ts'

let config: StoreConfig
let store: Store

beforeAll(async () => {
  config = ownDatabase('migrated')
  await migrate(config, RETENTION)
  store = openStore(config)
})

afterAll(() => store?.close())

describe('the tables', () => {
  const described = async (table: string, without: readonly string[]): Promise<string[][]> => {
    const rows = await store.query<{ name: string; type: string }>(`DESCRIBE TABLE ${table}`)
    return rows.filter(({ name }) => !without.includes(name)).map(({ name, type }) => [name, type])
  }

  test('of events has the columns that are written, by name, type and order', async () => {
    expect(await described('events_v1', ['ingested_at', 't10'])).toEqual(
      new EventRows((_field, value) => value).structure,
    )
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
    const together = ownDatabase('migrated_together')
    await Promise.all([1, 2, 3].map(() => migrate(together, RETENTION)))
    expect(await migrate(together, RETENTION)).toEqual([])
    const fresh = ownDatabase('migrated_fresh')
    expect(await migrate(fresh, RETENTION)).toEqual(readMigrations().map(({ name }) => name))
    expect(await schemaOf(together.database)).toEqual(await schemaOf(fresh.database))
  }, 60_000)

  test.each([0, 1, 2])(
    'puts minutes into another order and keeps them, also after it died behind %i statements',
    async died_behind => {
      const migrations = readMigrations()
      const at = migrations.findIndex(({ name }) => name === '010_minutes_by_session')
      const moving = ownDatabase('migrated_minutes')
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
    const changing = ownDatabase('migrated_retention')
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
