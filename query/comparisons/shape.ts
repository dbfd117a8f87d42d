/**
 * What a metric is made of, read off its one definition, the catalogue's SQL: a ratio of sums, or a percentile of a histogram. Either
 * can be resampled session by session. Whatever is read is put together again and must give the very same SQL, so that nothing is
 * compared by another definition than it is answered by.
 */
import { CELL_COLUMNS } from '../../ingest/store/cells.ts'
import type { Metric } from '../metrics/catalogue.ts'
import { type Bounds, percentileSql, weightedPercentileSql } from '../metrics/percentile.ts'

export interface RatioShape {
  readonly kind: 'ratio'
  /** SQL over a merged cell, both additive: the sum over sessions is that of all. */
  readonly numerator: string
  readonly denominator: string
  readonly factor: number
}

export interface PercentileShape {
  readonly kind: 'percentile'
  /** A column of bucket counts. */
  readonly map: string
  readonly p: number
  readonly weighted: boolean
  readonly bounds: Bounds | undefined
  /** The metric is this over the percentile. */
  readonly inverse: number | undefined
}

export type Shape = RatioShape | PercentileShape

/** Undefined: of another form (a maximum, a total, a count), which resampling sessions says nothing true about. */
export function shapeOf({ value }: Pick<Metric, 'value'>): Shape | undefined {
  const [, factor = '', above = '', below = ''] = RATIO.exec(value) ?? []
  if (value !== `${factor} * (${above}) / nullIf(${below}, 0)`) return percentileShape(value, undefined)
  if (above === '1') return percentileShape(below, Number(factor))
  const additive = [above, below].every(isAdditive)
  return additive ? { kind: 'ratio', numerator: above, denominator: below, factor: Number(factor) } : undefined
}

const RATIO = /^([\d.e-]+) \* \((.*)\) \/ nullIf\((.*), 0\)$/

/** Beside the columns that are sums: counts over whole sessions. */
const ADDITIVE_COUNTS = [
  ...['sessions', 'cells', 'seqs_distinct', 'seqs_expected'],
  ...['sessions_good', 'sessions_judged', 'starts_failed', 'starts_decided', 'ends_unexpected', 'ends_known'],
]
const isAdditive = (sql: string): boolean =>
  sql
    .split(/ [+-] /)
    .every(name => ADDITIVE_COUNTS.includes(name) || CELL_COLUMNS[name]?.fromCells(name) === `sum(${name})`)

function percentileShape(sql: string, inverse: number | undefined): PercentileShape | undefined {
  const [, map] = /mapKeys\((\w+)\)/.exec(sql) ?? []
  const [, counted, weight] = /\(cs\[-1\] - 1\) \* ([\d.]+)|c >= ([\d.]+) \* cs\[-1\]/.exec(sql) ?? []
  const [min, max] = [...sql.matchAll(/assumeNotNull\((\w+)\)/g)].map(([, name]) => name)
  const p = Number(counted ?? weight)
  if (map === undefined || !(p > 0 && p < 1)) return undefined
  const bounds = min !== undefined && max !== undefined ? { min, max } : undefined
  const weighted = weight !== undefined
  const again = weighted ? weightedPercentileSql(map, p) : percentileSql(map, p, bounds)
  return sql === again ? { kind: 'percentile', map, p, weighted, bounds, inverse } : undefined
}
