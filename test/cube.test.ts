/**
 * The cube: what it answers is what minute cells answer, to the last digit, whatever sessions call themselves from second to second and
 * however far it is settled; a value that nobody has any more, a session that was erased and a definition that went are not in it.
 * On the real ClickHouse, from rows stored and settled as in production.
 */

import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { z } from 'zod'
import type { QualityEvent } from '../ingest/contract/events.ts'
import { chooseCube } from '../ingest/load/schedule.ts'
import { CELL_COLUMNS } from '../ingest/store/cells.ts'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { CUBE, CUBE_COLUMNS, CUBE_TABLE, EVERYBODY, lastSettled, settleCube } from '../ingest/store/cube.ts'
import { eraseSession } from '../ingest/store/erase.ts'
import { migrate } from '../ingest/store/migrate.ts'
import { dropShadows, hoursOf, prepareShadows, recomputeHour, switchHour } from '../ingest/store/recompute.ts'
import { due10s, dueCoarser, settle, TIERS } from '../ingest/store/settle.ts'
import { subjectOf } from '../query/metrics/answer.ts'
import { METRIC_IDS, METRICS, type MetricId } from '../query/metrics/catalogue.ts'
import { DIMENSIONS, type Dimension, parseFilter } from '../query/metrics/filter.ts'
import { HOLES_MAX } from '../query/metrics/freshness.ts'
import { modelQuestion } from '../query/metrics/model.ts'
import { createAsk, type Question } from '../query/metrics/question.ts'
import {
  breakdownQuestion,
  cubed,
  grouping,
  groupsQuestion,
  keysOf,
  overallQuestion,
  paramsOf,
  type Subject,
  timeseriesQuestion,
  valueSql,
} from '../query/metrics/questions.ts'
import { groupedSql, isSessionFree } from '../query/metrics/sql.ts'
import { eventOf, sessionId } from './support/events.ts'
import { RETENTION, Seed, settleAll } from './support/seed.ts'
import { sharedServices, unique } from './support/services.ts'

const MINUTE_MS = 60_000
const HOUR_MS = 60 * MINUTE_MS
const NOW = Date.now()
const START = Math.floor(NOW / HOUR_MS) * HOUR_MS - 6 * HOUR_MS

let store: Store
let seed: Seed
beforeAll(async () => {
  const config = { ...sharedServices().clickhouse, database: unique('cube') }
  await migrate(config, RETENTION)
  store = openStore(config)
  seed = new Seed(store, 'cube#1')
})
afterAll(() => store?.close())

const settleMinutes = (since: number) =>
  dueCoarser(store, 'minute', since).then(minutes => settle(store, 'minute', minutes))
const settleTens = (since: number) => due10s(store, since).then(buckets => settle(store, '10s', buckets))

/** One event of session `n`, so many seconds after `from`, by whatever name it gives itself then. */
const said = (
  n: number,
  from: number,
  second: number,
  kind: number,
  context: QualityEvent['context'],
): QualityEvent => ({
  ...eventOf(n, 2 * second + kind, from),
  started_at_ms: from + second * 1_000,
  sent_at_ms: from + second * 1_000 + 1_000,
  context,
})

const MINUTES = 6
const oneOf = (...names: string[]) => fc.option(fc.constantFrom(...names), { nil: undefined })
const named = fc.record({ region: oneOf('eu', 'us'), isp: oneOf('a', 'b', "c'\\"), access: oneOf('wifi', 'cellular') })
const known = (context: object) =>
  Object.fromEntries(Object.entries(context).filter(([, value]) => value !== undefined))
const word = fc.tuple(fc.nat(4), fc.nat(MINUTES * 60 - 1), fc.nat(1), named)
const words = (minLength: number, maxLength: number) => fc.array(word, { minLength, maxLength })
const eventsOf = (from: number, drawn: readonly [number, number, number, object][]) =>
  drawn.map(([n, second, kind, context]) => said(n, from, second, kind, known(context)))

const SESSION_FREE = METRIC_IDS.filter(id => isSessionFree([METRICS[id].value, METRICS[id].count]))
const desk = () => ({ ask: createAsk(store, () => {}), retention: RETENTION, now: () => NOW })
const rangeOf = (from: number, minutes = MINUTES) => ({
  ...{ from: { at_ms: from }, to: { at_ms: from + minutes * MINUTE_MS } },
  tier: 'minute' as const,
})

