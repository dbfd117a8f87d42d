/**
 * Each metric once: what it means, and how it is computed. The API runs this, dashboards draw it, `GET /v1/metrics` publishes it.
 *
 * A metric is a scalar expression over one *merged cell*: the cells of a group, merged column by column as `ingest/store/cells.ts`
 * says. So a ratio is a ratio of sums, a percentile is never averaged, and the tier the cells came from cannot show in the number.
 * Beside the cell's columns an expression may use `sessions`, `cells`, `covered_s` and figures per session (see `sql.ts`).
 * Adding a metric is adding an entry to one of the three lists.
 */
import { type BETTER, type ByRung, COUNT_SQL, type COUNTED, type Entry, type UNITS } from './entry.ts'
import { EXPERIENCE_METRICS } from './experience-metrics.ts'
import { FRAME_METRICS } from './frame-metrics.ts'
import { fewestValues } from './percentile.ts'
import { STREAM_METRICS } from './stream-metrics.ts'

export { BETTER, COUNTED, UNITS } from './entry.ts'

export const ANSWER_TIERS = ['events', '10s', 'minute', 'hour'] as const
/** `events` computes cells from raw events on the fly, the others read settled cells. */
export type AnswerTier = (typeof ANSWER_TIERS)[number]

export interface Metric {
  readonly title: string
  /** In words, with the formula and its source. */
  readonly definition: string
  readonly unit: (typeof UNITS)[number]
  readonly better: (typeof BETTER)[number]
  /** Raised when the number for the same events changes. */
  readonly definition_version: number
  readonly tiers: readonly AnswerTier[]
  /** SQL; NULL where there is nothing to compute it from. */
  readonly value: string
  readonly counted: (typeof COUNTED)[number]
  readonly count: string
  /** Below this many values the answer is null, unless one session is asked for. */
  readonly min_count: number
  /** The share, of a percentile. */
  readonly percentile: number | undefined
  /** The bad time or bad events in the numerator, if it has any: what a group's share of the whole harm is measured in. */
  readonly bad: string | undefined
  readonly scored: 'cells' | 'sessions' | undefined
  readonly by_rung: ByRung | undefined
}

/** Those whose cells are ten seconds. */
const FINE_TIERS: readonly AnswerTier[] = ['events', '10s']

function published(entry: Entry): Metric {
  const { title, definition, unit, better, value, counted, percentile, bad, scored, by_rung } = entry
  return {
    ...{ title, definition, unit, better, value, counted, percentile, bad, scored, by_rung },
    definition_version: entry.definition_version ?? 1,
    tiers: entry.ten_seconds_only ? FINE_TIERS : ANSWER_TIERS,
    count: entry.count ?? COUNT_SQL[counted],
    min_count: entry.percentile === undefined ? 1 : fewestValues(entry.percentile),
  }
}

const ENTRIES = { ...FRAME_METRICS, ...STREAM_METRICS, ...EXPERIENCE_METRICS } as const
export type MetricId = keyof typeof ENTRIES
export const METRIC_IDS = Object.keys(ENTRIES) as MetricId[]
export const METRICS = Object.fromEntries(
  Object.entries<Entry>(ENTRIES).map(([id, entry]) => [id, published(entry)]),
) as Readonly<Record<MetricId, Metric>>
