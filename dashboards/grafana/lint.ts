/**
 * What must be true of everything that is handed to Grafana, as rules that can fail. Each reads the files as they are written, so that
 * whatever wrote them is held to it.
 */
import { parse } from 'yaml'
import { z } from 'zod'
import { METRICS } from '../../query/metrics/catalogue.ts'
import { COLUMNS } from './layout.ts'
import { PLUGIN } from './query.ts'

const target = z.object({
  refId: z.string(),
  rawSql: z.string(),
  datasource: z.object({ type: z.string(), uid: z.string() }),
})
const panel = z.object({
  id: z.number().optional(),
  type: z.string(),
  title: z.string().optional(),
  description: z.string().optional(),
  gridPos: z.object({ x: z.number(), y: z.number(), w: z.number(), h: z.number() }),
  datasource: z.object({ uid: z.string() }).optional(),
  targets: z.array(target).optional(),
  fieldConfig: z.object({ defaults: z.object({ unit: z.string().optional() }) }).optional(),
  panels: z.array(z.unknown()).optional(),
})
type Panel = z.infer<typeof panel>
const variable = z.object({
  name: z.string(),
  type: z.string(),
  hide: z.number().optional(),
  datasource: z.object({ uid: z.string() }).optional(),
  query: z.union([z.string(), z.object({ rawSql: z.string() })]).optional(),
})
export const dashboardShape = z.object({
  uid: z.string(),
  title: z.string(),
  editable: z.boolean(),
  schemaVersion: z.number(),
  panels: z.array(panel),
  templating: z.object({ list: z.array(variable) }),
  annotations: z.object({ list: z.array(z.object({ name: z.string(), target: target })) }),
})
export type DashboardFile = z.infer<typeof dashboardShape>

type DashboardRule = (dashboard: DashboardFile) => string[]
const drawnPanels = ({ panels }: DashboardFile): Panel[] => panels.filter(({ type }) => type !== 'row')
const named = (panel: Panel): string => `panel ${panel.id} "${panel.title}"`
const twice = <T>(values: readonly T[]): T[] => [...new Set(values.filter((value, i) => values.indexOf(value) !== i))]

/** Every text in which Grafana puts variables. */
const texts = (dashboard: DashboardFile): string[] => [
  ...dashboard.panels.flatMap(({ targets = [] }) => targets.map(({ rawSql }) => rawSql)),
  ...dashboard.templating.list.flatMap(({ query }) => (typeof query === 'object' ? [query.rawSql] : [])),
  ...dashboard.annotations.list.map(({ target }) => target.rawSql),
]
/** Grafana's own, and macros. */
const isBuiltIn = (name: string): boolean => name.startsWith('__')
const variablesIn = (text: string): string[] =>
  [...text.matchAll(/\$(?:\{(\w+)[^}]*\}|(\w+))/g)]
    .map(([, braced, bare]) => braced ?? bare ?? '')
    .filter(name => !isBuiltIn(name))

