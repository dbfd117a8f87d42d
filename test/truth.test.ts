/**
 * Real captures through the whole pipeline: what an independent program computed from the original files is what every tier
 * answers. And nothing but the events decides that: not their order, not how often they were sent, not when they came.
 */

import { readFileSync } from 'node:fs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { FrameTimesEvent } from '../ingest/contract/events.ts'
import { cellsFromCells, cellsFromEvents } from '../ingest/store/cell-sql.ts'
import { CELL_COLUMNS } from '../ingest/store/cells.ts'
import type { Store } from '../ingest/store/clickhouse.ts'
import { TIERS } from '../ingest/store/settle.ts'
import { ANSWER_TIERS, type AnswerTier, type MetricId } from '../query/metrics/catalogue.ts'
import { percentileSql } from '../query/metrics/percentile.ts'
import { bucketSeconds } from '../query/metrics/range.ts'
import { groupedSql } from '../query/metrics/sql.ts'
import { type App, apiOver } from './support/app.ts'
import { sessionId } from './support/events.ts'
import { Pipeline } from './support/pipeline.ts'
import { keyFor } from './support/seed.ts'
import { stopServices } from './support/services.ts'
import { shuffled } from './support/shuffled.ts'
import { verify } from './support/verify.ts'

interface Capture {
  readonly name: string
  readonly frame_time_us: readonly number[]
  /** Of the unrounded values; null where nobody computed them. */
  readonly expected: {
    readonly n: number
    readonly sum_ms: number
    readonly min_ms: number
    readonly max_ms: number
    readonly avg_fps_harmonic: number
    readonly p50_ms_r7: number
    readonly p95_ms_r7: number
    readonly p99_ms_r7: number
    readonly p999_ms_r7: number
  } | null
}

interface Session extends Capture {
  readonly id: string
  readonly target_fps: number
}

const captures: Capture[] = JSON.parse(readFileSync(new URL('./data/captures.json', import.meta.url), 'utf8'))
const TARGET_FPS = 60
const sessions: Session[] = [
  ...captures.map(capture => ({ ...capture, target_fps: TARGET_FPS })),
  // At 60 fps that capture is faultless: asked for 144, much of it is late.
  ...captures.slice(1, 2).map(capture => ({ ...capture, name: `${capture.name}, of 144`, target_fps: 144 })),
].map((session, n) => ({ ...session, id: sessionId(n) }))

const MINUTE_MS = 60_000
/** Minutes that have ended; the longest capture crosses from the first into the second. */
const FROM = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS - 10 * MINUTE_MS
const START = FROM + 45_000
const TO = FROM + 2 * MINUTE_MS

/** One event a second of the capture's own time; an interval belongs to the second in which it ends. */
function eventsOf({ id, target_fps, frame_time_us }: Session): FrameTimesEvent[] {
  const seconds = new Map<number, { begun_us: number; frames: number[] }>()
  let us = 0
  for (const frame of frame_time_us) {
    const second = Math.floor((us + frame) / 1_000_000)
    const frames = seconds.get(second)?.frames
    if (frames) frames.push(frame)
    else seconds.set(second, { begun_us: us, frames: [frame] })
    us += frame
  }
  return [...seconds.values()].map(({ begun_us, frames }, seq) => ({
    v: 1,
    kind: 'frame_times',
    session_id: id,
    source: 'client',
    seq,
    started_at_ms: START + Math.floor(begun_us / 1_000),
    sent_at_ms: 0,
    context: { game: id.slice(-4) },
    target_fps,
    frame_time_us: frames,
  }))
}

const events = sessions.flatMap(eventsOf)

/** As an emitter hands them over, each time it does: stamped now. */
const send = ({ sender }: Pipeline, handed: readonly FrameTimesEvent[]): Promise<void> =>
  sender.sendRaw(
    handed.map(event => ({ key: event.session_id, value: JSON.stringify({ ...event, sent_at_ms: Date.now() }) })),
  )

/** Hyndman & Fan's type 7. */
function r7(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const h = (sorted.length - 1) * p
  const below = sorted[Math.floor(h)] ?? Number.NaN
  return below + (h - Math.floor(h)) * ((sorted[Math.ceil(h)] ?? Number.NaN) - below)
}

const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)

