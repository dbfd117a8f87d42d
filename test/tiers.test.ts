/**
 * The tiers: a number is the same from whichever one answers, while a session runs and after it aged into the next; whole sessions are
 * what their cells say, however their hours are settled. On the real ClickHouse, from rows stored and settled as in production.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { QualityEvent } from '../ingest/contract/events.ts'
import { createKafkaSender } from '../ingest/emit/kafka.ts'
import { chooseEnded, chooseSessions } from '../ingest/load/schedule.ts'
import { readConfig } from '../ingest/runtime/config.ts'
import { Batch, insertBatch } from '../ingest/store/batch.ts'
import { cellsFromCells, cellsFromEvents } from '../ingest/store/cell-sql.ts'
import { CELL_COLUMNS } from '../ingest/store/cells.ts'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { migrate } from '../ingest/store/migrate.ts'
import { claim } from '../ingest/store/owner.ts'
import { SESSION_COLUMNS, SESSIONS_TABLE, settleSessions } from '../ingest/store/sessions.ts'
import { COARSER_TIERS, due10s, dueCoarser, settle, TIERS } from '../ingest/store/settle.ts'
import { cutOf, settledOf, subjectOf } from '../query/metrics/answer.ts'
import { ANSWER_TIERS, type AnswerTier, type MetricId } from '../query/metrics/catalogue.ts'
import { conditionOf, parseFilter } from '../query/metrics/filter.ts'
import { createAsk } from '../query/metrics/question.ts'
import { asOne, BEHIND_SQL, everyMetricSql, paramsOf } from '../query/metrics/questions.ts'
import { chooseWindow } from '../query/metrics/range.ts'
import { groupedSql } from '../query/metrics/sql.ts'
import { type App, apiOver } from './support/app.ts'
import { eventOf, sessionId } from './support/events.ts'
import { DEADLINE_MS, Pipeline } from './support/pipeline.ts'
import { keyFor, RETENTION, Seed, settleAll } from './support/seed.ts'
import { sharedServices, startIngester, stopServices, unique } from './support/services.ts'
import { until, untilStored, vitalOf } from './support/verify.ts'

const HOUR_S = 3_600
const HOUR_MS = HOUR_S * 1_000
const NOW = Date.now()
/** Three hours that have ended, and then the one before the present. */
const START = Math.floor(NOW / HOUR_MS) * HOUR_MS - 5 * HOUR_MS
const { key, hash } = keyFor('tier tests')

let store: Store
let seed: Seed
let app: App

beforeAll(async () => {
  const config = { ...sharedServices().clickhouse, database: unique('tiers') }
  await migrate(config, RETENTION)
  store = openStore(config)
  seed = new Seed(store, 'tiers#1')
  app = apiOver(store, [hash], { now: () => NOW })
})
afterAll(() => store?.close())

/** One event of each kind, of session `n`, at so many seconds after START. */
const heard = (n: number, at_s: number): QualityEvent[] => [0, 1].map(kind => spoken(n, at_s, kind))
/** Its place in time is part of its number, so that nothing is a resend. */
function spoken(n: number, at_s: number, kind: number): QualityEvent {
  const seq = 2 * Math.floor(at_s) + kind
  return { ...eventOf(n, seq, START), started_at_ms: START + at_s * 1_000, sent_at_ms: START + at_s * 1_000 + 1_000 }
}
const spread = (n: number, from_s: number, to_s: number, every_s: number): QualityEvent[] =>
  Array.from({ length: Math.ceil((to_s - from_s) / every_s) }, (_, i) => heard(n, from_s + i * every_s)).flat()

async function ask(path: string, query: Readonly<Record<string, string | number>> = {}) {
  const search = new URLSearchParams(
    Object.entries(query).map(([name, value]) => [name, String(value)] as [string, string]),
  )
  const response = await app.request(`${path}?${search}`, { headers: { authorization: `Bearer ${key}` } })
  expect(response.status, await response.clone().text()).toBe(200)
  return (await response.json()) as { data: Record<string, unknown>[]; meta: Record<string, unknown> }
}

