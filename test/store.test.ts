/** The store against the real ClickHouse, without Kafka: a batch is there whole or not at all, and only its partition's owner can write it. */

import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createAdmission, NEW_VALUES_PER_FIELD_AND_DAY, OTHER } from '../ingest/load/admit.ts'
import { Batch, insertBatch, storedPartitions } from '../ingest/store/batch.ts'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import type { Accepted } from '../ingest/store/columns.ts'
import { migrate } from '../ingest/store/migrate.ts'
import { claim, noteProgress, OWNERS, type Progress, readProgress } from '../ingest/store/owner.ts'
import { due10s, dueCoarser, settle, TIERS } from '../ingest/store/settle.ts'
import { eventOf } from './support/events.ts'
import { RETENTION } from './support/seed.ts'
import { ownDatabase, unique } from './support/services.ts'

const START = Math.floor(Date.now() / 60_000) * 60_000 - 10 * 60_000

const asIs = (_field: string, value: string): string => value

let store: Store

beforeAll(async () => {
  const config = ownDatabase('store')
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

describe('a batch', () => {
  test('of several partitions is one part', async () => {
    const log_id = unique('part')
    const own = ownDatabase('store_part')
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
