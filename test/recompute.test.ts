/**
 * Recomputing: after a definition changed, every cell of every tier is what raw says by the new one; until then, and wherever it
 * stops, every cell is what it was. On the real ClickHouse, by the command itself.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { cellsFromCells, cellsFromEvents } from '../ingest/store/cell-sql.ts'
import { CELL_COLUMNS } from '../ingest/store/cells.ts'
import { openStore, type Store, type StoreConfig } from '../ingest/store/clickhouse.ts'
import { migrate } from '../ingest/store/migrate.ts'
import {
  compareHour,
  dropShadows,
  hoursOf,
  NOTHING_COMPARED,
  prepareShadows,
  recomputeHour,
  switchHour,
} from '../ingest/store/recompute.ts'
import { SESSION_COLUMNS, SESSIONS_TABLE, settleSessions } from '../ingest/store/sessions.ts'
import { dueCoarser, TIERS, type Tier } from '../ingest/store/settle.ts'
import { eventOf, sessionId } from './support/events.ts'
import { RETENTION, Seed, settleAll } from './support/seed.ts'
import { ownDatabase } from './support/services.ts'

const ROOT = join(import.meta.dirname, '..')
const HOUR_S = 3_600
const HOURS = 6
const HOUR_MS = HOUR_S * 1_000
const START = Math.floor(Date.now() / HOUR_MS) * HOUR_MS - HOURS * HOUR_MS
const since = START / 1_000

let config: StoreConfig
let store: Store
let seed: Seed

const heard = (n: number, at_s: number) =>
  [0, 1].map(kind => ({
    ...eventOf(n, 2 * at_s + kind, START),
    started_at_ms: START + at_s * 1_000,
    sent_at_ms: START + at_s * 1_000 + 1_000,
  }))

const settleEverything = async (): Promise<void> => {
  await settleAll(store, since)
  await settleSessions(store, await dueCoarser(store, 'session', since))
}

beforeAll(async () => {
  config = ownDatabase('recompute')
  await migrate(config, RETENTION)
  store = openStore(config)
  seed = new Seed(store, 'recompute#1')
  await seed.insert(
    [0, 1, 2].flatMap(n => Array.from({ length: (HOURS * HOUR_S) / 45 }, (_, i) => heard(n, i * 45 + n)).flat()),
  )
  await settleEverything()
})
afterAll(() => store?.close())

const TABLES = [...Object.values(TIERS).map(({ table }) => table), SESSIONS_TABLE]
async function rowsOf(from: string, columns: readonly string[] = Object.keys(CELL_COLUMNS)): Promise<string[]> {
  const rows = await store.query<{ row: string }>(
    `SELECT toString(tuple(t, session_id, ${columns.join(', ')})) AS row FROM ${from} ORDER BY row`,
  )
  return rows.map(({ row }) => row)
}
const everyRow = async () =>
  Object.fromEntries(await Promise.all(TABLES.map(async table => [table, await rowsOf(`${table} FINAL`)])))
const sessions = (from: string) =>
  rowsOf(
    from,
    SESSION_COLUMNS.filter(name => !['t', 'session_id', 'settled_at'].includes(name)),
  )

/** Cells as another definition of a stutter would have left them, in every tier. */
async function redefine(): Promise<void> {
  for (const table of TABLES)
    await store.command(
      `INSERT INTO ${table} SELECT * REPLACE (stutters + 1 AS stutters, frame_time_max_us + 1 AS frame_time_max_us, now64(6) AS settled_at) FROM ${table} FINAL`,
    )
}

/** Every tier against raw itself. */
async function expectRight(): Promise<void> {
  for (const { table, seconds } of Object.values(TIERS)) {
    const bucket = `toStartOfInterval(t, INTERVAL ${seconds} SECOND)`
    const expected = cellsFromCells('raw_cells', bucket, '1').replace('raw_cells FINAL', `(${cellsFromEvents('1')})`)
    expect(await rowsOf(`${table} FINAL`), table).toEqual(await rowsOf(`(${expected})`))
  }
  const whole = cellsFromCells(TIERS['10s'].table, 'toDateTime(0)', '1')
  const lives = `SELECT session_id, min(t) AS first, max(t) AS last FROM ${TIERS['10s'].table} FINAL GROUP BY session_id`
  const expected = `(SELECT first AS t, last AS last_t, * EXCEPT t FROM (${whole}) AS whole INNER JOIN (${lives}) AS life USING (session_id))`
  expect(await sessions(`${SESSIONS_TABLE} FINAL`)).toEqual(await sessions(expected))
}
const shadows = () =>
  store.query("SELECT name FROM system.tables WHERE database = currentDatabase() AND name LIKE '%recomputed'")