const RANGE = { from: START, to: START + 4 * HOUR_MS }
const desk = () => ({ ask: createAsk(store, () => {}), retention: RETENTION, now: () => NOW })
/** Every metric over the range, by the API's own question, with what is behind them but for which cells those were. */
async function everything(tier: AnswerTier, filter = 'region:eu-west') {
  const asked = { from: { at_ms: RANGE.from }, to: { at_ms: RANGE.to }, tier }
  const window = chooseWindow(asked, NOW, RETENTION)
  const condition = conditionOf([parseFilter(filter)])
  const cut = cutOf(window, await settledOf(desk(), window))
  const { cells, ...behind } = BEHIND_SQL
  const values = { metrics: everyMetricSql(false), ...behind }
  return store.query(groupedSql({ tier, where: condition, keys: {}, values }), paramsOf({ window, cut, condition }))
}

const since = START / 1_000 - HOUR_S
const settle10s = async () => settle(store, '10s', await due10s(store, since))
const settleUpTo = (until_s: number) => settleAll(store, since, START / 1_000 + until_s)
const sessionsDue = () => dueCoarser(store, 'session', since)

/** Rows as text, in order, where a NULL is a value and a moment of settling is not. */
async function rowsOf(from: string, columns: readonly string[] = Object.keys(CELL_COLUMNS)): Promise<string[]> {
  const rows = await store.query<{ row: string }>(
    `SELECT toString(tuple(session_id, t, ${columns.join(', ')})) AS row FROM ${from} ORDER BY row`,
  )
  return rows.map(({ row }) => row)
}
const SESSION_CELLS = SESSION_COLUMNS.filter(
  column => column !== 'settled_at' && column !== 't' && column !== 'session_id',
)
const sessionRows = () => rowsOf(`${SESSIONS_TABLE} FINAL`, SESSION_CELLS)
/** What they should say: everything that raw knows of a session, as one cell. */
const sessionsFromRaw = () =>
  rowsOf(
    `(SELECT first AS t, last AS last_t, * EXCEPT t FROM (${cellsFromCells('tens', 'toDateTime(0)', '1').replace('tens FINAL', 'tens')}) AS whole
      INNER JOIN (SELECT session_id, min(t) AS first, max(t) AS last FROM tens GROUP BY session_id) AS life USING (session_id))`.replaceAll(
      /\btens\b/g,
      `(${cellsFromEvents('1')})`,
    ),
    SESSION_CELLS,
  )

describe('live is history', () => {
  test('the same question has the same answer while a session runs and after it aged, tier by tier', async () => {
    const fleet = [0, 1, 2, 3].flatMap(n => spread(n, 600 * n, 3 * HOUR_S + 1_200, 20))
    await seed.insert(fleet)
    await settle10s()
    const live = await everything('events')
    expect(live).toHaveLength(1)
    for (const age_s of [0, 90 * 60, 2 * HOUR_S + 60, 4 * HOUR_S]) {
      await settleUpTo(age_s)
      for (const tier of ANSWER_TIERS) expect(await everything(tier), `${tier} after ${age_s} s`).toEqual(live)
    }
    const behind = await Promise.all(
      (['hour', 'minute', '10s'] as const).map(tier => ask('/v1/metrics/fps_avg', { ...RANGE, tier })),
    )
    const [hours = 0, minutes = 0, tens = 0] = behind.map(({ meta }) => Number(meta.cells))
    // Three sessions in four hours, one in three: that it came from hours is seen by how few there were.
    expect([hours, minutes / hours > 20, tens / minutes > 2]).toEqual([16, true, true])
    expect(behind.map(({ meta }) => meta.complete)).toEqual([true, true, true])
  })

  test('a range in minutes is read from hours where whole ones are settled, and is the same number', async () => {
    const range = { from: RANGE.from + 600_000, to: RANGE.to - 600_000 }
    const asked = { from: { at_ms: range.from }, to: { at_ms: range.to }, tier: 'minute' as const }
    const { subject } = await subjectOf(desk(), { ...asked, filters: [] })
    expect(asOne(subject).window.tier).toBe('hour')
    for (const metric of ['fps_avg', 'frame_time_p99_us', 'mos_avg', 'good_session_pct', 'completeness_pct']) {
      const [minutes, tens] = await Promise.all(
        (['minute', '10s'] as const).map(tier => ask(`/v1/metrics/${metric}`, { ...range, tier })),
      )
      const { data, meta } = minutes ?? { data: [], meta: {} }
      expect(data, metric).toEqual(tens?.data)
      const { sessions, frames, completeness_pct } = tens?.meta ?? {}
      expect(meta, metric).toMatchObject({ tier: 'minute', sessions, frames, completeness_pct, complete: true })
      expect(Number(tens?.meta.cells) / Number(meta.cells), 'the cells are those of the minute').toBeGreaterThan(2)
    }
  })

  test('late events are in the answer of every tier at once, and again when they have aged', async () => {
    await seed.insert(heard(2, 65 * 60 + 7))
    for (const hidden of [settle10s, () => settleUpTo(90 * 60), () => settleUpTo(4 * HOUR_S)]) {
      await hidden()
      const fine = await everything('events')
      for (const tier of ANSWER_TIERS) expect(await everything(tier), tier).toEqual(fine)
    }
  })

  test('a series by hours is hour by hour what the hour is alone', async () => {
    const { data, meta } = await ask('/v1/metrics/frame_time_p95_us/timeseries', { ...RANGE, step: '1h', tier: 'hour' })
    expect(meta.tier).toBe('hour')
    for (const { t, value, n } of data) {
      const from = Date.parse(String(t))
      const alone = await ask('/v1/metrics/frame_time_p95_us', { from, to: from + HOUR_MS, tier: '10s' })
      expect(alone.data).toEqual([{ value, n }])
    }
  })

  test('a long session is told from hours, and as if from its events', async () => {
    await seed.insert(spread(9, 0, 4.75 * HOUR_S, 30))
    await settleUpTo(4.6 * HOUR_S)
    await expectToldAs('hour')
  })
})

