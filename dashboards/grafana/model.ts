/** What a panel draws, before Grafana's own shapes: which columns its query has, what each is, and which metric of the catalogue it shows. */
import type { MetricId } from '../../query/metrics/catalogue.ts'

/** What Grafana needs of a column: a moment, a name that tells series apart, a number, or text in a table. */
export type ColumnKind = 'time' | 'label' | 'number' | 'text'

export interface Column {
  readonly name: string
  readonly kind: ColumnKind
  /** The number is this metric's value. */
  readonly metric?: MetricId
  /** Of a number that is no metric. */
  readonly unit?: string
  readonly title?: string
}

/** The plugin's own numbers for how rows become frames. */
export const FORMAT = { time_series: 0, table: 1 } as const

export interface Target {
  /** As Grafana keeps it: with its variables and macros. */
  readonly sql: string
  readonly format: keyof typeof FORMAT
  readonly columns: readonly Column[]
  /** How the API is asked for the same numbers. */
  readonly answers?: 'overall' | 'timeseries' | 'breakdown'
  /** The dimension of the label: one of the catalogue's, or the variable `by`. */
  readonly by?: string
}

export const metricsOf = ({ columns }: Target): MetricId[] =>
  columns.flatMap(({ metric }) => (metric === undefined ? [] : [metric]))
