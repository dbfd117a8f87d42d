/** A panel shows what the API answers: every metric on every dashboard, over the same snapped range, for everybody and for some. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { HEATMAP_ROWS } from '../dashboards/grafana/sql/heatmap.ts'
import { BY } from '../dashboards/grafana/sql/metrics.ts'
import { STEPPED, variableOf, WHOLE } from '../dashboards/grafana/sql/window.ts'
import { BUCKET_GROWTH } from '../ingest/store/cells.ts'
import { METRIC_IDS, type MetricId } from '../query/metrics/catalogue.ts'
import type { Query } from './support/ask.ts'
import { COMMITTED, type DrawnPanel, EVERYBODY, type Fleet, ODD, PANELS, startFleet } from './support/drawn.ts'
import { sessionId } from './support/events.ts'
import { columnOf, expanded, hiddenValues, type Range, type Result, type Values } from './support/grafana.ts'
import './support/services.ts'

let fleet: Fleet
beforeAll(async () => {
  fleet = await startFleet()
})
afterAll(() => fleet?.api.close())

const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
interface Case {
  readonly name: string
  readonly range: () => Range
  readonly values: Values
  readonly filters: readonly string[]
}
const CASES: readonly Case[] = [
  { name: 'a quarter of an hour', range: () => fleet.recent, values: EVERYBODY, filters: [] },
  {
    name: 'two values, odd ones',
    range: () => fleet.recent,
    values: { ...EVERYBODY, isp: [ODD.isp, 'isp-1'], by: 'client_version' },
    filters: [`isp:${ODD.isp}`, 'isp:isp-1'],
  },
  {
    name: 'six hours',
    range: () => ({ from_ms: fleet.now_ms - 6 * HOUR_MS, to_ms: fleet.now_ms }),
    values: EVERYBODY,
    filters: [],
  },
  {
    name: 'thirty days',
    range: () => ({ from_ms: fleet.now_ms - 29 * DAY_MS, to_ms: fleet.now_ms }),
    values: { ...EVERYBODY, by: 'region' },
    filters: [],
  },
]

type Row = Readonly<Record<string, unknown>>
const compared = new Set<MetricId>()

const ABOUT: Readonly<Record<string, readonly string[]>> = {
  'quality-session': [`session_id:${sessionId(1)}`],
  'quality-pipeline': [],
}
/** Whom the panel is about, as the API's parameters say it. */
const filtersOf = ({ dashboard }: DrawnPanel, filters: readonly string[]): readonly string[] =>
  ABOUT[dashboard.uid] ?? filters

const same = (panel: unknown, api: unknown): boolean =>
  panel === null || api === null
    ? panel === api
    : Math.abs(Number(panel) - Number(api)) <= 1e-9 * Math.max(1, Math.abs(Number(api)))

async function compare(panel: DrawnPanel, result: Result, all: Values, filters: readonly string[]): Promise<void> {
  const { target } = panel.drawn
  const span = target.answers === 'timeseries' ? STEPPED : WHOLE
  const ms = (part: 'from' | 'to') => Number(all[variableOf(span, part)]) * 1_000
  const where = filtersOf(panel, filters)
  const range: Query = { from: ms('from'), to: ms('to'), ...(where.length > 0 ? { filter: where } : {}) }
  for (const { name, metric } of target.columns) {
    if (metric === undefined || target.answers === undefined) continue
    const by = target.by === BY ? String(all.by) : target.by
    const rows = await answers(panel, metric, range, by, Number(all.step_s))
    const values = columnOf(result, name)
    const label = target.columns.find(({ kind }) => kind === 'label' || kind === 'text')?.name
    const keys = label ? columnOf(result, label) : values.map(() => '')
    const times = target.answers === 'timeseries' ? columnOf(result, 'time') : values.map(() => '')
    const drawn = new Map(values.map((value, i) => [`${keys[i]}|${times[i]}`, value]))
    const keyOf = (row: Row): string => `${by === undefined ? '' : (row[by] ?? unknownOf(by))}|${timeOf(row)}`
    const expected = rows.map(row => [keyOf(row), row.value] as const)
    const differing = expected.filter(([key, value]) => !same(drawn.get(key) ?? null, value))
    expect(
      differing.map(([key, value]) => ({ key, api: value, panel: drawn.get(key) })),
      `${panel.dashboard.uid} ${panel.drawn.title} ${metric}`,
    ).toEqual([])
    // Nothing that the API does not know of.
    const known = new Set(expected.map(([key]) => key))
    expect([...drawn].filter(([key, value]) => value !== null && !known.has(key))).toEqual([])
    if (expected.some(([, value]) => value !== null)) compared.add(metric)
  }
}

