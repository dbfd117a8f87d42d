/**
 * One session over time. Up to half an hour comes from its raw events: a point a second, stutters and freezes as episodes, changes of
 * rung and of state as marks. A longer span, or one whose events are gone, comes from its cells: fewer points, and nothing is known
 * of what happened between them.
 */
import { z } from 'zod'
import { type Answer, cutOf, type Desk, freshOf, metaOf, subjectOf } from '../metrics/answer.ts'
import { METRICS, type MetricId } from '../metrics/catalogue.ts'
import { conditionOf, type Filter } from '../metrics/filter.ts'
import { NOT_SETTLED } from '../metrics/freshness.ts'
import { Mistake } from '../metrics/mistake.ts'
import type { Question } from '../metrics/question.ts'
import { behindQuestion, grouping, paramsOf, STEP, type Subject, valueSql } from '../metrics/questions.ts'
import { bucketSeconds, bucketStarts, iso, rawWindow, type Window } from '../metrics/range.ts'
import { groupedSql } from '../metrics/sql.ts'
import { type BadKind, episodesOf } from './episodes.ts'
import { lifeOf } from './life.ts'
import { type AskedPart, partOf } from './part.ts'
import { badFramesOf, happeningsOf, lastRungOf, type Mark, marksOf, secondsQuestion } from './story.ts'

/** What a point tells beside its time, and which metric says it where cells answer. */
const FROM_CELLS = {
  fps: 'fps_avg',
  frame_time_p95_us: 'frame_time_p95_us',
  frame_time_max_us: 'frame_time_max_us',
  bitrate_kbps: 'bitrate_avg_kbps',
  /** Cells know the target's bits, but not how long it was told. */
  target_bitrate_kbps: undefined,
  available_kbps: 'available_p50_kbps',
  rtt_us: 'rtt_p50_us',
  jitter_us: 'jitter_p50_us',
  packet_loss_pct: 'packet_loss_pct',
} as const satisfies Record<string, MetricId | undefined>
export type Figure = keyof typeof FROM_CELLS
export const FIGURES = Object.keys(FROM_CELLS) as Figure[]

interface Point extends Readonly<Record<Figure, number | null>> {
  readonly t: string
  readonly rung: string | null
}

interface TimelineEpisode {
  readonly kind: BadKind
  readonly from: string
  /** Null while its last frame is still on the screen. */
  readonly to: string | null
  readonly longest_frame_us: number
  readonly frames: number
}

type Dated<M> = M extends Mark ? Omit<M, 'at_ms'> & { readonly at: string } : never
type TimelineMark = Dated<Mark>

export interface Timeline {
  /** One for each step of the range. */
  readonly points: Point[]
  /** Null: not known, since cells answer. */
  readonly episodes: TimelineEpisode[] | null
  readonly marks: TimelineMark[] | null
}

/** A point a second is then what a page can draw and the store reads at once. */
export const RAW_SPAN_MAX_S = 30 * 60
/** A range may grow by this where it is snapped to whole buckets. */
const SNAP_S = 2 * bucketSeconds('events')
const DAY_S = 86_400

/** @throws Mistake where no tier has the session, or the range is none */
export async function timeline(desk: Desk, session_id: string, asked: AskedPart): Promise<Answer<Timeline>> {
  const life = await lifeOf(desk, session_id)
  if (!life) throw new Mistake('unknown_session', 'id', 'no event of such a session is known')
  const { from, to } = partOf(life, asked, desk.now())
  const window = rawWindow({ from, to }, desk.now())
  const filters: Filter[] = [{ dimension: 'session_id', value: session_id, exclude: false }]
  const kept = window.from >= desk.now() / 1_000 - desk.retention.raw_days * DAY_S
  return kept && window.to - window.from <= RAW_SPAN_MAX_S + SNAP_S
    ? fromEvents(desk, session_id, { ...window, step_s: 1 }, filters)
    : fromCells(desk, { from, to, step: 'auto', filters })
}