/** From the definitions alone, by integers: what every tier has to say of a session. */
function recomputed({ frame_time_us: all, target_fps: fps }: Pick<Session, 'frame_time_us' | 'target_fps'>) {
  const freezes = all.filter(ft => ft >= Math.max(3e6 / fps, 1e6 / fps + 150_000))
  const stutters = all.filter(ft => 2 * ft * fps > 5e6 + 2_000 * fps && !freezes.includes(ft))
  return {
    frames: all.length,
    sum_us: sum(all),
    min_us: Math.min(...all),
    max_us: Math.max(...all),
    late: all.filter(ft => 2 * ft * fps > 3e6 + 2_000 * fps).length,
    stutters: stutters.length,
    stutter_us: sum(stutters),
    freezes: freezes.length,
    freeze_us: sum(freezes),
  }
}
type Counts = ReturnType<typeof recomputed>

const PERCENTILES = { p50: 0.5, p95: 0.95, p99: 0.99, p999: 0.999 } as const
type Percentile = keyof typeof PERCENTILES
type Measured = Counts & Record<Percentile, number>

const COUNT_SQL: Readonly<Record<keyof Counts, string>> = {
  frames: 'frames',
  sum_us: 'frame_time_sum_us',
  min_us: 'frame_time_min_us',
  max_us: 'frame_time_max_us',
  late: 'late_frames',
  stutters: 'stutters',
  stutter_us: 'stutter_time_us',
  freezes: 'freezes',
  freeze_us: 'freeze_time_us',
}
const BOUNDS = { min: 'frame_time_min_us', max: 'frame_time_max_us' }
const PERCENTILE_SQL = Object.fromEntries(
  Object.entries(PERCENTILES).map(([name, p]) => [name, percentileSql('frame_time_buckets', p, BOUNDS)]),
)

/** What the cells of a tier say of each session. */
async function cellsSay({ store }: Pipeline, tier: AnswerTier): Promise<Map<string, Measured>> {
  const bucket_s = bucketSeconds(tier)
  const [from, to] = [Math.floor(FROM / 1_000 / bucket_s) * bucket_s, Math.ceil(TO / 1_000 / bucket_s) * bucket_s]
  const sql = groupedSql({
    tier,
    where: { sql: '1', session_sql: '1' },
    keys: { id: 'toString(session_id)' },
    values: { ...COUNT_SQL, ...PERCENTILE_SQL },
  })
  const rows = await store.query<Measured & { id: string }>(sql, {
    from,
    to,
    cut: TO / 1_000,
    hours_from: from,
    hours_to: from,
  })
  return new Map(rows.map(({ id, ...measured }) => [id, measured]))
}

const { key, hash } = keyFor('truth')
const openApi = (store: Store): App => apiOver(store, [hash], { now: Date.now })

/** What the API answers for one session. */
async function apiSays(id: MetricId, session: string, tier: AnswerTier) {
  const search = new URLSearchParams({ from: String(FROM), to: String(TO), tier, filter: `session_id:${session}` })
  const path = `/v1/metrics/${id}?${search}`
  const response = await api.request(path, { headers: { authorization: `Bearer ${key}` } })
  expect(response.status, await response.clone().text()).toBe(200)
  const { data, meta } = (await response.json()) as {
    data: [{ value: number; n: number }]
    meta: { frames: number; complete: boolean }
  }
  return { ...data[0], frames: meta.frames, complete: meta.complete }
}

/** Each cell by the hash of its text, less when it was settled. As text, because a hash of anything NULL is NULL. */
async function cellHashes({ store }: Pipeline, from: string, without: readonly string[] = []): Promise<string[]> {
  const columns = ['t', 'session_id', ...Object.keys(CELL_COLUMNS)].filter(name => !without.includes(name)).join(', ')
  const rows = await store.query<{ hash: string }>(
    `SELECT hex(MD5(toString(tuple(${columns})))) AS hash FROM ${from} ORDER BY hash`,
  )
  return rows.map(row => row.hash)
}
const CELLS = `${TIERS['10s'].table} FINAL`
const MINUTES = `${TIERS.minute.table} FINAL`

let inOrder: Pipeline
let outOfOrder: Pipeline
let api: App

beforeAll(async () => {
  ;[inOrder, outOfOrder] = await Promise.all([Pipeline.start('truth'), Pipeline.start('truth_shuffled')])
  api = openApi(inOrder.store)
  await Promise.all([send(inOrder, events), send(outOfOrder, shuffled(events, 1))])
  for (const pipeline of [inOrder, outOfOrder]) await pipeline.stored()
  for (const pipeline of [inOrder, outOfOrder]) await pipeline.settled()
}, 300_000)

afterAll(async () => {
  await Promise.all([inOrder?.close(), outOfOrder?.close()])
  await stopServices()
}, 120_000)

