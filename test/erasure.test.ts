/**
 * Erasing a session: it is nowhere afterwards, the others are as they were, and the invariant holds; also where it dies halfway, meets
 * a settling, or events of it go on arriving. On the real ClickHouse and Kafka.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { auditPartitions, auditRecent } from '../ingest/store/audit.ts'
import { cellsFromEvents } from '../ingest/store/cell-sql.ts'
import { CELL_COLUMNS } from '../ingest/store/cells.ts'
import { openStore, type Store, type StoreConfig } from '../ingest/store/clickhouse.ts'
import { eraseSession } from '../ingest/store/erase.ts'
import { migrate } from '../ingest/store/migrate.ts'
import { readProgress } from '../ingest/store/owner.ts'
import { dropShadows, hoursOf, prepareShadows, recomputeHour, switchHour } from '../ingest/store/recompute.ts'
import { SESSIONS_TABLE, settleSessions } from '../ingest/store/sessions.ts'
import { COARSER_TIERS, due10s, dueCoarser, TIERS } from '../ingest/store/settle.ts'
import { apiOver } from './support/app.ts'
import { eventOf, sessionId } from './support/events.ts'
import { Pipeline } from './support/pipeline.ts'
import { keyFor, RETENTION, Seed, settleAll } from './support/seed.ts'
import { ownDatabase, stopServices } from './support/services.ts'

const HOUR_MS = 3_600_000
const START = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - 3 * HOUR_MS
const since = START / 1_000
const { key, hash } = keyFor('erasure tests')

const heard = (n: number, at_s: number) =>
  [0, 1].map(kind => ({
    ...eventOf(n, 2 * at_s + kind, START),
    started_at_ms: START + at_s * 1_000,
    sent_at_ms: START + at_s * 1_000 + 1_000,
  }))
const refusedOf = (n: number, i: number, keyed: boolean) => ({
  refusal: { reason: 'bad_shape' as const, detail: 'frame_time_us: must be array' },
  key: keyed ? sessionId(n) : 'another',
  bytes: Buffer.from(`{"session_id":"${keyed ? '' : sessionId(n).toUpperCase()}","i":${i}}`),
  appended_at_ms: START + i * 1_000,
})

interface Scene {
  readonly store: Store
  readonly seed: Seed
  readonly config: StoreConfig
}
const open: Store[] = []

/** Two hours of three sessions, one event after the other, refused messages between them; all settled. The last offset is of session 1. */
async function scene(): Promise<Scene> {
  const config = ownDatabase('erasure')
  await migrate(config, RETENTION)
  const store = openStore(config)
  open.push(store)
  const seed = new Seed(store, 'erasure#1')
  const played = Array.from({ length: 120 }, (_, i) => [0, 2, 1].flatMap(n => heard(n, i * 60 + n)))
  await seed.insert([
    refusedOf(1, 0, true),
    ...played.slice(0, 60).flat(),
    refusedOf(2, 1, true),
    refusedOf(1, 2, false),
  ])
  await seed.insert([...heard(3, 7), ...played.slice(60).flat()])
  await settleEverything(store)
  return { store, seed, config }
}

const settleEverything = async (store: Store): Promise<void> => {
  await settleAll(store, since)
  await settleSessions(store, await dueCoarser(store, 'session', since))
}

afterAll(async () => {
  for (const store of open) await store.close()
  await stopServices()
}, 120_000)

const TABLES = [...Object.values(TIERS).map(({ table }) => table), SESSIONS_TABLE]
async function others(store: Store): Promise<Record<string, string[]>> {
  const of = async (table: string, columns: string) => {
    const rows = await store.query<{ row: string }>(
      `SELECT toString(tuple(${columns})) AS row FROM ${table} WHERE session_id != {id:UUID} ORDER BY row`,
      { id: sessionId(1) },
    )
    return rows.map(({ row }) => row)
  }
  const tables = TABLES.map(async table => [table, await of(`${table} FINAL`, '* EXCEPT settled_at')])
  const events = of("(SELECT * FROM events_v1 WHERE kind != 'rejected')", '*')
  return Object.fromEntries(await Promise.all([...tables, events.then(rows => ['events_v1', rows])]))
}

