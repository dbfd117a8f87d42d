/**
 * How often which frame time, step by step: the histogram that cells keep, in runs of its buckets, a column each. Grafana takes a column's
 * name for the upper bound of its bucket.
 */
import { BUCKET_GROWTH } from '../../../ingest/store/cells.ts'
import { stepsQuestion } from '../../../query/metrics/histogram.ts'
import type { Target } from '../model.ts'
import { NAMES } from './metrics.ts'
import { printed } from './print.ts'
import { CHOSEN } from './subject.ts'
import { STEPPED, windowVariables } from './window.ts'

/** Nine buckets of 2 % are a row of 20 %: 4 ms to a second in thirty-one. */
const RUN = 9
const FIRST_US = 4_000
const LAST_US = 1_000_000
const bucketOf = (value_us: number): number => Math.ceil(Math.log(value_us) / Math.log(BUCKET_GROWTH))

/** The last bucket of each row; what is longer is in a row of its own. */
const LASTS = Array.from(
  { length: Math.ceil((bucketOf(LAST_US) - bucketOf(FIRST_US)) / RUN) + 1 },
  (_, i) => bucketOf(FIRST_US) + i * RUN,
)
const BEYOND = 'Inf'

export interface Row {
  /** Buckets above `over`, up to and with `last`. */
  readonly over: number
  readonly last: number
  readonly name: string
}

export const HEATMAP_ROWS: readonly Row[] = [
  ...LASTS.map((last, i) => ({ over: LASTS[i - 1] ?? -1, last, name: String(Math.round(BUCKET_GROWTH ** last)) })),
  { over: LASTS.at(-1) ?? -1, last: Number.POSITIVE_INFINITY, name: BEYOND },
]

export function heatmapTarget(column: 'frame_time_buckets', subject = CHOSEN): Target {
  const { sql } = stepsQuestion(column, subject, 0)
  const counted = HEATMAP_ROWS.map(({ over, last, name }) => {
    const within = last === Number.POSITIVE_INFINITY ? `b > ${over}` : `b > ${over} AND b <= ${last}`
    return `arraySum((b, n) -> if(${within}, n, 0), mapKeys(counts), mapValues(counts)) AS "${name}"`
  })
  return {
    sql: printed(`SELECT toDateTime(t, 'UTC') AS time, ${counted.join(', ')} FROM (${sql}) ORDER BY time`, {
      ...NAMES,
      ...windowVariables(STEPPED),
    }),
    format: 'time_series',
    columns: [
      { name: 'time', kind: 'time' },
      ...HEATMAP_ROWS.map(({ name }) => ({ name, kind: 'number', unit: 'short' }) as const),
    ],
  }
}