const unknownOf = (by: string): string => (by === 'rung' ? '(none named)' : '(unknown)')
const timeOf = ({ t }: Row): string => (typeof t === 'string' ? t.slice(0, 19).replace('T', ' ') : '')

async function answers(
  panel: DrawnPanel,
  metric: MetricId,
  range: Query,
  by: string | undefined,
  step_s: number,
): Promise<Row[]> {
  const path = `/v1/metrics/${metric}`
  if (panel.drawn.target.answers === 'overall') return (await fleet.api.get(path, range)).data
  if (panel.drawn.target.answers === 'breakdown')
    return (await fleet.api.get(`${path}/breakdown`, { ...range, by: by ?? '', limit: 100 })).data
  return (
    await fleet.api.get(`${path}/timeseries`, {
      ...range,
      step: `${step_s}s`,
      ...(by ? { group_by: by, limit: 10 } : {}),
    })
  ).data
}

describe.each(CASES)('$name', ({ range, values, filters }) => {
  test.each(COMMITTED)('$title', { timeout: 300_000 }, async dashboard => {
    const all = await hiddenValues(dashboard, fleet.run, values, range())
    for (const panel of PANELS.filter(one => one.dashboard === dashboard && one.drawn.target.answers))
      await compare(panel, await fleet.run(expanded(panel.sql, all, range())), all, filters)
  })
})

test('every metric that is drawn was compared with a value', () => {
  const drawn = new Set(PANELS.flatMap(({ drawn: { target } }) => target.columns.flatMap(({ metric }) => metric ?? [])))
  expect([...drawn].filter(metric => !compared.has(metric))).toEqual([])
  expect(drawn.size).toBeGreaterThan(METRIC_IDS.length / 2)
})

test('the heatmap counts every frame once, in the row that holds it', { timeout: 120_000 }, async () => {
  const panel = PANELS.find(({ drawn }) => drawn.kind === 'heatmap')
  if (!panel) throw new Error('no heatmap')
  const all = await hiddenValues(panel.dashboard, fleet.run, EVERYBODY, fleet.recent)
  const { data } = await fleet.run(expanded(panel.sql, all, fleet.recent))
  const range = { from: Number(all.steps_from) * 1_000, to: Number(all.steps_to) * 1_000 }
  const { data: bars } = await fleet.api.get<{ from: number; to: number; count: number }>(
    '/v1/metrics/frame_time_p99_us/distribution',
    range,
  )
  const expected = HEATMAP_ROWS.map(({ over, last }) =>
    bars
      .filter(({ to }) => {
        const bucket = to === 1 ? 0 : Math.round(Math.log(to) / Math.log(BUCKET_GROWTH))
        return bucket > over && bucket <= last
      })
      .reduce((sum, { count }) => sum + count, 0),
  )
  expect(HEATMAP_ROWS.map((_, i) => data.reduce((sum, row) => sum + Number(row[i + 1]), 0))).toEqual(expected)
  expect(expected.reduce((sum, count) => sum + count, 0)).toBeGreaterThan(50_000)
})