describe('a capture', () => {
  test.each(ANSWER_TIERS)('is counted to the last frame and the last microsecond by %s', async tier => {
    const said = await cellsSay(inOrder, tier)
    expect(said.size).toBe(sessions.length)
    for (const session of sessions) expect(said.get(session.id), session.name).toMatchObject(recomputed(session))
  })

  test.each(ANSWER_TIERS)('has the percentiles of its frames within a hundredth by %s', async tier => {
    const said = await cellsSay(inOrder, tier)
    for (const { id, name, frame_time_us, expected } of sessions) {
      for (const [percentile, p] of Object.entries(PERCENTILES) as [Percentile, number][]) {
        const value = said.get(id)?.[percentile] ?? Number.NaN
        expectWithin(value, r7(frame_time_us, p), 0.01, `${name} ${percentile}`)
        if (expected) expectWithin(value, expected[`${percentile}_ms_r7`] * 1_000, 0.01, `${name} ${percentile}`)
      }
    }
  })

  test('gives the figures that were computed independently, but for the rounding of its frames to microseconds', async () => {
    const said = await cellsSay(inOrder, '10s')
    for (const { id, name, expected } of sessions) {
      const { frames, sum_us, min_us, max_us } = said.get(id) ?? recomputed({ frame_time_us: [], target_fps: 1 })
      if (!expected) continue
      expect(frames, name).toBe(expected.n)
      // Half a microsecond a frame, and half a digit of what was written down.
      expect(Math.abs(sum_us - expected.sum_ms * 1_000), name).toBeLessThanOrEqual(frames / 2 + 0.05)
      expect(Math.abs(min_us - expected.min_ms * 1_000), name).toBeLessThanOrEqual(0.55)
      expect(Math.abs(max_us - expected.max_ms * 1_000), name).toBeLessThanOrEqual(0.55)
      const fps = (1e6 * frames) / sum_us
      expectWithin(fps, expected.avg_fps_harmonic, frames / 2 / sum_us + 1e-7, name)
    }
    console.log(truthTable(said))
  })

  test.each(ANSWER_TIERS)('is answered by the API with the same numbers from %s', async tier => {
    const said = await cellsSay(inOrder, tier)
    // Of the others there is less to say.
    for (const session of sessions.filter(({ frame_time_us }) => frame_time_us.length > 100).slice(2)) {
      const { frames, sum_us, max_us, late, stutters, stutter_us, freezes, freeze_us } = recomputed(session)
      const perMinute = (count: number) => (count * 60_000_000) / sum_us
      const { p50, p95, p99 } = said.get(session.id) ?? {}
      const wanted: Partial<Record<MetricId, number | undefined>> = {
        fps_avg: (1e6 * frames) / sum_us,
        frame_time_p50_us: p50,
        frame_time_p95_us: p95,
        frame_time_p99_us: p99,
        frame_time_max_us: max_us,
        late_frame_pct: (100 * late) / frames,
        stutters_per_minute: perMinute(stutters),
        stutter_time_pct: (100 * stutter_us) / sum_us,
        freezes_per_minute: perMinute(freezes),
        freeze_time_pct: (100 * freeze_us) / sum_us,
        session_minutes: sum_us / 60_000_000,
      }
      const answers = Object.entries(wanted).map(async ([id, value]) => {
        const answer = await apiSays(id as MetricId, session.id, tier)
        expect(answer, `${session.name} ${id}`).toMatchObject({ n: frames, frames })
        // The hour may still be filling.
        if (tier !== 'hour') expect(answer.complete, `${session.name} ${id}`).toBe(true)
        expectWithin(answer.value ?? Number.NaN, value ?? Number.NaN, 1e-12, `${session.name} ${id}`)
      })
      await Promise.all(answers)
    }
  })
})

function expectWithin(value: number, wanted: number, share: number, what: string): void {
  expect(Math.abs(value - wanted), `${what}: ${value}, not ${wanted}`).toBeLessThanOrEqual(Math.abs(wanted) * share)
}

