/**
 * One session: who it was, how it began and ended, and every metric of the catalogue over all of it. Percentiles of few values are
 * given here: one session is all there is.
 */
import { z } from 'zod'
import { END_REASONS, SESSION_STATES } from '../../ingest/contract/events.ts'
import { EVENT_KINDS } from '../../ingest/store/cells.ts'
import { TIERS } from '../../ingest/store/settle.ts'
import { type Answer, cutOf, type Desk, freshOf, metaOf, settledOf } from '../metrics/answer.ts'
import { ANSWER_TIERS, type AnswerTier, METRIC_IDS, type MetricId } from '../metrics/catalogue.ts'
import { conditionOf, DIMENSIONS, type Dimension } from '../metrics/filter.ts'
import { Mistake } from '../metrics/mistake.ts'
import type { Question } from '../metrics/question.ts'
import { BEHIND_SQL, behind, everyMetricSql, paramsOf, type Subject } from '../metrics/questions.ts'
import { bucketSeconds, iso, type Window } from '../metrics/range.ts'
import { groupedSql, moment } from '../metrics/sql.ts'
import { UNEXPECTED_ENDS } from '../metrics/verdicts.ts'

/** What deserves a look. */
export const FLAGS = ['no_frames', 'no_bitrate', 'incomplete', 'clock_shifted', 'silent', 'unexpected_end'] as const
export type Flag = (typeof FLAGS)[number]

type State = (typeof SESSION_STATES)[number]
type EndReason = (typeof END_REASONS)[number]

export interface Summary {
  readonly session_id: string
  readonly context: Record<Dimension, string | null>
  readonly started_at: string
  /** Begin of the last event. */
  readonly last_seen_at: string
  /** What the session said last of itself; null if it never did. */
  readonly state: State | null
  readonly end_reason: EndReason | null
  readonly startup_ms: number | null
  readonly metrics: Record<MetricId, number | null>
  readonly flags: Flag[]
}

/** A session this young may have no cell yet. */
const UNSETTLED_S = 120
const FINE_SPAN_MAX_S = 20 * 60
const MINUTE_SPAN_MAX_S = 4 * 3_600
/** No word for this long, and no `ended`. */
const SILENT_MS = 60_000
const COMPLETE_ENOUGH_PCT = 99
const UNEXPECTED: readonly (string | null)[] = UNEXPECTED_ENDS

export const spanRow = z.object({ tier: z.enum(ANSWER_TIERS), first: z.number(), last: z.number() })

/** Where each tier has the session: first and last bucket, in epoch seconds. The tables of cells index session ids. */
export function spanQuestion(id: string, now_ms: number): Question<z.infer<typeof spanRow>> {
  const of = (tier: AnswerTier, table: string, column: string, and: string): string =>
    `SELECT '${tier}' AS tier, toUnixTimestamp(min(${column})) AS first, toUnixTimestamp(max(${column})) AS last
     FROM ${table} WHERE session_id = {id:UUID} AND ${and} HAVING count() > 0`
  return {
    id: 'session_span',
    sql: [
      of('10s', TIERS['10s'].table, 't', '1'),
      of('minute', TIERS.minute.table, 't', '1'),
      of('hour', TIERS.hour.table, 't', '1'),
      of('events', 'events_v1', 't10', `t10 >= ${moment('recent')} AND kind IN ${EVENT_KINDS}`),
    ].join(' UNION ALL '),
    params: { id, recent: Math.floor(now_ms / 1_000) - UNSETTLED_S },
    row: spanRow,
  }
}

const known = z.string().transform(text => (text === '' ? null : text))
const endReason = z.enum(['', ...END_REASONS]).transform(text => (text === '' ? null : text))

const qualityRow = z.object({
  ...behind,
  context: z.array(known),
  known_startup_ms: z.number().nullable(),
  known_end_reason: endReason,
  metrics: z.array(z.number().nullable()),
})

/** Everything that its cells know. */
const qualityQuestion = (subject: Subject): Question<z.infer<typeof qualityRow>> => ({
  id: 'session_quality',
  sql: groupedSql({
    tier: subject.window.tier,
    where: subject.condition,
    keys: {},
    values: {
      ...BEHIND_SQL,
      context: `[${DIMENSIONS.map(name => `toString(${name})`).join(', ')}]`,
      known_startup_ms: 'startup_ms',
      known_end_reason: 'toString(end_reason)',
      metrics: everyMetricSql(true, subject.window.tier),
    },
  }),
  params: paramsOf(subject),
  row: qualityRow,
})

const storyRow = z.object({
  events: z.number(),
  first_ms: z.number(),
  last_ms: z.number(),
  state: z.enum(['', ...SESSION_STATES]).transform(text => (text === '' ? null : text)),
  clock_shifted: z.number(),
})

