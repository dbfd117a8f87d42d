/**
 * Sessions of a range: by filter and by what their metrics are, the worst or the newest first, page by page. A page begins behind the
 * last session of the one before (never at an offset), so each session comes once however many a page holds.
 * A session is what its cells in the range say of it; percentiles of few values are given: one session is all there is.
 */
import { z } from 'zod'
import { type Answer, type Desk, type Meta, metaOf, subjectOf, type Wanted } from '../metrics/answer.ts'
import { METRICS, type MetricId } from '../metrics/catalogue.ts'
import { DIMENSIONS, type Dimension } from '../metrics/filter.ts'
import type { Question } from '../metrics/question.ts'
import { behindQuestion, grouping, paramsOf, type Subject, valueSql } from '../metrics/questions.ts'
import { iso } from '../metrics/range.ts'
import { groupedSql } from '../metrics/sql.ts'
import type { MetricCondition } from './condition.ts'
import { type Cursor, nameOf, readCursor, writeCursor } from './cursor.ts'

/** What is told of every session, besides what it is chosen and ordered by. */
const TOLD = [
  'fps_avg',
  'frame_time_p99_us',
  'stutter_time_pct',
  'freeze_time_pct',
  'bitrate_avg_kbps',
  'packet_loss_pct',
] as const satisfies readonly MetricId[]

export const NEWEST = 'newest'
type SessionOrder = MetricId | typeof NEWEST

export interface ListedSession {
  readonly session_id: string
  readonly context: Record<Dimension, string | null>
  /** Begin of the first and of the last bucket of the tier, within the range, that has an event of it. */
  readonly first_seen_at: string
  readonly last_seen_at: string
  /** Σ frame time. */
  readonly played_s: number
  readonly metrics: Partial<Record<MetricId, number | null>>
}

export interface ListWanted extends Omit<Wanted, 'metric' | 'step'> {
  readonly where: readonly MetricCondition[]
  readonly order: SessionOrder
}

const known = z.string().transform(text => (text === '' ? null : text))
const row = z.object({
  session_id: z.string(),
  context: z.array(known),
  first_s: z.number(),
  last_s: z.number(),
  played_s: z.number(),
  metrics: z.array(z.number().nullable()),
  bits: z.string().nullable(),
  sessions_total: z.number(),
})
export type SessionRow = z.infer<typeof row>

/** The metrics of a listed session, in order. */
export const metricsOf = ({ where, order }: ListWanted): MetricId[] => [
  ...new Set([...(order === NEWEST ? [] : [order]), ...where.map(({ metric }) => metric), ...TOLD]),
]

/** @param after where the page before ended; `sessions_total` counts from there on */
export function listQuestion(
  wanted: ListWanted,
  subject: Subject,
  limit: number,
  after?: Cursor | undefined,
): Question<SessionRow> {
  const ids = metricsOf(wanted)
  const { order } = wanted
  const metric = (id: MetricId): string => `metrics[${ids.indexOf(id) + 1}]`
  const conditions = wanted.where.map(
    (condition, i) => `${metric(condition.metric)} ${condition.operator} {where_${i}:Float64}`,
  )
  const worstFirst = order !== NEWEST && METRICS[order].better === 'higher' ? 'ASC' : 'DESC'
  const sessions = groupedSql({
    ...grouping(subject),
    keys: { session_id: 'session_id' },
    values: {
      context: `[${DIMENSIONS.map(name => `toString(${name})`).join(', ')}]`,
      first_s: 'toUnixTimestamp(first_t)',
      last_s: 'toUnixTimestamp(last_t)',
      played_s: 'frame_time_sum_us / 1000000',
      metrics: `[${ids.map(id => `toFloat64(${valueSql(METRICS[id], true)})`).join(', ')}]`,
    },
  })
  return {
    id: 'sessions',
    sql: `SELECT session_id, context, first_s, last_s, played_s, metrics,
  toString(reinterpretAsUInt64(place)) AS bits, count() OVER () AS sessions_total
FROM (SELECT *, ${order === NEWEST ? 'toFloat64(first_s)' : metric(order)} AS place FROM (${sessions}))
WHERE ${[...conditions, ...(after ? [behindSql(after, worstFirst)] : [])].join(' AND ') || '1'}
ORDER BY isNull(place), place ${worstFirst}, session_id LIMIT {limit:UInt32}`,
    params: {
      ...paramsOf(subject),
      ...Object.fromEntries(wanted.where.map(({ value }, i) => [`where_${i}`, value])),
      ...(after ? { after_id: after.session_id } : {}),
      ...(after && after.bits !== null ? { after_bits: after.bits } : {}),
      limit,
    },
    row,
  }
}

/** Unknown values come last; equal ones by session id. */
function behindSql({ bits }: Cursor, worstFirst: 'ASC' | 'DESC'): string {
  const later = 'session_id > {after_id:UUID}'
  if (bits === null) return `isNull(place) AND ${later}`
  const place = 'reinterpretAsFloat64({after_bits:UInt64})'
  return `(isNull(place) OR place ${worstFirst === 'ASC' ? '>' : '<'} ${place} OR (place = ${place} AND ${later}))`
}

export interface SessionPage extends Answer<ListedSession> {
  readonly meta: Meta & { readonly next_cursor: string | null }
}

/** @param cursor `next_cursor` of the page before */
export async function listSessions(
  desk: Desk,
  wanted: ListWanted,
  limit: number,
  cursor: string | undefined,
): Promise<SessionPage> {
  const question = nameOf(wanted)
  const after = cursor === undefined ? undefined : readCursor(cursor, question)
  const { subject, freshness } = await subjectOf(desk, after ? { ...wanted, ...rangeOf(after) } : wanted)
  const [rows, [behind], fresh] = await Promise.all([
    desk.ask(listQuestion(wanted, subject, limit, after)),
    desk.ask(behindQuestion(subject)),
    freshness,
  ])
  const last = rows.at(-1)
  const { from, to, tier } = subject.window
  const next_cursor =
    last && last.sessions_total > rows.length
      ? writeCursor({ question, from, to, tier, bits: last.bits, session_id: last.session_id })
      : null
  const ids = metricsOf(wanted)
  return {
    data: rows.map(found => listed(found, ids)),
    meta: { ...metaOf(null, subject, fresh, behind), next_cursor },
  }
}

const rangeOf = ({ from, to, tier }: Cursor) => ({ from: { at_ms: from * 1_000 }, to: { at_ms: to * 1_000 }, tier })

export const listed = (found: SessionRow, ids: readonly MetricId[]): ListedSession => ({
  session_id: found.session_id,
  context: Object.fromEntries(
    DIMENSIONS.map((name, i) => [name, found.context[i] ?? null]),
  ) as ListedSession['context'],
  first_seen_at: iso(found.first_s * 1_000),
  last_seen_at: iso(found.last_s * 1_000),
  played_s: found.played_s,
  metrics: Object.fromEntries(ids.map((id, i) => [id, found.metrics[i] ?? null])),
})