/** The page of session 9, which began at START and is done within five hours, against its events. */
async function expectToldAs(tier: string): Promise<void> {
  const { data, meta } = await ask(`/v1/sessions/${sessionId(9)}`)
  expect(meta).toMatchObject({ tier, sessions: 1 })
  expect(data[0]).toMatchObject({ started_at: new Date(START).toISOString() })
  const { metrics } = data[0] as { metrics: Record<string, number | null> }
  const range = { from: START, to: START + 5 * HOUR_MS, filter: `session_id:${sessionId(9)}` }
  for (const id of ['fps_avg', 'frame_time_p99_us', 'stutter_time_pct', 'completeness_pct'] satisfies MetricId[]) {
    const { data: alone } = await ask(`/v1/metrics/${id}`, { ...range, tier: 'events' })
    expect(alone[0]?.value ?? null, id).toBe(metrics[id])
  }
}

describe('each coarser tier', () => {
  test.each(COARSER_TIERS)('%s is what its events say, bucket by bucket', async tier => {
    const { table, seconds } = TIERS[tier]
    await settleAll(store, since)
    const bucket = `toStartOfInterval(t, INTERVAL ${seconds} SECOND)`
    const expected = cellsFromCells('raw_cells', bucket, '1').replace('raw_cells FINAL', `(${cellsFromEvents('1')})`)
    expect(await rowsOf(`${table} FINAL`)).toEqual(await rowsOf(`(${expected})`))
  })
})

describe('a whole session', () => {
  test('is one row, all its cells merged, from its first to its last', async () => {
    await settleAll(store, since)
    await settleSessions(store, await sessionsDue())
    expect(await sessionsDue()).toEqual([])
    const rows = await sessionRows()
    expect(rows).toHaveLength(5)
    expect(rows).toEqual(await sessionsFromRaw())
    await expectToldAs('session')
  })

  test('of which its row does not know all yet is told from its cells', async () => {
    await seed.insert(heard(9, 2 * HOUR_S + 3))
    await settleAll(store, since)
    await expectToldAs('hour')
    await settleSessions(store, await sessionsDue())
    await expectToldAs('session')
  })

  test('is the same whichever of its hours is settled first, and however far its hours are settled', async () => {
    await seed.insert([...spread(30, 100, 3 * HOUR_S, 60), ...spread(31, HOUR_S + 10, 2 * HOUR_S, 30)])
    await settleUpTo(2 * HOUR_S)
    for (const hour of (await sessionsDue()).reverse()) await settleSessions(store, [hour])
    await settleUpTo(4 * HOUR_S)
    await settleSessions(store, await sessionsDue())
    expect(await sessionRows()).toEqual(await sessionsFromRaw())
  })

  test('of which something earlier arrives late moves to its new beginning, and stays one', async () => {
    await seed.insert(heard(31, 30))
    await settleAll(store, since)
    await settleSessions(store, await sessionsDue())
    const rows = await sessionRows()
    expect(rows).toHaveLength(7)
    expect(rows).toEqual(await sessionsFromRaw())
  })

  test('that two settle at once, or one who dies before it is noted, is one row and right', async () => {
    await seed.insert([...heard(31, 3 * HOUR_S + 5), ...heard(32, 40)])
    await settleAll(store, since)
    const due = await sessionsDue()
    expect(due).toHaveLength(2)
    const dying: Store = {
      ...store,
      command: (sql, ...rest) =>
        sql.includes('INTO settled_v1') ? Promise.reject(new Error('killed')) : store.command(sql, ...rest),
    }
    await expect(settleSessions(dying, due)).rejects.toThrow('killed')
    expect(await sessionsDue()).toEqual(due)
    await Promise.all([...due.map(hour => settleSessions(store, [hour])), settleSessions(store, due)])
    expect(await sessionsDue()).toEqual([])
    expect(await sessionRows()).toEqual(await sessionsFromRaw())
  })
})

