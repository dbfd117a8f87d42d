/**
 * Every percentile of the catalogue at once. What ClickHouse takes is mostly reading their text, which of one histogram is the same but
 * for the share: it is said once for all of them. Read off the catalogue's own SQL, and put back it must be that.
 */
import { METRIC_IDS, METRICS, type MetricId } from '../metrics/catalogue.ts'
import { valueSql } from '../metrics/questions.ts'

interface Family {
  /** Over `p`, a share; undefined where there is none to vary. */
  readonly sql: string | undefined
  readonly members: readonly MetricId[]
}

/** How `percentile.ts` names the share. */
const SHARE = /(?<=\(cs\[-1\] - 1\) \* |c >= )0\.\d+/g

/** The same for any share `p`; undefined: it cannot be told. */
export function ofAnyShare(value: string, percentile: number): string | undefined {
  const sql = value.replaceAll(SHARE, 'p')
  return sql !== value && sql.replaceAll(/\bp\b/g, String(percentile)) === value ? sql : undefined
}

/** Percentiles need more than one value; nothing else does. */
export const PERCENTILE_IDS = METRIC_IDS.filter(id => METRICS[id].min_count > 1)
export const OTHER_IDS = METRIC_IDS.filter(id => METRICS[id].min_count === 1)

const familyOf = (id: MetricId): string | undefined => {
  const { value, percentile } = METRICS[id]
  return percentile === undefined ? undefined : ofAnyShare(value, percentile)
}

export const FAMILIES: readonly Family[] = [...new Set(PERCENTILE_IDS.map(id => familyOf(id) ?? id))].map(key => {
  const members = PERCENTILE_IDS.filter(id => (familyOf(id) ?? id) === key)
  return { sql: members[0] && familyOf(members[0]), members }
})

/** Of one session's merged cell: a list of lists, of each family its members' values; empty where there is nothing. */
export const FAMILIES_SQL = `[${FAMILIES.map(({ sql, members: [first, ...rest] }) => {
  if (first === undefined) return '[]'
  const { count } = METRICS[first]
  if (sql === undefined || rest.length === 0) return `[toFloat64(${valueSql(METRICS[first], true)})]`
  const shares = [first, ...rest].map(id => METRICS[id].percentile).join(', ')
  return `if(${count} >= 1, arrayMap(p -> toNullable(toFloat64(${sql})), [${shares}]), [])`
}).join(', ')}]`

export const familyValues = (values: readonly (readonly (number | null)[])[]): [MetricId, number | null][] =>
  FAMILIES.flatMap(({ members }, i) =>
    members.map((id, j) => [id, values[i]?.[j] ?? null] as [MetricId, number | null]),
  )