async function subject(from: number, filters: readonly string[] = [], minutes = MINUTES): Promise<Subject> {
  const asked = await subjectOf(desk(), { ...rangeOf(from, minutes), filters: filters.map(parseFilter) })
  await asked.freshness
  return asked.subject
}
/** The same, asked of cells. */
const ofCells = (asked: Subject): Subject => ({
  ...asked,
  cut: { ...asked.cut, cube_to: asked.window.from, holes: [] },
})
const everything = (asked: Subject, by: readonly Dimension[], step_s?: number): Question<unknown> => {
  const values = {
    metrics: `[${SESSION_FREE.map(id => `toFloat64(${valueSql(METRICS[id], true)})`).join(', ')}]`,
    counts: `[${SESSION_FREE.map(id => `toFloat64(${METRICS[id].count})`).join(', ')}]`,
    cells: 'cells',
  }
  const of = cubed(asked, by, Object.values(values))
  const t = step_s === undefined ? {} : { t: `intDiv(toUnixTimestamp(t), ${step_s})` }
  const keys = { ...t, ...keysOf(by) }
  const order = ['cells', ...Object.keys(keys)].join(', ')
  return {
    ...{ id: 'cube_test', params: paramsOf(of), row: z.unknown() },
    sql: `SELECT * FROM (${groupedSql({ ...grouping(of), keys, values })}) ORDER BY ${order}`,
  }
}
const rows = (question: Question<unknown>) => store.query<object>(question.sql, question.params)

/** Every question that the cube may answer, of it and of cells. */
async function expectTheSame(asked: Subject, by: Dimension): Promise<void> {
  const cells = ofCells(asked)
  const questions: ((of: Subject) => Question<unknown>)[] = [
    of => everything(of, []),
    of => everything(of, [by]),
    of => everything(of, [by], 120),
    ...(['frame_time_p99_us', 'mos_avg'] satisfies MetricId[]).flatMap(id => [
      (of: Subject) => overallQuestion(METRICS[id], of),
      (of: Subject) => timeseriesQuestion(METRICS[id], of, 60, [], 10),
      (of: Subject) => timeseriesQuestion(METRICS[id], of, 60, [by], 2),
      (of: Subject) => modelQuestion(METRICS[id], of),
    ]),
    ...(['frame_time_p50_us', 'frame_time_p99_us'] satisfies MetricId[]).map(
      id => (of: Subject) => breakdownQuestion(METRICS[id], of, [by], 'value', 10),
    ),
  ]
  for (const question of questions) {
    const [ofCube, ofThem] = [question(asked), question(cells)]
    expect([ofCube.sql.includes(CUBE_TABLE), ofThem.sql.includes(CUBE_TABLE)]).toEqual([true, false])
    // How many groups there are is another question to cells.
    const counts = 'counts_groups' in ofCube && ofCube.counts_groups === true
    const [total] = counts ? await rows(groupsQuestion(cells, [by])) : [{}]
    const wanted = (await rows(ofThem)).map(row => ({ ...row, ...total }))
    expect(await rows(ofCube), ofCube.sql).toEqual(wanted)
  }
}

describe('what the cube answers', () => {
  test('is what cells answer, to the last digit, however far it is settled', async () => {
    let from = START
    await fc.assert(
      fc.asyncProperty(words(30, 60), words(0, 6), fc.nat(2), async (drawn, late, how) => {
        from += MINUTES * MINUTE_MS
        const since = from / 1_000
        await seed.insert(eventsOf(from, drawn))
        await settleAll(store, since)
        for (const filters of [[], ['region:eu', 'region:'], ['!region:us']])
          await expectTheSame(await subject(from, filters), 'region')
        await expectTheSame(await subject(from), 'isp')
        // What comes late is in ten seconds, in minutes or in the cube, and in the last minutes at most in the first of them.
        await seed.insert(
          eventsOf(
            from,
            late.map(([n, second, ...rest]) => [n + 5, second % 120, ...rest]),
          ),
        )
        await settleTens(since)
        if (how > 0) await settleMinutes(since)
        if (how > 1) await settleAll(store, since)
        const asked = await subject(from)
        if (late.length > 0) expect(asked.cut.holes.length > 0 || asked.cut.cube_to < asked.window.to).toBe(how < 2)
        if (how > 0) await expectTheSame(asked, 'region')
      }),
      { numRuns: 3, seed: 20_261_126, endOnFailure: true },
    )
  }, 600_000)

  test('is only asked of it where it knows: one dimension at most, nothing of single sessions, most of the range', async () => {
    const from = START + MINUTES * MINUTE_MS
    const asked = await subject(from)
    const isCubed = (of: Subject, by: readonly Dimension[], id: MetricId = 'fps_avg') =>
      cubed(of, by, [METRICS[id].value, METRICS[id].count]).cube
    expect([isCubed(asked, []), isCubed(asked, ['isp']), isCubed(asked, ['isp', 'region'])]).toEqual([
      ...[EVERYBODY, 'isp', undefined],
    ])
    const filtered = await subject(from, ['isp:a'])
    expect([isCubed(filtered, []), isCubed(filtered, ['isp']), isCubed(filtered, ['region'])]).toEqual([
      ...['isp', 'isp', undefined],
    ])
    expect(isCubed(await subject(from, [`session_id:${sessionId(1)}`]), [])).toBeUndefined()
    for (const id of ['sessions', 'good_session_pct', 'completeness_pct', 'start_failure_pct'] satisfies MetricId[])
      expect(isCubed(asked, [], id), id).toBeUndefined()
    const ofSums = breakdownQuestion(METRICS.fps_avg, asked, ['isp'], 'value', 10)
    expect(ofSums.sql, 'whose sessions are counted in cells anyway').not.toContain(CUBE_TABLE)
    const barely = { ...asked, cut: { ...asked.cut, cube_to: asked.window.from + 2 * 60 } }
    expect(isCubed(barely, [])).toBeUndefined()
  })

  test('with more holes than are bound ends at the first of those, and cells stand in from there on', async () => {
    const hour = START + 60 * MINUTE_MS
    const minutes = 3 * HOLES_MAX
    const each = Array.from({ length: minutes }, (_, minute) => said(1, hour, minute * 60, 0, { isp: 'a' }))
    await seed.insert(each)
    await settleAll(store, hour / 1_000)
    const behind = Array.from({ length: HOLES_MAX + 5 }, (_, i) =>
      said(2, hour, (minutes - 1 - i) * 60, 1, { isp: 'b' }),
    )
    await seed.insert(behind)
    await settleTens(hour / 1_000)
    await settleMinutes(hour / 1_000)
    const asked = await subject(hour, [], minutes)
    expect(asked.cut.holes).toHaveLength(HOLES_MAX)
    expect(asked.cut.cube_to).toBe(hour / 1_000 + (minutes - 5) * 60)
    await expectTheSame(asked, 'isp')
    await settleAll(store, hour / 1_000)
  }, 120_000)
})

