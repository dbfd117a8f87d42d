/**
 * One session: who it was, how it began and ended, and every metric of the catalogue over all of it. Percentiles of few values are
 * given here: one session is all there is.
 */
import { z } from 'zod'
import { END_REASONS, SESSION_STATES } from '../../ingest/contract/events.ts'
import { EVENT_KINDS } from '../../ingest/store/cells.ts'
import type { Retention } from '../../ingest/store/migrate.ts'
import { type Answer, cutOf, type Desk, freshOf, metaOf, settledOf } from '../metrics/answer.ts'
import type { AnswerTier, MetricId } from '../metrics/catalogue.ts'
import { conditionOf, DIMENSIONS, type Dimension } from '../metrics/filter.ts'
import { Mistake } from '../metrics/mistake.ts'
import type { Question } from '../metrics/question.ts'
import {
  asOne,
  BEHIND_SQL,
  behind,
  cellsBehind,
  everyMetricSql,
  grouping,
  paramsOf,
  type Subject,
} from '../metrics/questions.ts'
import { bucketSeconds, isForgotten, iso, snapped, type Window } from '../metrics/range.ts'
import { groupedSql, moment, wholeSessionSql } from '../metrics/sql.ts'
import { UNEXPECTED_ENDS } from '../metrics/verdicts.ts'
import { type Life, lifeOf, wholeQuestion } from './life.ts'
import { FAMILIES_SQL, familyValues, OTHER_IDS } from './percentiles.ts'

/** What deserves a look. */
export const FLAGS = ['no_frames', 'no_bitrate', 'incomplete', 'clock_shifted', 'silent', 'unexpected_end'] as const
type Flag = (typeof FLAGS)[number]

type State = (typeof SESSION_STATES)[number]
type EndReason = (typeof END_REASONS)[number]

export interface Summary {
  readonly session_id: string
  readonly context: Record<Dimension, string | null>
  readonly started_at: string
  /** Begin of the last event. */
  readonly last_seen_at: string
  /** How far the session said it got; null if it never did. */
  readonly state: State | null
  readonly end_reason: EndReason | null
  readonly startup_ms: number | null
  readonly metrics: Record<MetricId, number | null>
  readonly flags: Flag[]
}

const FINE_SPAN_MAX_S = 20 * 60
const MINUTE_SPAN_MAX_S = 4 * 3_600
/** No word for this long, and no `ended`. */
const SILENT_MS = 60_000
const COMPLETE_ENOUGH_PCT = 99
const UNEXPECTED: readonly (string | null)[] = UNEXPECTED_ENDS

const known = z.string().transform(text => (text === '' ? null : text))
const endReason = z.enum(['', ...END_REASONS]).transform(text => (text === '' ? null : text))

/** Of one session: its row, where that knows all of it, else the cells of the tier that fits. */
type Told = Subject & { readonly whole: boolean }
function toldSql(
  told: Told,
  values: Record<string, string>,
): Pick<Question<unknown>, 'sql' | 'params' | 'reads_little'> {
  if (told.whole)
    return { sql: wholeSessionSql({ where: told.condition, values }), params: paramsOf(told), reads_little: true }
  const subject = asOne(told)
  return { sql: groupedSql({ ...grouping(subject), keys: {}, values }), params: paramsOf(subject) }
}

const percentilesRow = z.object({ percentiles: z.array(z.array(z.number().nullable())) })
/** Apart from the other metrics: most of what they cost is reading their text, and there is more than one core. */
const percentilesQuestion = (told: Told): Question<z.infer<typeof percentilesRow>> => ({
  id: 'session_percentiles',
  ...toldSql(told, { percentiles: FAMILIES_SQL }),
  row: percentilesRow,
})

const qualityRow = z.object({
  ...behind,
  metrics: z.array(z.number().nullable()),
  context: z.array(known),
  known_startup_ms: z.number().nullable(),
  known_end_reason: endReason,
  state: z.enum(['', ...SESSION_STATES]).transform(text => (text === '' ? null : text)),
  clock_shifted: z.number(),
})

/** How far it said it got. */
const STATE = `multiIf(ends > 0, 'ended', first_frames > 0, 'first_frame', connects > 0, 'connecting', '')`