describe('when to settle', () => {
  const T = Math.floor(NOW / HOUR_MS) * HOUR_S
  const due = [{ t: T, rows: 10, settled_at_ms: 0 }]
  const secondsIn = (seconds: number) => (T + seconds) * 1_000

  test('an hour: when it has ended and its minutes are settled', () => {
    expect(chooseEnded('hour', due, new Set(), secondsIn(HOUR_S))).toEqual([])
    expect(chooseEnded('hour', due, new Set([T + 59 * 60]), secondsIn(HOUR_S + 10))).toEqual([])
    expect(chooseEnded('hour', due, new Set([T + HOUR_S]), secondsIn(HOUR_S + 10))).toEqual(due)
  })

  test('an hour that late events change: every five minutes, even while they go on', () => {
    const late = [{ t: T, rows: 10, settled_at_ms: secondsIn(2 * HOUR_S) }]
    expect(chooseEnded('hour', late, new Set(), secondsIn(2 * HOUR_S + 299))).toEqual([])
    expect(chooseEnded('hour', late, new Set(), secondsIn(2 * HOUR_S + 300))).toEqual(late)
    expect(chooseEnded('hour', late, new Set([T]), secondsIn(2 * HOUR_S + 300))).toEqual(late)
  })

  test('the sessions of an hour: every five minutes while it changes, whether or not it has ended', () => {
    expect(chooseSessions(due, secondsIn(60))).toEqual(due)
    const again = [{ t: T, rows: 11, settled_at_ms: secondsIn(60) }]
    expect(chooseSessions(again, secondsIn(359))).toEqual([])
    expect(chooseSessions(again, secondsIn(360))).toEqual(again)
  })
})

test.each(['CELL', 'MINUTE', 'HOUR', 'SESSION'])(
  '%s_RETENTION_DAYS below what may still arrive is refused by name',
  tier => {
    expect(() => readConfig({ [`${tier}_RETENTION_DAYS`]: '7' })).toThrow(`${tier}_RETENTION_DAYS: 7 days`)
  },
)

describe('the tier that answers', () => {
  const over = (hours: number, rest = {}) =>
    chooseWindow({ from: { at_ms: NOW - hours * HOUR_MS }, to: { at_ms: NOW }, ...rest }, NOW, RETENTION)

  test('is the finest that is fast enough, and no coarser than its steps', () => {
    expect([0.5, 1, 3, 12, 13, 24 * 365].map(hours => over(hours).tier)).toEqual([
      ...['10s', 'minute', 'minute', 'minute', 'hour', 'hour'],
    ])
    expect(over(13, { step: 60 }).tier).toBe('minute')
    expect(over(13, { step: HOUR_S }).tier).toBe('hour')
    expect(over(24 * 7, { step: 'auto' })).toMatchObject({ tier: 'hour', step_s: HOUR_S })
    expect(over(24, { step: 'auto' })).toMatchObject({ tier: 'minute', step_s: 300 })
  })

  test('is one that still has the beginning of the range', () => {
    const old = { from: { at_ms: NOW - 500 * 24 * HOUR_MS }, to: { at_ms: NOW - 500 * 24 * HOUR_MS + HOUR_MS } }
    expect(chooseWindow(old, NOW, RETENTION).tier).toBe('hour')
    expect(() => chooseWindow({ ...old, tier: 'minute' }, NOW, RETENTION)).toThrow('reaches back 400 days')
    expect(() => chooseWindow({ ...old, step: 60 }, NOW, RETENTION)).toThrow('3600 s')
  })
})