test('a session second by second is its timeline', { timeout: 120_000 }, async () => {
  const dashboard = COMMITTED.find(({ uid }) => uid === 'quality-session')
  const {
    data: [timeline],
  } = await fleet.api.get<{
    points: Row[]
    episodes: { kind: string; from: string; to: string }[]
    marks: { kind: string; at: string; state?: string }[]
  }>(`/v1/sessions/${sessionId(1)}/timeline`, { from: fleet.recent.from_ms, to: fleet.recent.to_ms })
  const points = new Map(timeline?.points.map(point => [timeOf(point), point]))
  let figures = 0
  for (const { drawn, sql } of PANELS.filter(one => one.dashboard === dashboard && !one.drawn.target.answers)) {
    const result = await fleet.run(expanded(sql, EVERYBODY, fleet.recent))
    const times = columnOf(result, 'time')
    for (const { name, kind } of drawn.target.columns.filter(({ kind }) => kind === 'number')) {
      const wrong = columnOf(result, name).filter(
        (value, i) => !same(value, points.get(String(times[i]))?.[name] ?? null),
      )
      expect(wrong, `${name} ${kind}`).toEqual([])
      figures += times.length
    }
  }
  expect(figures).toBeGreaterThan(500)
  const marks = async (name: string): Promise<Result> => {
    const { target } = dashboard?.annotations.list.find(one => one.name === name) ?? {}
    return fleet.run(expanded(target?.rawSql ?? '', EVERYBODY, fleet.recent))
  }
  expect(columnOf(await marks('States'), 'title')).toEqual(
    timeline?.marks.filter(({ kind }) => kind === 'state').map(({ state }) => state),
  )
  const freezes = columnOf(await marks('Freezes'), 'time')
  const episodes = timeline?.episodes.filter(({ kind }) => kind === 'freeze') ?? []
  expect(freezes.length).toBeGreaterThanOrEqual(episodes.length)
  expect(episodes.length).toBeGreaterThan(0)
})

test('the worst sessions are those of the API', {
  timeout: 120_000,
}, async () => {
  const panel = PANELS.find(({ drawn }) => drawn.title === 'Sessions with the most time in stutters')
  if (!panel) throw new Error('no such panel')
  const all = await hiddenValues(panel.dashboard, fleet.run, EVERYBODY, fleet.recent)
  const result = await fleet.run(expanded(panel.sql, all, fleet.recent))
  const { data } = await fleet.api.get<{ session_id: string; metrics: Row }>('/v1/sessions', {
    ...{ from: Number(all.range_from) * 1_000, to: Number(all.range_to) * 1_000 },
    ...{ order: 'stutter_time_pct', limit: 50 },
  })
  expect(columnOf(result, 'session')).toEqual(data.map(({ session_id }) => session_id))
  for (const { name, metric } of panel.drawn.target.columns.filter(({ metric }) => metric !== undefined))
    expect(columnOf(result, name), metric).toEqual(data.map(({ metrics }) => metrics[name]))
})

test('an interval is that of a ratio over sessions by linearisation, and there is none of few', {
  timeout: 240_000,
}, async () => {
  const panel = PANELS.find(({ drawn }) => drawn.target.columns.some(({ name }) => name === 'low'))
  if (!panel) throw new Error('no intervals')
  const month = { from_ms: fleet.now_ms - 29 * DAY_MS, to_ms: fleet.now_ms }
  const shown = async (by: string): Promise<Result> => {
    const all = await hiddenValues(panel.dashboard, fleet.run, { ...EVERYBODY, by }, month)
    return fleet.run(expanded(panel.sql, all, month))
  }
  const { data: sessions } = await fleet.run(
    'SELECT sum(stutter_time_us), sum(frame_time_sum_us) AS played FROM quality_per_10s_v1 FINAL GROUP BY session_id HAVING played > 0',
  )
  const pairs = sessions.map(([x, y]) => [Number(x), Number(y)] as const)
  const sum = (of: (x: number, y: number) => number): number => pairs.reduce((total, [x, y]) => total + of(x, y), 0)
  const [n, played] = [pairs.length, sum((_, y) => y)]
  const ratio = sum(x => x) / played
  const error = Math.sqrt((n / (n - 1)) * sum((x, y) => (x - ratio * y) ** 2)) / played
  // Nobody says the platform, so that is everybody; by ISP there are too few of each.
  const everybody = await shown('platform')
  expect(columnOf(everybody, 'sessions')).toEqual([n])
  expect(Number(columnOf(everybody, 'stutter_time_pct')[0])).toBeCloseTo(100 * ratio, 9)
  expect(Number(columnOf(everybody, 'low')[0])).toBeCloseTo(100 * (ratio - 1.959964 * error), 9)
  expect(Number(columnOf(everybody, 'high')[0])).toBeCloseTo(100 * (ratio + 1.959964 * error), 9)
  expect(error).toBeGreaterThan(0)
  expect(columnOf(await shown('isp'), 'low').every(bound => bound === null)).toBe(true)
})