/** What else its cells know, beside the metrics that are no percentiles. */
const qualityQuestion = (told: Told): Question<z.infer<typeof qualityRow>> => ({
  id: 'session_quality',
  ...toldSql(told, {
    ...BEHIND_SQL,
    ...(told.whole ? {} : cellsBehind(told)),
    context: `[${DIMENSIONS.map(name => `toString(${name})`).join(', ')}]`,
    known_startup_ms: 'startup_ms',
    known_end_reason: 'toString(end_reason)',
    state: STATE,
    clock_shifted: 'clock_shifted_events',
    metrics: everyMetricSql(true, told.window.tier, OTHER_IDS),
  }),
  row: qualityRow,
})

const boundsRow = z.object({ first_ms: z.number(), last_ms: z.number() })

/** To the millisecond, as long as its first and last events are kept. */
const boundsQuestion = (id: string, { first, last }: Life): Question<z.infer<typeof boundsRow>> => ({
  id: 'session_bounds',
  sql: `SELECT toUnixTimestamp64Milli(min(at)) AS first_ms, toUnixTimestamp64Milli(max(at)) AS last_ms
FROM events_v1
WHERE t10 IN (${moment('first')}, ${moment('last')}) AND kind IN ${EVENT_KINDS} AND session_id = {id:UUID}
HAVING min(t10) = ${moment('first')} AND max(t10) = ${moment('last')}`,
  params: { id, first, last },
  row: boundsRow,
  reads_little: true,
})

/** @throws Mistake where no tier has the session */
export async function summarise(desk: Desk, session_id: string): Promise<Answer<Summary>> {
  const life = await lifeOf(desk, session_id)
  if (!life) throw new Mistake('unknown_session', 'id', 'no event of such a session is known')
  const condition = conditionOf([{ dimension: 'session_id', value: session_id, exclude: false }])
  const fitting = windowOf(life, desk.now(), desk.retention)
  const [settled, [row]] = await Promise.all([settledOf(desk, fitting), desk.ask(wholeQuestion(life))])
  const whole = row?.whole === 1 && isCoarse(fitting.tier)
  const window = whole ? { ...fitting, from: life.first, to: life.last + life.bucket_s } : fitting
  const told = { window, cut: cutOf(window, settled), condition, whole }
  const [[quality], [percentiles], [bounds], fresh] = await Promise.all([
    desk.ask(qualityQuestion(told)),
    desk.ask(percentilesQuestion(told)),
    desk.ask(boundsQuestion(session_id, life)),
    freshOf(desk, fitting, settled),
  ])
  if (!quality) throw new Mistake('unknown_session', 'id', 'no event of such a session is known')
  const { first_ms, last_ms } = bounds ?? { first_ms: life.first * 1_000, last_ms: life.last * 1_000 }
  const { state } = quality
  const metrics = Object.fromEntries([
    ...familyValues(percentiles?.percentiles ?? []),
    ...OTHER_IDS.map((id, i) => [id, quality.metrics[i] ?? null]),
  ]) as Summary['metrics']
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
      clock_shifted: quality.clock_shifted > 0,
      silent: state !== 'ended' && desk.now() - last_ms > SILENT_MS,
      unexpected_end: UNEXPECTED.includes(quality.known_end_reason),
    }),
  }
  const meta = metaOf(null, { window }, fresh, quality)
  return { data: [summary], meta: whole ? { ...meta, tier: 'session' } : meta }
}

const flagsOf = (raised: Record<Flag, boolean>): Flag[] => FLAGS.filter(flag => raised[flag])

const isCoarse = (tier: AnswerTier): boolean => tier === 'minute' || tier === 'hour'

/**
 * Ten-second cells of a short session; minutes of a long one, which are a sixth of the reading and the same numbers, hours of a very
 * long one; the coarser as well of one whose finer cells have begun to go by retention; events only while there is no cell.
 */
function windowOf({ first, last, bucket_s, settled }: Life, now_ms: number, retention: Retention): Window {
  const short = (tier: '10s' | 'minute', most_s: number): boolean =>
    bucket_s <= bucketSeconds(tier) && last - first <= most_s && !isForgotten(tier, first, now_ms / 1_000, retention)
  const fits = short('10s', FINE_SPAN_MAX_S) ? '10s' : short('minute', MINUTE_SPAN_MAX_S) ? 'minute' : 'hour'
  const tier = settled ? fits : 'events'
  const { from, to } = snapped(first, last + bucket_s, bucketSeconds(tier))
  return { from, to, tier, step_s: undefined, now_ms }
}
