/**
 * Grafana and its ClickHouse plugin as far as a query passes through them, in their order: the plugin's browser part ($__conditionalAll),
 * Grafana's variables, the plugin's backend ($__fromTime_ms …). Then ClickHouse, over HTTP, with names and types.
 */
import { z } from 'zod'
import type { DashboardFile } from '../../dashboards/grafana/lint.ts'
import type { ColumnKind } from '../../dashboards/grafana/model.ts'
import type { StoreConfig } from '../../ingest/store/clickhouse.ts'

export interface Range {
  readonly from_ms: number
  readonly to_ms: number
}
/** Several values, or one. `$__all`: the option All. */
export type Values = Readonly<Record<string, string | readonly string[]>>

const ALL = '$__all'

/** `$__conditionalAll(condition, $variable)`: before variables have values, so that a value may hold what it likes. */
function conditionalAll(sql: string, values: Values): string {
  return sql.replaceAll(
    /\$__conditionalAll\(((?:[^()]|\([^()]*\))*), \$(\w+)\)/g,
    (_, condition: string, name: string) => {
      const value = String(values[name] ?? '')
      return value === '' || value === ALL ? '1=1' : condition
    },
  )
}

const quoted = (value: string): string => `'${value.replaceAll("'", "\\'")}'`

/** In one pass: what a value holds is not looked at again. */
function interpolated(sql: string, values: Values): string {
  return sql.replaceAll(
    /\$(?:\{(\w+)(?::(\w+))?\}|(\w+))/g,
    (found, braced?: string, format?: string, bare?: string) => {
      const name = braced ?? bare ?? ''
      if (name.startsWith('__')) return found
      const value = values[name]
      if (value === undefined) throw new Error(`Grafana leaves ${found} as it is: there is no such variable`)
      const all = [value].flat()
      return format === 'singlequote' ? all.map(quoted).join(',') : all.join(',')
    },
  )
}

function backendMacros(sql: string, { from_ms, to_ms }: Range): string {
  return sql
    .replaceAll('$__fromTime_ms', `fromUnixTimestamp64Milli(${from_ms})`)
    .replaceAll('$__toTime_ms', `fromUnixTimestamp64Milli(${to_ms})`)
}

export const expanded = (sql: string, values: Values, range: Range): string =>
  backendMacros(interpolated(conditionalAll(sql, values), values), range)

const resultShape = z.object({
  meta: z.array(z.object({ name: z.string(), type: z.string() })),
  data: z.array(z.array(z.unknown())),
})
export type Result = z.infer<typeof resultShape>
export type Run = (sql: string) => Promise<Result>

/** As a user who may only read, which is what Grafana should be given. @throws Error with what ClickHouse says, and the SQL */
export const runOn =
  ({ url, username, password, database }: StoreConfig): Run =>
  async sql => {
    const settings = {
      database,
      default_format: 'JSONCompact',
      readonly: '2',
      output_format_json_quote_64bit_integers: '0',
    }
    const response = await fetch(`${url}/?${new URLSearchParams(settings)}`, {
      method: 'POST',
      headers: { 'X-ClickHouse-User': username, 'X-ClickHouse-Key': password },
      body: sql,
    })
    const text = await response.text()
    if (!response.ok) throw new Error(`${text}\n${sql}`)
    return resultShape.parse(JSON.parse(text))
  }

/** The values of hidden variables, asked for as Grafana does when the range changes: each after those it names. */
export async function hiddenValues(dashboard: DashboardFile, run: Run, values: Values, range: Range): Promise<Values> {
  const all: Record<string, string | readonly string[]> = { ...values }
  for (const { name, query, type, hide } of dashboard.templating.list) {
    if (type !== 'query' || hide !== 2 || typeof query !== 'object') continue
    const { data } = await run(expanded(query.rawSql, all, range))
    all[name] = String(data[0]?.[0])
  }
  return all
}

const KINDS: Readonly<Record<ColumnKind, RegExp>> = {
  time: /^DateTime(64)?\b/,
  label: /^String$/,
  text: /^(LowCardinality\()?String\)?$/,
  number: /^(Nullable\()?(U?Int\d+|Float\d+)\)?$/,
}
export const isOfKind = (type: string, kind: ColumnKind): boolean => KINDS[kind].test(type)

export const columnOf = ({ meta, data }: Result, name: string): unknown[] => {
  const at = meta.findIndex(column => column.name === name)
  if (at < 0) throw new Error(`no column ${name}`)
  return data.map(row => row[at])
}