export const DASHBOARD_RULES = {
  'every panel has an id of its own': ({ panels }) => {
    const ids = panels.map(({ id }) => id)
    return [
      ...panels.filter(({ id }) => id === undefined).map(({ title }) => `"${title}" has no id`),
      ...twice(ids).map(id => `id ${id} is given twice`),
    ]
  },
  'which ClickHouse is asked is a variable': ({ panels, templating, annotations }) => {
    const uids = [
      ...panels.flatMap(({ datasource, targets = [] }) => [
        ...(datasource ? [datasource.uid] : []),
        ...targets.map(one => one.datasource.uid),
      ]),
      ...templating.list.flatMap(({ datasource }) => (datasource ? [datasource.uid] : [])),
      ...annotations.list.map(({ target }) => target.datasource.uid),
    ]
    return uids.filter(uid => uid !== '${datasource}').map(uid => `the data source ${uid} is fixed`)
  },
  'every panel has a title, a description, a unit and a query': dashboard =>
    drawnPanels(dashboard).flatMap(panel =>
      Object.entries({
        title: panel.title,
        description: panel.description,
        unit: panel.fieldConfig?.defaults.unit,
        query: panel.targets?.[0]?.rawSql,
      })
        .filter(([, value]) => value === undefined || value.trim() === '')
        .map(([name]) => `${named(panel)} has no ${name}`),
    ),
  'the title of a metric is the catalogue’s': dashboard =>
    drawnPanels(dashboard)
      .filter(({ description }) => Object.values(METRICS).some(({ definition }) => definition === description))
      .filter(
        ({ title, description }) =>
          !Object.values(METRICS).some(one => one.definition === description && title?.startsWith(one.title)),
      )
      .map(panel => `${named(panel)} is titled otherwise than its metric`),
  'panels fill every line and do not overlap': ({ panels }) => {
    const lines = new Map<number, Panel[]>()
    for (const panel of panels) lines.set(panel.gridPos.y, [...(lines.get(panel.gridPos.y) ?? []), panel])
    return [...lines].flatMap(([y, line]) => {
      const width = line.reduce((sum, { gridPos }) => sum + gridPos.w, 0)
      const below = [...lines.keys()].filter(other => other > y)
      const height = Math.max(...line.map(({ gridPos }) => gridPos.h))
      return [
        ...(width === COLUMNS ? [] : [`the line at ${y} is ${width} of ${COLUMNS} columns wide`]),
        ...(below.some(other => other < y + height) ? [`the line at ${y} reaches into the next one`] : []),
      ]
    })
  },
  'rows are open': ({ panels }) =>
    panels
      .filter(({ type, panels: inside = [] }) => type === 'row' && inside.length > 0)
      .map(({ title }) => `the row "${title}" hides its panels`),
  'every variable that is used is there': dashboard => {
    const there = new Set(dashboard.templating.list.map(({ name }) => name))
    return [...new Set(texts(dashboard).flatMap(variablesIn))]
      .filter(name => !there.has(name))
      .map(name => `$${name} is not defined`)
  },
  'every variable that is there is used': dashboard => {
    const used = new Set([...texts(dashboard).flatMap(variablesIn), 'datasource'])
    return dashboard.templating.list.filter(({ name }) => !used.has(name)).map(({ name }) => `$${name} is used nowhere`)
  },
  'every query of cells asks for the range': dashboard =>
    dashboard.panels
      .filter(({ targets = [] }) =>
        targets.some(({ rawSql }) => !/\$\{(range|steps)_from\}|\$__fromTime_ms/.test(rawSql)),
      )
      .map(panel => `${named(panel)} reads whatever there is`),
  'nothing is left to bind': dashboard =>
    texts(dashboard).flatMap(text =>
      [...text.matchAll(/\{\w+:[A-Z]\w*/g)].map(([found]) => `${found}} has no value in Grafana`),
    ),
  'classic JSON that cannot be changed in Grafana': ({ editable, schemaVersion }) => [
    ...(editable ? ['it can be edited'] : []),
    ...(schemaVersion === 42 ? [] : [`schemaVersion is ${schemaVersion}, not 42`]),
  ],
} as const satisfies Readonly<Record<string, DashboardRule>>

const alertRule = z.object({
  uid: z.string(),
  title: z.string(),
  data: z.tuple([
    z.object({
      relativeTimeRange: z.object({ from: z.number() }),
      model: z.object({ rawSql: z.string(), datasource: z.object({ type: z.string() }) }),
    }),
    z.object({
      datasourceUid: z.literal('__expr__'),
      model: z.object({ conditions: z.array(z.object({ evaluator: z.object({ params: z.array(z.number()) }) })) }),
    }),
  ]),
  annotations: z.record(z.string(), z.string()),
  labels: z.object({ severity: z.enum(['page', 'ticket']) }),
  for: z.string(),
})
export const rulesShape = z.object({ groups: z.array(z.object({ rules: z.array(alertRule) })) })
export type AlertRuleFile = z.infer<typeof alertRule>

/** What the plugin's backend knows; all else is put in by a browser, which an alert has none of. */
const BACKEND_MACRO = /^\$__(?:fromTime|toTime)(?:_ms)?$/

export const ALERT_RULES = {
  'uids are unique and short enough for Grafana': (rules: readonly AlertRuleFile[]) => [
    ...twice(rules.map(({ uid }) => uid)).map(uid => `${uid} is given twice`),
    ...rules.filter(({ uid }) => !/^[a-z0-9-]{1,40}$/.test(uid)).map(({ uid }) => `${uid} is no uid`),
  ],
  'alerts use no variables': (rules: readonly AlertRuleFile[]) =>
    rules.flatMap(({ uid, data }) =>
      [...data[0].model.rawSql.matchAll(/\$\{?\w+\}?/g)]
        .filter(([found]) => !BACKEND_MACRO.test(found))
        .map(([found]) => `${uid} uses ${found}`),
    ),
  'every alert says what is wrong and where to read on': (rules: readonly AlertRuleFile[]) =>
    rules.flatMap(({ uid, annotations }) => [
      ...(annotations.summary ? [] : [`${uid} has no summary`]),
      ...(/#[a-z-]+$/.test(annotations.runbook_url ?? '') ? [] : [`${uid} has no section of the runbook`]),
      ...Object.entries(annotations)
        .filter(([, text]) => /\$(?!\{RUNBOOK_URL\})/.test(text))
        .map(([name]) => `${uid}: Grafana would put its environment into ${name}`),
    ]),
  'the query asks the plugin': (rules: readonly AlertRuleFile[]) =>
    rules.filter(({ data }) => data[0].model.datasource.type !== PLUGIN).map(({ uid }) => `${uid} asks another plugin`),
} as const satisfies Readonly<Record<string, (rules: readonly AlertRuleFile[]) => string[]>>

/** Of all files: what is wrong, with the file and the rule. */
export function complaints(files: ReadonlyMap<string, string>): string[] {
  return [...files].flatMap(([path, text]) => {
    if (path.startsWith('dashboards/')) {
      const dashboard = dashboardShape.parse(JSON.parse(text))
      return Object.entries<DashboardRule>(DASHBOARD_RULES).flatMap(([rule, check]) =>
        check(dashboard).map(what => `${path}: ${what} (${rule})`),
      )
    }
    if (!path.endsWith('/rules.yaml')) return []
    const rules = rulesShape.parse(parse(text)).groups.flatMap(group => group.rules)
    return Object.entries(ALERT_RULES).flatMap(([rule, check]) =>
      check(rules).map(what => `${path}: ${what} (${rule})`),
    )
  })
}