function command(...flags: string[]) {
  const child = spawn(process.execPath, ['--import', 'tsx', 'ingest/store/recompute-command.ts', ...flags], {
    cwd: ROOT,
    env: {
      ...process.env,
      CLICKHOUSE_URL: config.url,
      CLICKHOUSE_USER: config.username,
      CLICKHOUSE_PASSWORD: config.password,
      CLICKHOUSE_DATABASE: config.database,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const said = { out: '', err: '' }
  child.stdout.on('data', data => {
    said.out += data
  })
  child.stderr.on('data', data => {
    said.err += data
  })
  const ended = once(child, 'close').then(([code]) => ({ code: code as number, ...said }))
  return { child, ended }
}

describe('the command', () => {
  beforeEach(redefine)

  test('compares and replaces nothing in a dry run', async () => {
    const before = await everyRow()
    const { code, out, err } = await command('--dry-run').ended
    expect({ code, err }).toMatchObject({ code: 0, err: expect.stringMatching(/buckets of ten seconds: (\d+)\/\1/) })
    const cells = before[TIERS['10s'].table]?.length ?? 0
    expect(out).toContain(`cells before and after: ${cells}; only before: 0; only after (not settled yet): 0`)
    const differing = new Map(
      out
        .split('\n')
        .map(line => line.trim().split(/\s{2,}/))
        .map(([name, count]) => [name, count]),
    )
    const changed = ['stutters', 'frame_time_max_us']
    for (const column of Object.keys(CELL_COLUMNS)) {
      if (changed.includes(column)) expect(Number(differing.get(column)), column).toBeGreaterThan(cells / 3)
      else expect(differing.get(column), column).toBe('0')
    }
    expect(await everyRow()).toEqual(before)
    expect(await shadows()).toEqual([])
  })

  test('replaces the cells of every tier, and says what differed before', async () => {
    const { code, out } = await command('--yes').ended
    expect({ code, out }).toMatchObject({ code: 0, out: expect.stringContaining('replaced: ') })
    await expectRight()
    expect(await shadows()).toEqual([])
  })

  test('interrupted, or not told to go on, leaves every cell as it was', async () => {
    const before = await everyRow()
    const { child, ended } = command('--yes')
    await once(child.stderr, 'data')
    child.kill('SIGINT')
    expect(await ended).toMatchObject({ code: 130, err: expect.stringContaining('nothing was replaced') })
    expect(await command().ended).toMatchObject({ code: 130, err: expect.stringContaining('--yes') })
    expect(await everyRow()).toEqual(before)
    expect(await shadows()).toEqual([])
  })

  test('of a range touches no other hour', async () => {
    const [from, to] = [START + HOUR_MS, START + 3 * HOUR_MS].map(ms => new Date(ms).toISOString().replace('.000', ''))
    const count = async () => {
      const rows = await store.query<{ hour: number; stutters: number }>(
        `SELECT intDiv(toUnixTimestamp(t), 3600) - ${since / HOUR_S} AS hour, sum(stutters) AS stutters FROM ${TIERS.hour.table} FINAL GROUP BY hour ORDER BY hour`,
      )
      return rows.map(({ stutters }) => stutters)
    }
    const before = await count()
    expect(await command('--yes', '--from', String(from), '--to', String(to)).ended).toMatchObject({ code: 0 })
    const after = await count()
    expect(after.map((stutters, hour) => stutters < (before[hour] ?? 0))).toEqual(
      before.map((_, hour) => hour === 1 || hour === 2),
    )
  })

  test.each([
    [['--from', 'yesterday'], 'expected a date'],
    [['--from', '2020-01-01'], 'raw events are all there only since'],
    [['--from', '2099-01-01'], 'must lie before'],
  ])('refuses %j', async (flags, why) => {
    expect(await command(...flags).ended).toMatchObject({ code: 1, err: expect.stringContaining(why) })
  })
})

test('what is settled while it runs is in no tier lost, and in none half of the old definition', async () => {
  await redefine()
  const hours = await hoursOf(store, since, since + HOURS * HOUR_S)
  expect(hours.map(({ t }) => t)).toEqual(Array.from({ length: HOURS }, (_, i) => since + (HOURS - 1 - i) * HOUR_S))
  await prepareShadows(store)
  const moments = new Map<number, string>()
  for (const hour of hours) moments.set(hour.t, await recomputeHour(store, hour))
  await seed.insert([...heard(1, 100), ...heard(7, 2 * HOUR_S + 5)])
  await settleEverything()
  for (const [hour, settled_at] of moments) await switchHour(store, hour, settled_at)
  await dropShadows(store)
  await expectRight()
})

test('cells that only one side has are counted apart', async () => {
  const late = HOURS * HOUR_S - 5
  await seed.insert(heard(8, late))
  const [hour] = await hoursOf(store, since, since + HOURS * HOUR_S)
  if (!hour) throw new Error('no hour')
  await prepareShadows(store)
  await recomputeHour(store, hour)
  const compared = await compareHour(store, hour.t, NOTHING_COMPARED)
  await dropShadows(store)
  expect(compared).toMatchObject({ only_new: 1, only_old: 0 })
  const frames = compared.columns.find(({ column }) => column === 'frames')
  const [mine] = await store.query<{ n: number }>(
    `SELECT sum(length(frame_time_us)) AS n FROM events_v1 WHERE session_id = {id:UUID}`,
    { id: sessionId(8) },
  )
  expect((frames?.new_sum ?? 0) - (frames?.old_sum ?? 0)).toBe(mine?.n)
})

const tiers: readonly Tier[] = ['10s', 'minute', 'hour']
test('there is no tier it does not know', () => expect(Object.keys(TIERS)).toEqual(tiers))