/** Rows of every table of the database in which the id occurs in any column, any spelling. */
async function findings(store: Store, id: string): Promise<Record<string, number>> {
  const tables = await store.query<{ name: string }>(
    "SELECT name FROM system.tables WHERE database = currentDatabase() AND engine NOT LIKE '%View'",
  )
  const found: Record<string, number> = {}
  for (const { name } of tables) {
    const [row] = await store.query<{ n: number }>(
      `SELECT count() AS n FROM ${name} WHERE positionCaseInsensitive(toString(tuple(*)), {id:String}) > 0`,
      { id },
    )
    if (row && row.n > 0) found[name] = row.n
  }
  return found
}

async function expectWhole(store: Store): Promise<void> {
  for (const { missing, doubled } of await auditPartitions(store))
    expect({ missing, doubled }).toEqual({ missing: 0, doubled: 0 })
  expect(await auditRecent(store, Date.now() - 600_000)).toBe(0)
}
const nothingDue = async (store: Store) => {
  expect(await due10s(store, since)).toEqual([])
  for (const tier of [...COARSER_TIERS, 'session'] as const)
    expect(await dueCoarser(store, tier, since), tier).toEqual([])
}
async function expectCellsOfRaw(store: Store): Promise<void> {
  const rows = async (from: string) =>
    store.query(
      `SELECT toString(tuple(t, session_id, ${Object.keys(CELL_COLUMNS).join(', ')})) AS row FROM ${from} ORDER BY row`,
    )
  expect(await rows(`${TIERS['10s'].table} FINAL`)).toEqual(await rows(`(${cellsFromEvents('1')})`))
}

const ERASED = sessionId(1)
const EVENTS = 240
const REFUSED = 2
const CELLS = 120 + 120 + 2 + 1

describe('an erased session', () => {
  let store: Store
  let seed: Seed
  let before: Record<string, string[]>
  beforeAll(async () => {
    ;({ store, seed } = await scene())
    before = await others(store)
  })

  test('is nowhere, in no table and no spelling, and the others are as they were', async () => {
    expect(Object.keys(await findings(store, ERASED)).sort()).toEqual(
      ['events_v1', 'session_spans_v1', ...TABLES].sort(),
    )
    expect(await eraseSession(store, ERASED)).toMatchObject({ rows: EVENTS + REFUSED, cells: CELLS })
    expect(await findings(store, ERASED)).toEqual({})
    expect(await others(store)).toEqual(before)
  })

  test('leaves no offset missing, and nobody anything to settle', async () => {
    const audit = await auditPartitions(store)
    expect(audit).toMatchObject([{ first: 0, next: 3 * EVENTS + 2 + 3, missing: 0, doubled: 0 }])
    await expectWhole(store)
    await nothingDue(store)
  })

  test('takes nobody back to offsets that were read', async () => {
    const progress = await readProgress(store, 'erasure#1', [0])
    expect(progress.get(0)?.next).toBe(3 * EVENTS + 2 + 3)
    expect(progress.get(0)?.last_appended_at_ms).toBeDefined()
  })

  test('is erased once: again there is nothing', async () => {
    expect(await eraseSession(store, ERASED)).toEqual({ rows: 0, cells: 0, last_appended_at_ms: undefined })
    await expectWhole(store)
  })

  test('that goes on speaking is heard again, and erased again', async () => {
    await seed.insert([...heard(1, 7_210), ...heard(0, 7_210)])
    await settleEverything(store)
    expect(await findings(store, ERASED)).not.toEqual({})
    expect(await eraseSession(store, ERASED)).toMatchObject({ rows: 2, cells: 4 })
    expect(await findings(store, ERASED)).toEqual({})
    await expectWhole(store)
    await nothingDue(store)
    await expectCellsOfRaw(store)
  })

  test('alone in its buckets leaves them empty and settled', async () => {
    await seed.insert(heard(5, 7_300))
    await settleEverything(store)
    await eraseSession(store, sessionId(5))
    await nothingDue(store)
    await expectWhole(store)
  })
})