const LATER = START + 5 * HOUR_MS
const cubeRows = async (from: number) => {
  const where = `t >= toDateTime(${from / 1_000}, 'UTC') AND t < toDateTime(${(from + HOUR_MS) / 1_000}, 'UTC')`
  const found = await store.query<{ row: string }>(
    `SELECT toString(tuple(t, dimension, value, cells, ${CUBE_COLUMNS.join(', ')})) AS row
     FROM ${lastSettled(['t', 'dimension', 'value', 'cells', ...CUBE_COLUMNS], where)} ORDER BY row`,
  )
  return found.map(({ row }) => row)
}
/** What the hour's rows should be, in words of its own: for every dimension the minute cells of one value. */
async function expected(from: number): Promise<string[]> {
  const merged = CUBE_COLUMNS.map(name => `${CELL_COLUMNS[name]?.fromCells(name)} AS sum_${name}`)
  const of = (dimension: string): string =>
    `SELECT t AS minute, '${dimension}' AS by, ${dimension === '' ? "''" : `toString(${dimension})`} AS v, count() AS n, ${merged.join(', ')}
     FROM ${TIERS.minute.table} FINAL WHERE t >= toDateTime(${from / 1_000}, 'UTC') AND t < toDateTime(${(from + HOUR_MS) / 1_000}, 'UTC') GROUP BY minute, v`
  const found: string[] = []
  for (const dimension of ['', ...DIMENSIONS])
    for (const { row } of await store.query<{ row: string }>(
      `SELECT toString(tuple(minute, by, v, n, ${CUBE_COLUMNS.map(name => `sum_${name}`).join(', ')})) AS row FROM (${of(dimension)})`,
    ))
      found.push(row)
  return found.sort()
}
const sorted = async (found: Promise<string[]>) => (await found).sort()

