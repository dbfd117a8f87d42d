/**
 * What can be chosen at the top of a dashboard, and what panels take from hidden variables. Each dimension of the catalogue is a
 * variable. There are no ad hoc filters: such a filter is applied to one table, panels read three, and the rest would be wrong silently.
 */
import type { Builder } from '@grafana/grafana-foundation-sdk/cog'
import {
  CustomVariableBuilder,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  TextBoxVariableBuilder,
  VariableHide,
  type VariableModel,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard'
import type { Retention } from '../../ingest/store/migrate.ts'
import { DIMENSIONS, type Dimension } from '../../query/metrics/filter.ts'
import { knownValuesQuestion } from '../../query/metrics/questions.ts'
import { DATASOURCE, PLUGIN, queryData } from './query.ts'
import { laidOut, substituted } from './sql/print.ts'
import { DASHBOARD_RANGE, partSql, partsOf, type Span, STEPPED, variableOf, WHOLE } from './sql/window.ts'

const DAY_S = 86_400
const MINUTES_5_S = 300
const VALUES_MAX = 500
const { sql: KNOWN_VALUES } = knownValuesQuestion(0, 0, VALUES_MAX)

const ofRange = (sql: string): string => `toUInt32(greatest(0, ${sql}))`
/** Of the last day of the range. */
const KNOWN_IN_RANGE = substituted(KNOWN_VALUES, {
  from: ofRange(`greatest(${DASHBOARD_RANGE.from}, ${DASHBOARD_RANGE.to} - ${DAY_S})`),
  to: ofRange(DASHBOARD_RANGE.to),
  recent: ofRange(`greatest(${DASHBOARD_RANGE.from}, ${DASHBOARD_RANGE.to} - ${MINUTES_5_S})`),
})

/** Grafana's `:singlequote` escapes quotes and leaves backslashes, which ClickHouse reads as escapes: so they come doubled. */
const valuesSql = (name: Dimension): string =>
  laidOut(
    `SELECT arrayJoin(arrayMap(value -> replaceAll(value, '\\\\', '\\\\\\\\'), known_${name})) AS ${name} FROM (${KNOWN_IN_RANGE})`,
  )

const query = (sql: string) => ({ ...queryData('Variable', { sql, format: 'table' }) })
const ALL = { text: 'All', value: '$__all', selected: true }

/** Hidden variables follow the range and do not belong into a shared address. */
const hidden = (name: string, sql: string): Builder<VariableModel> => ({
  build: () => ({
    ...new QueryVariableBuilder(name)
      .datasource(DATASOURCE)
      .query(query(sql))
      .definition(name)
      .hide(VariableHide.HideVariable)
      .refresh(VariableRefresh.OnTimeRangeChanged)
      .sort(VariableSort.Disabled)
      .build(),
    skipUrlSync: true,
  }),
})

const datasource = (): Builder<VariableModel> =>
  new DatasourceVariableBuilder('datasource').label('ClickHouse').type(PLUGIN)

const dimension = (name: Dimension): Builder<VariableModel> =>
  new QueryVariableBuilder(name)
    .label(name.replaceAll('_', ' '))
    .datasource(DATASOURCE)
    .query(query(valuesSql(name)))
    .definition(`known values of ${name}`)
    .multi(true)
    .includeAll(true)
    .current(ALL)
    .refresh(VariableRefresh.OnDashboardLoad)
    .sort(VariableSort.NaturalAsc)

const windowVariables = (kept: Retention, spans: readonly Span[] = [WHOLE, STEPPED]): Builder<VariableModel>[] =>
  spans.flatMap(span => partsOf(span).map(part => hidden(variableOf(span, part), partSql(span, part, kept))))

/** Those of a dashboard of many sessions. */
export const fleetVariables = (kept: Retention): Builder<VariableModel>[] => [
  datasource(),
  ...DIMENSIONS.map(dimension),
  ...windowVariables(kept),
]

/** Which dimension tells cohorts apart. */
export function byVariable(first: Dimension): Builder<VariableModel> {
  const names = [first, ...DIMENSIONS.filter(name => name !== first)]
  return new CustomVariableBuilder('by')
    .label('compare by')
    .values(names.join(','))
    .current({ text: first, value: first, selected: true })
    .options(names.map(name => ({ text: name, value: name, selected: name === first })))
    .allowCustomValue(false)
}

export const sessionVariables = (kept: Retention): Builder<VariableModel>[] => [
  datasource(),
  new TextBoxVariableBuilder('session').label('session').defaultValue(''),
  ...windowVariables(kept, [WHOLE]),
]

export const pipelineVariables = (kept: Retention): Builder<VariableModel>[] => [datasource(), ...windowVariables(kept)]
