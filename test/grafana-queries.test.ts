/**
 * Every query of every dashboard runs: panels, variables, annotations and alert rules, as they are committed, on a real ClickHouse after
 * Grafana and its plugin have put in what they put in. For everybody, for some, for values that mean harm, for no time at all and for a month.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { OUT } from '../dashboards/grafana/files.ts'
import { rulesShape } from '../dashboards/grafana/lint.ts'
import { COMMITTED, EVERYBODY, type Fleet, ODD, PANELS, startFleet } from './support/drawn.ts'
import { columnOf, expanded, hiddenValues, isOfKind, type Range, type Result, type Values } from './support/grafana.ts'
import './support/services.ts'

const [HOUR_MS, DAY_MS] = [3_600_000, 86_400_000]
let fleet: Fleet
beforeAll(async () => {
  fleet = await startFleet()
})
afterAll(() => fleet?.api.close())

interface Scenario {
  readonly name: string
  readonly values: Values
  readonly range: () => Range
  /** Panels of metrics have something to show. */
  readonly filled: boolean
}
const recent = (): Range => fleet.recent
const lasting = (ms: number) => (): Range => ({ from_ms: fleet.now_ms - ms, to_ms: fleet.now_ms })
const SCENARIOS: readonly Scenario[] = [
  { name: 'all', values: EVERYBODY, range: recent, filled: true },
  { name: 'one value', values: { ...EVERYBODY, access: ['wifi'] }, range: recent, filled: true },
  {
    name: 'two values',
    values: { ...EVERYBODY, access: ['wifi', 'cellular'], by: 'client_version' },
    range: recent,
    filled: true,
  },
  // As the variables' own queries give them: a backslash comes doubled.
  {
    name: 'quote and $',
    values: { ...EVERYBODY, isp: [ODD.isp, 'none'], region: [ODD.region.replaceAll('\\', '\\\\')] },
    range: recent,
    filled: true,
  },
  {
    name: 'empty window',
    values: EVERYBODY,
    range: () => ({ from_ms: fleet.now_ms - 3 * DAY_MS, to_ms: fleet.now_ms - 3 * DAY_MS + HOUR_MS }),
    filled: false,
  },
  { name: '6 h', values: EVERYBODY, range: lasting(6 * HOUR_MS), filled: true },
  { name: '30 d', values: EVERYBODY, range: lasting(30 * DAY_MS), filled: true },
]

const executed: { dashboard: string; scenario: string }[] = []
const run = (dashboard: string, scenario: string, sql: string): Promise<Result> => {
  executed.push({ dashboard, scenario })
  return fleet.run(sql)
}
const ascending = (times: readonly unknown[]): boolean =>
  times.every((time, i) => i === 0 || String(times[i - 1]) <= String(time))

describe.each(SCENARIOS)('$name', ({ name, values, range, filled }) => {
  test.each(COMMITTED)('$title', { timeout: 300_000 }, async dashboard => {
    const all = await hiddenValues(dashboard, sql => run(dashboard.uid, name, sql), values, range())
    for (const { drawn, sql, id } of PANELS.filter(panel => panel.dashboard === dashboard)) {
      const result = await run(dashboard.uid, name, expanded(sql, all, range()))
      const { columns, format } = drawn.target
      const where = `${dashboard.uid} ${id} ${drawn.title}`
      expect(
        result.meta.map(column => column.name),
        where,
      ).toEqual(columns.map(column => column.name))
      const misfits = columns.filter(({ kind }, i) => !isOfKind(result.meta[i]?.type ?? '', kind))
      expect(
        misfits.map(column => [column.name, result.meta.find(one => one.name === column.name)?.type]),
        where,
      ).toEqual([])
      if (format === 'time_series') expect(ascending(columnOf(result, 'time')), where).toBe(true)
      if (filled && drawn.target.answers) expect(result.data.length, where).toBeGreaterThan(0)
    }
    for (const { name: variable, query } of dashboard.templating.list.filter(one => one.hide !== 2)) {
      if (typeof query !== 'object') continue
      const { meta } = await run(dashboard.uid, name, expanded(query.rawSql, all, range()))
      expect(meta, variable).toEqual([{ name: variable, type: 'String' }])
    }
    for (const { name: annotation, target } of dashboard.annotations.list) {
      const result = await run(dashboard.uid, name, expanded(target.rawSql, all, range()))
      const types = Object.fromEntries(result.meta.map(column => [column.name, column.type]))
      expect(types, annotation).toMatchObject({
        time: expect.stringMatching(/^DateTime64/),
        title: 'String',
        text: 'String',
        tags: 'String',
      })
      expect(ascending(columnOf(result, 'time')), annotation).toBe(true)
    }
  })

  test('alert rules', { timeout: 300_000 }, async () => {
    const text = readFileSync(join(import.meta.dirname, '..', OUT, 'provisioning/alerting/rules.yaml'), 'utf8')
    for (const { uid, data } of rulesShape.parse(parse(text)).groups.flatMap(group => group.rules)) {
      const [{ relativeTimeRange, model }] = data
      const { to_ms } = range()
      const asked = { from_ms: to_ms - relativeTimeRange.from * 1_000, to_ms }
      const { meta, data: rows } = await run('alerts', name, expanded(model.rawSql, {}, asked))
      expect(meta, uid).toHaveLength(1)
      expect(isOfKind(meta[0]?.type ?? '', 'number'), `${uid} ${meta[0]?.type}`).toBe(true)
      expect(rows.length, uid).toBeLessThanOrEqual(1)
    }
  })
})

test('the variables offer what there is, a backslash doubled', { timeout: 120_000 }, async () => {
  const [dashboard] = COMMITTED
  const offered = async (name: string): Promise<unknown[]> => {
    const query = dashboard?.templating.list.find(variable => variable.name === name)?.query
    const { data } = await fleet.run(
      expanded(typeof query === 'object' ? query.rawSql : '', EVERYBODY, lasting(HOUR_MS)()),
    )
    return data.map(([value]) => value)
  }
  expect(await offered('access')).toEqual(['cellular', 'ethernet', 'wifi'])
  expect(await offered('isp')).toContain(ODD.isp)
  expect(await offered('region')).toContain(ODD.region.replaceAll('\\', '\\\\'))
})

test('how many were executed', () => {
  const counts: Record<string, Record<string, number>> = {}
  for (const { dashboard, scenario } of executed) {
    counts[dashboard] = { ...counts[dashboard], [scenario]: (counts[dashboard]?.[scenario] ?? 0) + 1 }
  }
  console.table(counts)
  expect(Object.keys(counts)).toHaveLength(COMMITTED.length + 1)
  for (const row of Object.values(counts)) expect(Object.keys(row)).toEqual(SCENARIOS.map(({ name }) => name))
})
