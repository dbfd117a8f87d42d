/** Our own rules for what is handed to Grafana can fail: each has an example that breaks it, and nothing that is committed does. */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import { OUT } from '../dashboards/grafana/files.ts'
import {
  ALERT_RULES,
  type AlertRuleFile,
  complaints,
  DASHBOARD_RULES,
  type DashboardFile,
  dashboardShape,
  rulesShape,
} from '../dashboards/grafana/lint.ts'

const PROVISIONED = join(import.meta.dirname, '..', OUT)
const paths = readdirSync(PROVISIONED, { recursive: true, withFileTypes: true })
  .filter(entry => entry.isFile())
  .map(entry => join(entry.parentPath, entry.name).slice(PROVISIONED.length + 1))
const committed = new Map(paths.map(path => [path, readFileSync(join(PROVISIONED, path), 'utf8')]))
const dashboard = (): DashboardFile =>
  dashboardShape.parse(JSON.parse(committed.get('dashboards/quality-experience.json') ?? '{}'))
const alerts = (): AlertRuleFile[] =>
  rulesShape.parse(parse(committed.get('provisioning/alerting/rules.yaml') ?? '')).groups.flatMap(group => group.rules)

test('what is committed breaks none', () => {
  expect(committed.size).toBeGreaterThan(10)
  expect(complaints(committed)).toEqual([])
})

type Panel = DashboardFile['panels'][number]
const onPanel =
  (change: (panel: Panel) => Panel) =>
  (given: DashboardFile): DashboardFile => ({
    ...given,
    panels: given.panels.map((panel, i) => (i === 1 ? change(panel) : panel)),
  })
const onQuery = (change: (sql: string) => string) =>
  onPanel(panel => ({ ...panel, targets: panel.targets?.map(one => ({ ...one, rawSql: change(one.rawSql) })) }))

/** Panel 1 is the first after the first row. */
const BROKEN: Readonly<Record<keyof typeof DASHBOARD_RULES, readonly ((given: DashboardFile) => DashboardFile)[]>> = {
  'every panel has an id of its own': [
    onPanel(panel => ({ ...panel, id: 1 })),
    onPanel(({ id: _, ...panel }) => panel),
  ],
  'which ClickHouse is asked is a variable': [
    onPanel(panel => ({ ...panel, datasource: { uid: 'P7E099F39B84EA795' } })),
    onPanel(panel => ({
      ...panel,
      targets: panel.targets?.map(one => ({ ...one, datasource: { type: 'x', uid: 'fixed' } })),
    })),
  ],
  'every panel has a title, a description, a unit and a query': [
    onPanel(panel => ({ ...panel, title: ' ' })),
    onPanel(panel => ({ ...panel, description: undefined })),
    onPanel(panel => ({ ...panel, fieldConfig: { defaults: {} } })),
    onPanel(panel => ({ ...panel, targets: [] })),
  ],
  'the title of a metric is the catalogue’s': [onPanel(panel => ({ ...panel, title: 'Happy players' }))],
  'panels fill every line and do not overlap': [
    onPanel(panel => ({ ...panel, gridPos: { ...panel.gridPos, w: panel.gridPos.w - 1 } })),
    onPanel(panel => ({ ...panel, gridPos: { ...panel.gridPos, h: 40 } })),
  ],
  'rows are open': [
    given => ({ ...given, panels: given.panels.map((panel, i) => (i === 0 ? { ...panel, panels: [{}] } : panel)) }),
  ],
  'every variable that is used is there': [
    onQuery(sql => `${sql} AND shard = $shard`),
    given => ({ ...given, templating: { list: given.templating.list.filter(({ name }) => name !== 'isp') } }),
  ],
  'every variable that is there is used': [
    given => ({ ...given, templating: { list: [...given.templating.list, { name: 'planet', type: 'custom' }] } }),
  ],
  'every query of cells asks for the range': [onQuery(() => 'SELECT count() FROM quality_per_10s_v1')],
  'nothing is left to bind': [onQuery(sql => `${sql} LIMIT {limit:UInt32}`)],
  'classic JSON that cannot be changed in Grafana': [
    given => ({ ...given, editable: true }),
    given => ({ ...given, schemaVersion: 2 }),
  ],
}

describe.each(Object.entries(BROKEN))('%s', (rule, changes) => {
  const check: (given: DashboardFile) => string[] = DASHBOARD_RULES[rule as keyof typeof DASHBOARD_RULES]

  test('holds of a dashboard of ours', () => expect(check(dashboard())).toEqual([]))

  test.each(changes.map((change, i) => [i + 1, change] as const))('fails, way %d', (_, change) => {
    expect(check(change(dashboard()))).not.toEqual([])
  })
})

const changed = (change: (rule: AlertRuleFile) => AlertRuleFile) => (given: AlertRuleFile[]) =>
  given.map((rule, i) => (i === 0 ? change(rule) : rule))
const asking = (change: (sql: string) => string, type?: string) =>
  changed(rule => {
    const [query, bound] = rule.data
    const model = { ...query.model, rawSql: change(query.model.rawSql), ...(type ? { datasource: { type } } : {}) }
    return { ...rule, data: [{ ...query, model }, bound] }
  })
const BROKEN_ALERTS: Readonly<
  Record<keyof typeof ALERT_RULES, readonly ((given: AlertRuleFile[]) => AlertRuleFile[])[]>
> = {
  'uids are unique and short enough for Grafana': [
    changed(rule => ({ ...rule, uid: alerts()[1]?.uid ?? '' })),
    changed(rule => ({ ...rule, uid: 'x'.repeat(41) })),
  ],
  'alerts use no variables': [
    asking(sql => `${sql} AND isp IN (\${isp:singlequote})`),
    asking(sql => sql.replace('$__toTime_ms', '$__interval_s')),
  ],
  'every alert says what is wrong and where to read on': [
    changed(rule => ({ ...rule, annotations: { ...rule.annotations, summary: '' } })),
    changed(rule => ({ ...rule, annotations: { summary: 'x', runbook_url: 'RUNBOOK.md' } })),
    changed(rule => ({ ...rule, annotations: { ...rule.annotations, summary: 'burns at {{ $value }}' } })),
  ],
  'the query asks the plugin': [asking(sql => sql, 'prometheus')],
}

describe.each(Object.entries(BROKEN_ALERTS))('%s', (rule, changes) => {
  const check = ALERT_RULES[rule as keyof typeof ALERT_RULES]

  test('holds of ours', () => expect(check(alerts())).toEqual([]))

  test.each(changes.map((change, i) => [i + 1, change] as const))('fails, way %d', (_, change) => {
    expect(check(change(alerts()))).not.toEqual([])
  })
})