describe('an erasure', () => {
  test('that died in any of its steps is finished by another', async () => {
    const { store } = await scene()
    const before = await others(store)
    for (let steps = 0; ; steps++) {
      let left = steps
      const dying: Store = {
        ...store,
        command: (sql, ...rest) => (left-- > 0 ? store.command(sql, ...rest) : Promise.reject(new Error('killed'))),
      }
      const died = await eraseSession(dying, ERASED).then(
        () => false,
        () => true,
      )
      await expectWhole(store)
      if (!died) break
    }
    expect(await findings(store, ERASED)).toEqual({})
    await settleEverything(store)
    expect(await others(store)).toEqual(before)
    await nothingDue(store)
    await expectCellsOfRaw(store)
  }, 120_000)

  test('that meets settlings leaves nothing they could bring back', async () => {
    const { store, seed } = await scene()
    const before = await others(store)
    // Due in every tier: each bucket has one row more, of the session that goes.
    await seed.insert(Array.from({ length: 120 }, (_, i) => heard(1, i * 60 + 31)).flat())
    let erasing = true
    const settling = (async () => {
      while (erasing) await settleEverything(store)
    })()
    await eraseSession(store, ERASED)
    erasing = false
    await settling
    await settleEverything(store)
    expect(await findings(store, ERASED)).toEqual({})
    expect(await others(store)).toEqual(before)
    await expectWhole(store)
    await nothingDue(store)
  }, 120_000)

  test('that meets a recomputation is not undone by it', async () => {
    const { store } = await scene()
    const before = await others(store)
    await prepareShadows(store)
    const moments = new Map<number, string>()
    for (const hour of await hoursOf(store, since, since + 3 * 3_600))
      moments.set(hour.t, await recomputeHour(store, hour))
    await eraseSession(store, ERASED)
    for (const [hour, settled_at] of moments) await switchHour(store, hour, settled_at)
    await dropShadows(store)
    expect(await findings(store, ERASED)).toEqual({})
    expect(await others(store)).toEqual(before)
  }, 120_000)
})

describe('DELETE /v1/sessions/{id}', () => {
  const appOf = (store: Store, now = Date.now) => apiOver(store, [hash], { now })
  const erase = (app: ReturnType<typeof appOf>, id: string, authorization = `Bearer ${key}`) =>
    app.request(`/v1/sessions/${id}`, { method: 'DELETE', headers: { authorization } })

  test('erases, says how much, and whether more may come', async () => {
    const { store } = await scene()
    const speaking = await erase(
      appOf(store, () => START + 2 * HOUR_MS),
      ERASED,
    )
    expect(speaking.status).toBe(202)
    const said = { session_id: ERASED, rows: EVENTS + REFUSED, cells: CELLS, still_speaking: true }
    expect(await speaking.json()).toMatchObject({ data: [said], meta: { metric: null } })
    const silent = await erase(appOf(store), ERASED)
    expect(silent.status).toBe(200)
    expect(await silent.json()).toMatchObject({ data: [{ rows: 0, cells: 0, still_speaking: false }] })
    expect(await findings(store, ERASED)).toEqual({})
    const gone = await appOf(store).request(`/v1/sessions/${ERASED}`, { headers: { authorization: `Bearer ${key}` } })
    expect(gone.status).toBe(404)
  })

  test('refuses who has no key, and what is no session id', async () => {
    const { store } = await scene()
    expect((await erase(appOf(store), ERASED, 'Bearer nobody')).status).toBe(401)
    const misfit = await erase(appOf(store), "x' OR 1")
    expect(misfit.status).toBe(400)
    expect(await misfit.json()).toMatchObject({ code: 'bad_session_id', parameter: 'id' })
    expect(await findings(store, ERASED)).not.toEqual({})
  })
})

test('an ingester that starts again after an erasure goes on behind it, and stores nothing twice', async () => {
  const pipeline = await Pipeline.start('erased', { SETTLE_EVERY_MS: '200' })
  try {
    const { store, sender } = pipeline
    const start = Date.now() - 120_000
    const send = (from: number, to: number) =>
      sender.sendRaw(
        Array.from({ length: to - from }, (_, i) => from + i).flatMap(seq =>
          [0, 1, 2].map(n => ({
            key: sessionId(n),
            value: JSON.stringify({ ...eventOf(n, seq, start), sent_at_ms: Date.now() }),
          })),
        ),
      )
    await send(0, 60)
    await pipeline.stored()
    await pipeline.settled()
    await pipeline.stopIngester()
    expect(await eraseSession(store, ERASED)).toMatchObject({ rows: 60 })
    await pipeline.startIngester()
    await send(60, 80)
    await pipeline.stored()
    await pipeline.settled()
    const rows = await store.query(
      'SELECT session_id, count() AS rows FROM events_v1 GROUP BY session_id ORDER BY session_id',
    )
    expect(rows).toEqual([0, 1, 2].map(n => ({ session_id: sessionId(n), rows: n === 1 ? 20 : 80 })))
    await expectWhole(store)
    await expectCellsOfRaw(store)
  } finally {
    await pipeline.close()
  }
}, 240_000)
