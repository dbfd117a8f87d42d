/** A query as the ClickHouse plugin keeps it. Which ClickHouse is asked is the dashboard's variable, so that one dashboard serves many. */
import type { Dataquery } from '@grafana/grafana-foundation-sdk/cog'
import { FORMAT, type Target } from './model.ts'

export const PLUGIN = 'grafana-clickhouse-datasource'
/** Whose form of queries and provisioning this is. */
export const PLUGIN_VERSION = '4.8.2'
export const DATASOURCE = { type: PLUGIN, uid: '${datasource}' } as const
/** Of the data source that is provisioned with the dashboards; alerts name it, since they have no variables. */
export const DATASOURCE_UID = 'stream-quality-clickhouse'

interface QueryData {
  readonly refId: string
  readonly datasource: { readonly type: string; readonly uid: string }
  readonly editorType: 'sql'
  readonly rawSql: string
  readonly format: number
  readonly queryType: 'timeseries' | 'table'
  readonly pluginVersion: string
}

export const queryData = (
  refId: string,
  { sql, format }: Pick<Target, 'sql' | 'format'>,
  datasource: QueryData['datasource'] = DATASOURCE,
): QueryData => ({
  refId,
  datasource,
  editorType: 'sql',
  rawSql: sql,
  format: FORMAT[format],
  queryType: format === 'table' ? 'table' : 'timeseries',
  pluginVersion: PLUGIN_VERSION,
})

/** The SDK tells queries by a method, which JSON leaves out. */
export const queryOf = (refId: string, target: Pick<Target, 'sql' | 'format'>): QueryData & Dataquery => ({
  ...queryData(refId, target),
  _implementsDataqueryVariant: () => {},
})