/** Expected beside measured; where nobody computed it independently, expected is the direct recomputation. */
function truthTable(said: ReadonlyMap<string, Measured>): string {
  const ms = (us: number) => (us / 1_000).toFixed(3)
  const header = ['capture', 'n', 'sum ms', 'min ms', 'max ms', 'fps', 'p50 ms', 'p95 ms', 'p99 ms', 'p99.9 ms']
  const rows = sessions.flatMap(session => {
    const { frame_time_us, expected: e, name, id } = session
    const counts = recomputed(session)
    const got = said.get(id)
    if (!got) return []
    const fault = ({ late, stutters, stutter_us, freezes, freeze_us }: Counts) => [
      String(late),
      `${stutters} (${ms(stutter_us)})`,
      `${freezes} (${ms(freeze_us)})`,
    ]
    const line = (c: Counts, percentiles: number[]) =>
      [c.frames, ms(c.sum_us), ms(c.min_us), ms(c.max_us), ((1e6 * c.frames) / c.sum_us).toFixed(6)]
        .map(String)
        .concat(percentiles.map(ms), fault(c))
    const exact = Object.values(PERCENTILES).map(p => r7(frame_time_us, p))
    const independent = e && [e.p50_ms_r7, e.p95_ms_r7, e.p99_ms_r7, e.p999_ms_r7].map(p => p.toFixed(3))
    const wanted = e
      ? [e.n, e.sum_ms, e.min_ms, e.max_ms, e.avg_fps_harmonic].map(String).concat(independent ?? [], fault(counts))
      : line(counts, exact)
    return [
      [name, ...wanted],
      [
        '  measured',
        ...line(
          got,
          (Object.keys(PERCENTILES) as Percentile[]).map(p => got[p]),
        ),
      ],
    ]
  })
  const table = [[...header, 'late', 'stutters (ms)', 'freezes (ms)'], ...rows]
  const widths = table[0]?.map((_, i) => Math.max(...table.map(row => row[i]?.length ?? 0))) ?? []
  return table.map(row => row.map((cell, i) => cell.padEnd(widths[i] ?? 0)).join('  ')).join('\n')
}

describe('a number', () => {
  const everything = async (pipeline: Pipeline) => ({
    // How often an event came is all that a resend may change.
    cells: await cellHashes(pipeline, CELLS, ['received']),
    minutes: await cellHashes(pipeline, MINUTES, ['received']),
    said: await Promise.all(ANSWER_TIERS.map(tier => cellsSay(pipeline, tier))),
  })

  test('does not depend on the order in which events arrived', async () => {
    const [ordered, unordered] = await Promise.all([everything(inOrder), everything(outOfOrder)])
    expect(ordered.cells.length).toBeGreaterThan(sessions.length)
    expect(unordered).toEqual(ordered)
  })

  test('does not change when every event is sent again', async () => {
    const before = await everything(inOrder)
    await send(inOrder, shuffled(events, 2))
    await inOrder.stored()
    await inOrder.settled()
    expect(await everything(inOrder)).toEqual(before)
  }, 240_000)

  test('takes in what comes after its bucket was settled, and only there', async () => {
    const before = await cellHashes(outOfOrder, CELLS)
    const [session] = sessions
    if (!session) throw new Error('no capture')
    const late: FrameTimesEvent[] = [0, 1].map(i => ({
      ...(eventsOf(session)[0] as FrameTimesEvent),
      seq: 1_000 + i,
      frame_time_us: [16_667, 300_000 + i, 30_000],
    }))
    await send(outOfOrder, late)
    await outOfOrder.stored()
    await outOfOrder.settled()
    const frame_time_us = [...session.frame_time_us, ...late.flatMap(event => event.frame_time_us)]
    for (const tier of ANSWER_TIERS) {
      const said = (await cellsSay(outOfOrder, tier)).get(session.id)
      expect(said, tier).toMatchObject(recomputed({ ...session, frame_time_us }))
    }
    const after = await cellHashes(outOfOrder, CELLS)
    expect(after).toHaveLength(before.length)
    expect(after.filter(cell => !before.includes(cell))).toHaveLength(1)
  }, 240_000)

  test('is what the rows say, and the rows are what the topic says, after all of that', async () => {
    for (const pipeline of [inOrder, outOfOrder]) {
      const { store, brokers, topic } = pipeline
      const recomputed = await cellHashes(pipeline, `(${cellsFromEvents('1')})`)
      expect(await cellHashes(pipeline, CELLS)).toEqual(recomputed)
      const minutes = await cellHashes(pipeline, `(${cellsFromCells(TIERS['10s'].table, 'toStartOfMinute(t)', '1')})`)
      expect(await cellHashes(pipeline, MINUTES)).toEqual(minutes)
      const { audit, ...verdict } = await verify(store, brokers, topic)
      expect(verdict).toEqual({ lost: 0, doubled: 0, different: 0, wrong_cells: 0, wrong_minutes: 0 })
      expect(audit.map(row => row.expired)).toEqual(audit.map(() => 0))
    }
  }, 240_000)
})
