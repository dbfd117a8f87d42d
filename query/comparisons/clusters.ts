/**
 * The sessions of both sides as clusters to resample, and a metric's estimator over them. Beyond a number of sessions whole blocks of
 * them, chosen by hash, stand for single ones: the interval is as good (sums of many sessions are steadier than one), and what a
 * comparison costs stays the same however many played.
 */
import { z } from 'zod'
import { BUCKET_GROWTH } from '../../ingest/store/cells.ts'
import type { Question } from '../metrics/question.ts'
import { paramsOf, type Subject } from '../metrics/questions.ts'
import { groupedSql } from '../metrics/sql.ts'
import { type Estimator, percentileEstimator, ratioEstimator } from '../statistics/estimators.ts'
import type { PercentileShape, RatioShape, Shape } from './shape.ts'

export const CLUSTERS_MAX = 500

const clusterRow = z.object({
  cluster: z.string(),
  numerator: z.number().optional(),
  denominator: z.number().optional(),
  buckets: z.array(z.number()).optional(),
  counts: z.array(z.number()).optional(),
  least: z.number().nullish(),
  greatest: z.number().nullish(),
})
export type ClusterRow = z.infer<typeof clusterRow>

/** @param blocks 0: every session is a cluster of its own */
export const clustersQuestion = (shape: Shape, subject: Subject, blocks: number): Question<ClusterRow> => ({
  id: 'clusters',
  sql: groupedSql({
    tier: subject.window.tier,
    where: subject.condition,
    keys: {
      cluster:
        'if({blocks:UInt32} = 0, toString(session_id), toString(cityHash64(session_id) % greatest({blocks:UInt32}, 1)))',
    },
    values: valuesOf(shape),
  }),
  params: { ...paramsOf(subject), blocks },
  row: clusterRow,
})

function valuesOf(shape: Shape): Record<string, string> {
  if (shape.kind === 'ratio') return { numerator: shape.numerator, denominator: shape.denominator }
  const { map, bounds } = shape
  return {
    buckets: `mapKeys(${map})`,
    counts: `mapValues(${map})`,
    ...(bounds ? { least: bounds.min, greatest: bounds.max } : {}),
  }
}

export interface Sides {
  readonly a: Estimator
  readonly b: Estimator
  /** Whether any cluster is on both sides. */
  readonly shared: boolean
}

/** Both sides over the same clusters, in an order that does not depend on the order of reading. */
export function sidesOf(shape: Shape, a: readonly ClusterRow[], b: readonly ClusterRow[]): Sides {
  const names = [...new Set([...a, ...b].map(row => row.cluster))].sort()
  const side = (rows: readonly ClusterRow[]): Estimator => {
    const byName = new Map(rows.map(row => [row.cluster, row]))
    const aligned = names.map(name => byName.get(name))
    return shape.kind === 'ratio' ? ratioOver(shape, aligned) : percentileOver(shape, aligned)
  }
  return { a: side(a), b: side(b), shared: names.length < a.length + b.length }
}

type Aligned = readonly (ClusterRow | undefined)[]

const ratioOver = ({ factor }: RatioShape, rows: Aligned): Estimator =>
  ratioEstimator(
    Float64Array.from(rows, row => row?.numerator ?? 0),
    Float64Array.from(rows, row => row?.denominator ?? 0),
    factor,
  )

function percentileOver({ p, weighted, bounds, inverse }: PercentileShape, rows: Aligned): Estimator {
  const known = (which: 'least' | 'greatest'): number[] =>
    rows.map(row => row?.[which]).filter(value => typeof value === 'number')
  return percentileEstimator(
    rows.map(row => row && { buckets: row.buckets ?? [], counts: row.counts ?? [] }),
    {
      ...{ p, weighted, inverse, growth: BUCKET_GROWTH },
      bounds: bounds && { low: Math.min(...known('least')), high: Math.max(...known('greatest')) },
    },
  )
}
