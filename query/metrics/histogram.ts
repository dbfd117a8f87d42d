/**
 * The whole distribution behind a percentile: how many frames, intervals or milliseconds lie in each logarithmic bucket, over a range
 * and over time. The buckets are the ones that cells keep, or runs of them: counts are exact, whichever tier they came from.
 */
import { z } from 'zod'
import { BUCKET_GROWTH } from '../../ingest/store/cells.ts'
import { type Answer, type Desk, type Meta, metaOf, subjectOf, type Wanted } from './answer.ts'
import { METRICS, type MetricId } from './catalogue.ts'
import { Mistake } from './mistake.ts'
import type { Question } from './question.ts'
import { asOne, behindQuestion, cubed, grouping, paramsOf, STEP, type Subject } from './questions.ts'
import { bucketStarts, iso } from './range.ts'
import { groupedSql } from './sql.ts'

export const WEIGHTS = ['frames', 'intervals', 'ms'] as const

interface Histogram {
  readonly column: string
  readonly unit: string
  /** What a bucket counts: `ms` is milliseconds of the intervals whose value lies in it. */
  readonly weight: (typeof WEIGHTS)[number]
}

const HISTOGRAMS: readonly Histogram[] = [
  { column: 'frame_time_buckets', unit: 'us', weight: 'frames' },
  { column: 'bitrate_buckets', unit: 'kbps', weight: 'ms' },
  { column: 'available_buckets', unit: 'kbps', weight: 'ms' },
  { column: 'rtt_buckets', unit: 'us', weight: 'intervals' },
  { column: 'jitter_buckets', unit: 'us', weight: 'intervals' },
]

/** The histogram that a metric is read from, in the metric's own unit. (`fps_p1` is read from frame times, and is none of them.) */
const histogramOf = (id: MetricId): Histogram | undefined =>
  HISTOGRAMS.find(
    ({ column, unit }) => METRICS[id].unit === unit && new RegExp(`\\b${column}\\b`).test(METRICS[id].value),
  )

export interface Bar {
  /** In the metric's unit; inclusive. */
  readonly from: number
  /** Exclusive. */
  readonly to: number
  readonly count: number
}

type Counts = ReadonlyMap<number, number>

/** Bucket 0 holds 0 alone, bucket b [growth^(b−1), growth^b). Values are whole numbers, so 0 is all of [0, 1). */
const edge = (bucket: number): number => BUCKET_GROWTH ** bucket
/** Runs of `width` buckets: the first begins with bucket 1, and 0 stays alone. */
const runOf = (bucket: number, width: number): number => Math.ceil(bucket / width)

/** The narrowest runs of which the buckets touch no more than `most`. The same for every part of what is drawn together. */
function widthFor(buckets: readonly number[], most: number | undefined): number {
  let width = 1
  while (most !== undefined && new Set(buckets.map(bucket => runOf(bucket, width))).size > most) width++
  return width
}

/** Runs that hold something, in ascending order. */
function bars(counts: Counts, width: number): Bar[] {
  const runs = new Map<number, number>()
  for (const [bucket, count] of counts) {
    const run = runOf(bucket, width)
    runs.set(run, (runs.get(run) ?? 0) + count)
  }
  return [...runs]
    .sort(([a], [b]) => a - b)
    .map(([run, count]) => ({
      from: run === 0 ? 0 : edge((run - 1) * width),
      to: run === 0 ? 1 : edge(run * width),
      count,
    }))
}

const counts = z
  .record(z.string(), z.number())
  .transform((map): Counts => new Map(Object.entries(map).map(([bucket, count]) => [Number(bucket), count])))

const wholeRow = z.object({ counts })
function wholeQuestion(column: string, subject: Subject): Question<z.infer<typeof wholeRow>> {
  const one = asOne(cubed(subject, [], [column]))
  return {
    id: 'distribution',
    sql: groupedSql({ ...grouping(one), keys: {}, values: { counts: column } }),
    params: paramsOf(one),
    row: wholeRow,
  }
}

const stepRow = z.object({ t: z.number(), counts })
export function stepsQuestion(column: string, subject: Subject, step_s: number): Question<z.infer<typeof stepRow>> {
  const asked = cubed(subject, [], [column])
  return {
    id: 'heatmap',
    sql: groupedSql({
      ...grouping(asked),
      keys: { t: STEP },
      values: { counts: column },
    }),
    params: { ...paramsOf(asked), step_s },
    row: stepRow,
  }
}

export interface Counted<Row> extends Answer<Row> {
  readonly meta: Meta & { readonly weight: Histogram['weight'] }
}

/** @throws Mistake naming `id` */
function wantedHistogram(id: MetricId): Histogram {
  const histogram = histogramOf(id)
  if (histogram) return histogram
  const known = (Object.keys(METRICS) as MetricId[]).filter(metric => histogramOf(metric))
  throw new Mistake('no_distribution', 'id', `${id} has no distribution; these have one: ${known.join(', ')}`)
}

/** @param most how many buckets at most; undefined: every one that cells keep */
export async function distribution(desk: Desk, wanted: Wanted, most: number | undefined): Promise<Counted<Bar>> {
  const { column, weight } = wantedHistogram(wanted.metric)
  const { subject, freshness } = await subjectOf(desk, wanted)
  const [[row], [behind], fresh] = await Promise.all([
    desk.ask(wholeQuestion(column, subject)),
    desk.ask(behindQuestion(subject)),
    freshness,
  ])
  const all: Counts = row?.counts ?? new Map()
  const data = bars(all, widthFor([...all.keys()], most))
  return { data, meta: { ...metaOf(wanted.metric, subject, fresh, behind), weight } }
}

/** Steps times buckets: more than a picture has room for. */
const HEATMAP_CELLS_MAX = 20_000

export interface Column {
  readonly t: string
  /** Empty where nothing is. The same edges in every step. */
  readonly buckets: Bar[]
}

/** Every step of the range; none if nothing lies in it. */
export async function heatmap(desk: Desk, wanted: Wanted, most: number): Promise<Counted<Column>> {
  const { column, weight } = wantedHistogram(wanted.metric)
  const { subject, freshness } = await subjectOf(desk, wanted)
  const { from, to, step_s = to - from } = subject.window
  const { first, count } = bucketStarts(from, to, step_s)
  if (count * most > HEATMAP_CELLS_MAX)
    throw new Mistake(
      'too_many_buckets',
      'step',
      `${count} steps of ${most} buckets are more than ${HEATMAP_CELLS_MAX}`,
    )
  const [rows, [behind], fresh] = await Promise.all([
    desk.ask(stepsQuestion(column, subject, step_s)),
    desk.ask(behindQuestion(subject)),
    freshness,
  ])
  const known = new Map(rows.map(row => [row.t, row.counts]))
  const width = widthFor([...new Set(rows.flatMap(row => [...row.counts.keys()]))], most)
  const data = Array.from({ length: rows.length === 0 ? 0 : count }, (_, i) => {
    const t = first + i * step_s
    return { t: iso(t * 1_000), buckets: bars(known.get(t) ?? new Map(), width) }
  })
  return { data, meta: { ...metaOf(wanted.metric, subject, fresh, behind), weight } }
}