/** What only its events know, as long as they are kept. */
const storyQuestion = ({ window, condition, cut }: Subject): Question<z.infer<typeof storyRow>> => ({
  id: 'session_story',
  sql: `SELECT count() AS events, toUnixTimestamp64Milli(min(at)) AS first_ms, toUnixTimestamp64Milli(max(at)) AS last_ms,
  argMaxIf(state, (at, seq), kind = 'session') AS state, max(clock_shift_ms != 0) AS clock_shifted
FROM events_v1
WHERE t10 >= ${moment('from')} AND t10 < ${moment('to')} AND kind IN ${EVENT_KINDS} AND ${condition.session_sql}
HAVING count() > 0`,
  params: paramsOf({ window, condition, cut }),
  row: storyRow,
})

/** @throws Mistake where no tier has the session */
export async function summarise(desk: Desk, session_id: string): Promise<Answer<Summary>> {
  const now_ms = desk.now()
  const spans = await desk.ask(spanQuestion(session_id, now_ms))
  const window = windowOf(spans, now_ms)
  if (!window) throw new Mistake('unknown_session', 'id', 'no event of such a session is known')
  const condition = conditionOf([{ dimension: 'session_id', value: session_id, exclude: false }])
  const settled = await settledOf(desk, window)
  const subject: Subject = { window, cut: cutOf(window, settled), condition }
  const [[quality], [story], fresh] = await Promise.all([
    desk.ask(qualityQuestion(subject)),
    desk.ask(storyQuestion(subject)),
    freshOf(desk, window, settled),
  ])
  if (!quality) throw new Mistake('unknown_session', 'id', 'no event of such a session is known')
  const { first_ms, last_ms } = story ?? boundsOf(spans, window)
  const state = story?.state ?? (quality.known_end_reason === null ? null : 'ended')
  const metrics = Object.fromEntries(METRIC_IDS.map((id, i) => [id, quality.metrics[i] ?? null])) as Summary['metrics']
  const summary: Summary = {
    session_id,
    context: Object.fromEntries(DIMENSIONS.map((name, i) => [name, quality.context[i] ?? null])) as Summary['context'],
    started_at: iso(first_ms),
    last_seen_at: iso(last_ms),
    state,
    end_reason: quality.known_end_reason,
    startup_ms: quality.known_startup_ms,
    metrics,
    flags: flagsOf({
      no_frames: metrics.fps_avg === null,
      no_bitrate: metrics.bitrate_avg_kbps === null,
      incomplete: (metrics.completeness_pct ?? 0) < COMPLETE_ENOUGH_PCT,
      clock_shifted: (story?.clock_shifted ?? 0) > 0,
      silent: state !== 'ended' && now_ms - last_ms > SILENT_MS,
      unexpected_end: UNEXPECTED.includes(quality.known_end_reason),
    }),
  }
  return { data: [summary], meta: metaOf(null, { window }, fresh, quality) }
}

const flagsOf = (raised: Record<Flag, boolean>): Flag[] => FLAGS.filter(flag => raised[flag])

type Span = z.infer<typeof spanRow>

/** Without events: as near as the finest cells tell that reach as far. */
function boundsOf(spans: readonly Span[], { from, to, tier }: Window): { first_ms: number; last_ms: number } {
  const bucket_s = bucketSeconds(tier)
  const near = (t: number, edge: number): boolean => t >= edge && t < edge + bucket_s
  const cells = spans.filter(span => span.tier !== 'events')
  const first = Math.max(...cells.map(span => span.first).filter(t => near(t, from)), from)
  const last = Math.max(...cells.map(span => span.last).filter(t => near(t, to - bucket_s)), to - bucket_s)
  return { first_ms: first * 1_000, last_ms: last * 1_000 }
}

/**
 * Ten-second cells of a short session; minutes of a long one, which are a sixth of the reading and the same numbers, hours of a very
 * long one; the coarser as well of one whose finer cells have begun to go by retention; events only while there is no cell.
 */
function windowOf(spans: readonly Span[], now_ms: number): Window | undefined {
  const [fine, minute, hour, events] = (['10s', 'minute', 'hour', 'events'] as const).map(t =>
    spans.find(({ tier }) => tier === t),
  )
  const short = (span: Span | undefined, most_s: number, coarser: Span | undefined): Span | undefined => {
    const whole = span && !(coarser && coarser.first + bucketSeconds(coarser.tier) <= span.first)
    return whole && span.last - span.first <= most_s ? span : undefined
  }
  const chosen =
    short(fine, FINE_SPAN_MAX_S, minute) ?? short(minute, MINUTE_SPAN_MAX_S, hour) ?? hour ?? minute ?? fine ?? events
  if (!chosen) return undefined
  const bucket_s = bucketSeconds(chosen.tier)
  const snap = (t: number): number => Math.floor(t / bucket_s) * bucket_s
  // A coarser tier may be behind at either end.
  const cells = [chosen, fine, minute].filter(span => span !== undefined)
  return {
    from: snap(Math.min(...cells.map(span => span.first))),
    to: snap(Math.max(...cells.map(span => span.last))) + bucket_s,
    tier: chosen.tier,
    step_s: undefined,
    now_ms,
  }
}