async function fromEvents(desk: Desk, id: string, window: Window, filters: Filter[]): Promise<Answer<Timeline>> {
  const subject: Subject = { window, cut: cutOf(window, NOT_SETTLED), condition: conditionOf(filters) }
  const [seconds, [settled], fresh] = await Promise.all([
    desk.ask(secondsQuestion(id, window)),
    // How complete it is needs no look at single events: cells know it, but for the last seconds.
    desk.ask(behindQuestion({ ...subject, window: { ...window, tier: '10s' } })),
    freshOf(desk, window, NOT_SETTLED),
  ])
  const happenings = happeningsOf(seconds)
  const episodes = episodesOf(badFramesOf(happenings)).map(({ begin_us, end_us, ...rest }) => ({
    ...rest,
    from: isoOfUs(begin_us),
    to: end_us === null ? null : isoOfUs(end_us),
  }))
  const marks = marksOf(happenings).map(({ at_ms, ...mark }): TimelineMark => ({ ...mark, at: iso(at_ms) }))
  const known = seconds.map(({ s, frames, happenings, ...figures }) => {
    return [s, { ...figures, rung: lastRungOf(happenings) }] as const
  })
  const points = everyStep(window, 1, new Map(known))
  const behind = {
    sessions: seconds.length > 0 ? 1 : 0,
    frames: seconds.reduce((all, { frames }) => all + frames, 0),
    cells: new Set(seconds.map(({ s }) => Math.floor(s / bucketSeconds('events')))).size,
    completeness_pct: settled?.completeness_pct ?? null,
  }
  return { data: [{ points, episodes, marks }], meta: metaOf(null, subject, fresh, behind) }
}

const isoOfUs = (epoch_us: number): string => iso(Math.floor(epoch_us / 1_000))

const stepRow = z.object({ t: z.number(), figures: z.array(z.number().nullable()) })

const stepsQuestion = (subject: Subject, step_s: number): Question<z.infer<typeof stepRow>> => ({
  id: 'session_steps',
  sql: groupedSql({
    ...grouping(subject),
    keys: { t: STEP },
    values: {
      figures: `[${Object.values(FROM_CELLS).map(metric => (metric === undefined ? 'NULL' : `toFloat64(${valueSql(METRICS[metric], true)})`))}]`,
    },
  }),
  params: { ...paramsOf(subject), step_s },
  row: stepRow,
})

async function fromCells(desk: Desk, wanted: Parameters<typeof subjectOf>[1]): Promise<Answer<Timeline>> {
  const { subject, freshness } = await subjectOf(desk, wanted)
  const { from, to, step_s = to - from } = subject.window
  const [rows, [behind], fresh] = await Promise.all([
    desk.ask(stepsQuestion(subject, step_s)),
    desk.ask(behindQuestion(subject)),
    freshness,
  ])
  const known = rows.map(({ t, figures }) => {
    const row = Object.fromEntries(FIGURES.map((figure, i) => [figure, figures[i] ?? null])) as Record<
      Figure,
      number | null
    >
    return [t, { ...row, rung: null }] as const
  })
  const points = everyStep(subject.window, step_s, new Map(known))
  return { data: [{ points, episodes: null, marks: null }], meta: metaOf(null, subject, fresh, behind) }
}

const UNKNOWN = {
  ...(Object.fromEntries(FIGURES.map(figure => [figure, null])) as Record<Figure, null>),
  rung: null,
}

function everyStep({ from, to }: Window, step_s: number, known: ReadonlyMap<number, Omit<Point, 't'>>): Point[] {
  const { first, count } = bucketStarts(from, to, step_s)
  return Array.from({ length: count }, (_, i) => {
    const t = first + i * step_s
    return { t: iso(t * 1_000), ...(known.get(t) ?? UNKNOWN) }
  })
}