describe('what is in the cube', () => {
  test('is each minute once for everybody and once for each value of each dimension, and nothing of what was settled before', async () => {
    await seed.insert([
      said(1, LATER, 5, 0, {}),
      said(1, LATER, 6, 1, { isp: 'a' }),
      said(2, LATER, 65, 0, { isp: 'a' }),
    ])
    await settleAll(store, LATER / 1_000)
    expect(await sorted(cubeRows(LATER))).toEqual(await expected(LATER))
    // Nobody is of isp a in the first minute any more, nor unknown by region.
    await seed.insert([said(1, LATER, 7, 0, { isp: 'b', region: 'eu' })])
    await settleAll(store, LATER / 1_000)
    const now = await sorted(cubeRows(LATER))
    expect(now).toEqual(await expected(LATER))
    expect(
      now.some(row => row.includes("'isp','a'") && row.includes(`${new Date(LATER).toISOString().slice(11, 16)}:00`)),
    ).toBe(false)
  })

  test('of two who settle at once, or one who dies before it is noted, is right, and due until it is noted', async () => {
    await seed.insert([said(3, LATER, 8, 0, { isp: 'z' }), said(3, LATER, 130, 1, {})])
    await settleTens(LATER / 1_000)
    await settleMinutes(LATER / 1_000)
    const due = await dueCoarser(store, CUBE, LATER / 1_000)
    expect(due).toHaveLength(2)
    const dying: Store = {
      ...store,
      command: (sql, ...rest) =>
        sql.includes('INTO settled_v1') ? Promise.reject(new Error('killed')) : store.command(sql, ...rest),
    }
    await expect(settleCube(dying, due)).rejects.toThrow('killed')
    expect(await dueCoarser(store, CUBE, LATER / 1_000)).toEqual(due)
    await Promise.all([...due.map(minute => settleCube(store, [minute])), settleCube(store, due)])
    expect(await dueCoarser(store, CUBE, LATER / 1_000)).toEqual([])
    expect(await sorted(cubeRows(LATER))).toEqual(await expected(LATER))
  })

  test('is nothing of an erased session: its minutes are gone at once, and settled again without it', async () => {
    await seed.insert([said(9, LATER, 200, 0, { isp: 'only', region: 'eu' }), said(8, LATER, 310, 0, { isp: 'a' })])
    await settleAll(store, LATER / 1_000)
    expect((await cubeRows(LATER)).some(row => row.includes('only'))).toBe(true)
    await eraseSession(store, sessionId(9))
    const [left] = await store.query<{ n: number }>(
      `SELECT count() AS n FROM ${CUBE_TABLE} WHERE value = 'only' OR t = toDateTime(${LATER / 1_000 + 180}, 'UTC')`,
    )
    expect(left?.n).toBe(0)
    const asked = await subject(LATER)
    expect(await rows(everything(asked, ['isp']))).toEqual(await rows(everything(ofCells(asked), ['isp'])))
    await settleAll(store, LATER / 1_000)
    expect(await sorted(cubeRows(LATER))).toEqual(await expected(LATER))
    await eraseSession(store, sessionId(1))
    const again = await subject(LATER)
    expect(again.cut.holes.length).toBeGreaterThan(0)
    expect(await rows(everything(again, []))).toEqual(await rows(everything(ofCells(again), [])))
    await settleAll(store, LATER / 1_000)
    expect(await dueCoarser(store, CUBE, LATER / 1_000)).toEqual([])
    expect(await sorted(cubeRows(LATER))).toEqual(await expected(LATER))
  })

  test('is of the new definition once its hour was recomputed', async () => {
    await store.command(
      `INSERT INTO ${TIERS.minute.table} SELECT * REPLACE (stutters + 1 AS stutters, now64(6) AS settled_at) FROM ${TIERS.minute.table} FINAL WHERE t >= toDateTime(${LATER / 1_000}, 'UTC')`,
    )
    await settleCube(store, [{ t: LATER / 1_000 + 60, rows: 0, settled_at_ms: 0 }])
    await settleAll(store, LATER / 1_000)
    await prepareShadows(store)
    for (const hour of await hoursOf(store, LATER / 1_000, (LATER + HOUR_MS) / 1_000))
      await switchHour(store, hour.t, await recomputeHour(store, hour))
    await dropShadows(store)
    expect(await sorted(cubeRows(LATER))).toEqual(await expected(LATER))
  })

  test('has every column of a cell but those of single sessions', async () => {
    const described = await store.query<{ name: string; type: string }>(`DESCRIBE TABLE ${CUBE_TABLE}`)
    const types = new Map(described.map(({ name, type }) => [name, type]))
    for (const name of CUBE_COLUMNS) expect(types.get(name), name).toBe(CELL_COLUMNS[name]?.type)
    expect([...types.keys()].filter(name => !CUBE_COLUMNS.includes(name)).sort()).toEqual(
      ['t', 'dimension', 'value', 'cells', 'settled_at'].sort(),
    )
  })
})

test('the newest minutes are settled into it first, a little at a time, and one that changes at most every minute', () => {
  const due = Array.from({ length: 20 }, (_, i) => ({ t: 60 * i, rows: 100_000, settled_at_ms: 0 }))
  expect(chooseCube(due, NOW).map(({ t }) => t)).toEqual([19, 18, 17, 16, 15].map(i => 60 * i))
  const changed = [{ t: 0, rows: 10, settled_at_ms: NOW - 59_000 }]
  expect([chooseCube(changed, NOW), chooseCube(changed, NOW + 1_000)]).toEqual([[], changed])
  expect(chooseCube([{ t: 0, rows: 9_000_000, settled_at_ms: 0 }], NOW)).toHaveLength(1)
  expect(chooseCube([], NOW)).toEqual([])
})