test('the ingester settles every tier, and whole sessions, by itself', async () => {
  const pipeline = await Pipeline.start('tiers', { SETTLE_EVERY_MS: '200' })
  try {
    const { store: live, sender } = pipeline
    const played = [1, 2].flatMap(n => [...heard(n, 60), ...heard(n, 3_000), ...heard(n, HOUR_S + 90)])
    const now = Date.now()
    await sender.sendRaw(
      played.map(event => ({ key: event.session_id, value: JSON.stringify({ ...event, sent_at_ms: now }) })),
    )
    await pipeline.stored()
    const hours = () =>
      live.query(
        `SELECT session_id, toUInt32(sum(events)) AS events FROM quality_per_hour_v1 FINAL GROUP BY session_id`,
      )
    const whole = () => live.query(`SELECT session_id, toUInt32(events) AS events FROM sessions_v1 FINAL`)
    for (const [what, rows] of Object.entries({ hours, whole }))
      await until(`${what} settled`, DEADLINE_MS, async () => {
        const found = (await rows()) as { events: number }[]
        return found.length === 2 && found.every(({ events }) => events === 6)
      })
  } finally {
    await pipeline.close()
    await stopServices()
  }
}, 240_000)

test('the ingester settles what another writer stored minutes ago, which it has no word of', async () => {
  const pipeline = await Pipeline.start('elsewhere', { SETTLE_EVERY_MS: '200' })
  try {
    const { store: live, sender } = pipeline
    // The look back over all that is kept, at its start, must not be what finds it.
    const own = eventOf(1, 0, Date.now() - 60_000)
    await sender.sendRaw([{ key: own.session_id, value: JSON.stringify(own) }])
    await pipeline.stored()
    await pipeline.settled()
    const log_id = unique('elsewhere')
    const at_ms = Date.now() - 5 * 60_000
    const event = eventOf(2, 0, at_ms)
    const batch = new Batch((_field, value) => value)
    const position = { log_id, kafka_partition: 0, kafka_offset: 0, appended_at_ms: at_ms }
    batch.append(position, { event, at_ms: event.started_at_ms, clock_shift_ms: 0, extensions: 0 }, 0)
    await insertBatch(live, await claim(live, log_id, [0], () => true), batch)
    const cells = `SELECT count() AS n FROM quality_per_10s_v1 WHERE session_id = {session_id:UUID}`
    await until('it is settled', DEADLINE_MS, async () => {
      const [cell] = await live.query<{ n: number }>(cells, { session_id: event.session_id })
      return cell?.n === 1
    })
  } finally {
    await pipeline.close()
    await stopServices()
  }
}, 240_000)

test('two ingesters share the settling of what both have loaded', async () => {
  const { brokers, clickhouse } = sharedServices()
  const name = unique('shared')
  const environment = { SETTLE_EVERY_MS: '200', KAFKA_SESSION_TIMEOUT_MS: '60000' }
  const options = { brokers, clickhouse, topic: name, database: name, environment }
  const pair = await Promise.all([startIngester(options), startIngester(options)])
  const vitals = (vital: string) => Promise.all(pair.map(({ vitals_url }) => vitalOf(vitals_url, vital)))
  const live = openStore({ ...clickhouse, database: name })
  const sender = createKafkaSender({ brokers: [brokers], topic: name })
  try {
    await until('each holds half of the partitions', DEADLINE_MS, async () => {
      return (await vitals('ingest_partitions')).every(partitions => partitions === 2)
    })
    await sender.connect()
    const minutes = 40
    const events = spread(1, 0, minutes * 60, 60).concat(spread(2, 0, minutes * 60, 60), spread(3, 0, minutes * 60, 60))
    const sent_at_ms = Date.now()
    await sender.sendRaw(
      events.map(event => ({ key: event.session_id, value: JSON.stringify({ ...event, sent_at_ms }) })),
    )
    await untilStored(live, [brokers], name, DEADLINE_MS)
    await until('every minute is settled', DEADLINE_MS, async () => {
      const [settled] = await live.query<{ n: number }>(`SELECT count(DISTINCT t) AS n FROM quality_per_minute_v1`)
      return settled?.n === minutes && (await dueCoarser(live, 'minute', 0)).length === 0
    })
    const [one = 0, other = 0] = await vitals('ingest_settled_buckets_total{tier="minute"}')
    expect(Math.min(one, other)).toBeGreaterThan(0)
    // Twice as many if each had settled all of them.
    expect(one + other).toBeLessThan(1.5 * minutes)
  } finally {
    await sender.disconnect()
    await live.close()
    await stopServices()
  }
}, 240_000)
