/**
 * Which share of frames took longer than a threshold the caller gives? From settled cells the threshold is moved to the nearest edge of
 * their logarithmic buckets, at most 1 % away, and the answer says to which; from events it is exact.
 */
import { z } from 'zod'
import { cellsFromEvents } from '../../ingest/store/cell-sql.ts'
import { BUCKET_GROWTH } from '../../ingest/store/cells.ts'
import { type Answer, type Desk, type Dimensions, type Meta, metaOf, named, subjectOf, type Wanted } from './answer.ts'
import { DIMENSIONS, type Dimension } from './filter.ts'
import type { Question } from './question.ts'
import { behindQuestion, cubed, grouping, keysOf, labels, labelsSql, paramsOf, type Subject } from './questions.ts'
import { groupedSql, moment } from './sql.ts'

/** The edge nearest to 1 is 1 itself, where "over" and "from … on" would differ; no other edge is a whole number. */
export const THRESHOLD_MIN_US = 2

interface Slower extends Dimensions {
  /** Percent of frames. */
  readonly value: number | null
  /** Frames. */
  readonly n: number
}

const row = z.object({ ...labels, frames: z.number(), slower: z.number(), groups_total: z.number() })

/** Frames in buckets above the edge growth^`edge`. */
const OVER_EDGE =
  'arraySum(arrayMap((b, n) -> if(b > {edge:UInt16}, n, 0), mapKeys(frame_time_buckets), mapValues(frame_time_buckets)))'
const OVER_EDGE_OF_FRAMES = { frames: 'frames', slower: OVER_EDGE }
const OVER_THRESHOLD = 'sum(arrayCount(x -> x > {threshold_us:UInt32}, frame_times))'

function countsSql(subject: Subject, by: readonly Dimension[]): string {
  if (subject.window.tier !== 'events')
    return groupedSql({ ...grouping(subject), keys: keysOf(by), values: OVER_EDGE_OF_FRAMES })
  const { sql, session_sql } = subject.condition
  const range = `t10 >= ${moment('from')} AND t10 < ${moment('to')}`
  const cells = cellsFromEvents(`${range} AND (${session_sql})`, [...DIMENSIONS, 'frames'], { slower: OVER_THRESHOLD })
  const keys = by.map(name => `${name} AS key_${name}`)
  const answered = [...by.map(name => `key_${name} AS ${name}`), 'm_frames AS frames', 'm_slower AS slower']
  const merged = [...keys, 'sum(frames) AS m_frames', 'sum(slower) AS m_slower']
  const groups = by.length > 0 ? `GROUP BY ${by.map(name => `key_${name}`).join(', ')}` : 'HAVING count() > 0'
  return `SELECT ${answered.join(', ')} FROM (SELECT ${merged.join(', ')} FROM (${cells}) WHERE ${sql} ${groups})`
}

const question = (
  subject: Subject,
  by: readonly Dimension[],
  limit: number,
  threshold: { readonly edge: number } | { readonly threshold_us: number },
): Question<z.infer<typeof row>> => ({
  id: 'slower_than',
  sql: `SELECT ${labelsSql(by)}, frames, slower, count() OVER () AS groups_total FROM (${countsSql(subject, by)})
ORDER BY frames = 0, slower / frames DESC, frames DESC, labels LIMIT {limit:UInt32}`,
  params: { ...paramsOf(subject), ...threshold, limit },
  row,
})

export interface SlowerThan extends Answer<Slower> {
  readonly meta: Meta & { readonly threshold_us: number; readonly threshold_exact: boolean }
}

/** One value for the range, or one per value of the dimensions, the worst first. */
export async function slowerThan(
  desk: Desk,
  wanted: Omit<Wanted, 'metric'>,
  threshold_us: number,
  by: readonly Dimension[],
  limit: number,
): Promise<SlowerThan> {
  const { subject, freshness } = await subjectOf(desk, wanted)
  const exact = subject.window.tier === 'events'
  const asked = cubed(subject, by, Object.values(OVER_EDGE_OF_FRAMES))
  const edge = Math.round(Math.log(threshold_us) / Math.log(BUCKET_GROWTH))
  const [rows, [behind], fresh] = await Promise.all([
    desk.ask(question(asked, by, limit, exact ? { threshold_us } : { edge })),
    desk.ask(behindQuestion(subject)),
    freshness,
  ])
  const data = rows.map(({ frames, slower, ...row }) => ({
    ...named(by, row.labels),
    value: frames === 0 ? null : (100 * slower) / frames,
    n: frames,
  }))
  const used = { threshold_us: exact ? threshold_us : BUCKET_GROWTH ** edge, threshold_exact: exact }
  const groups = by.length > 0 ? { groups_total: rows[0]?.groups_total ?? 0 } : {}
  return { data, meta: { ...metaOf(null, subject, fresh, behind), unit: 'pct', ...groups, ...used } }
}
