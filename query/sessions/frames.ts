/**
 * Every frame of a session, event by event, as its client told them: what a page draws where a point a second hides what happened.
 * Rows are handed on while they come; the span is bounded, so that nobody reads a session of a day frame by frame.
 */
import { z } from 'zod'
import { eachEventOnce } from '../../ingest/store/cell-sql.ts'
import type { Desk } from '../metrics/answer.ts'
import { Mistake } from '../metrics/mistake.ts'
import type { Question } from '../metrics/question.ts'
import { bucketSeconds, rawWindow, type Window } from '../metrics/range.ts'
import { moment } from '../metrics/sql.ts'
import { lifeOf } from './life.ts'
import { type AskedPart, partOf } from './part.ts'

/** 216,000 frames at 60 fps. */
export const FRAMES_SPAN_MAX_S = 3_600
/** A range may grow by this where it is snapped to whole buckets. */
const SNAP_S = 2 * bucketSeconds('events')

const place = z.number()
const frameRow = z.object({
  at_ms: z.number(),
  source: z.string(),
  target_fps: z.number(),
  frame_time_us: z.array(z.number()),
  stutters: z.array(place),
  freezes: z.array(place),
})
/** One event. `stutters` and `freezes` are places in `frame_time_us`, from 0; the first frame begins at `at_ms`. */
export type FrameRow = z.infer<typeof frameRow>

const COLUMNS = ['kind', 'source', 'seq', 'at', 'target_fps', 'frame_time_us', 'open_frame_us', 'final', 'paused']
/** Places of the frames for which it holds. */
const places = (holds: string): string => `arrayFilter((i, x) -> ${holds}, arrayEnumerate(frame_times), frame_times)`

/** What a stutter and a freeze are is said once, where cells are defined. */
const framesQuestion = (id: string, { from, to }: Window): Question<FrameRow> => ({
  id: 'session_frames',
  sql: `SELECT at_ms, speaker AS source, fps AS target_fps, times AS frame_time_us,
  arrayMap(i -> i - 1, stutter_places) AS stutters, arrayMap(i -> i - 1, freeze_places) AS freezes
FROM (${eachEventOnce(
    COLUMNS,
    `toUnixTimestamp64Milli(at) AS at_ms, source AS speaker, seq AS place, fps, frame_times AS times,
    ${places('x > stutter_over_us AND x < freeze_from_us')} AS stutter_places, ${places('x >= freeze_from_us')} AS freeze_places`,
    `t10 >= ${moment('from')} AND t10 < ${moment('to')} AND session_id = {id:UUID} AND kind = 'frame_times'`,
  )})
WHERE notEmpty(times) ORDER BY at_ms, speaker, place`,
  params: { id, from, to },
  row: frameRow,
})

export interface Frames {
  readonly question: Question<FrameRow>
  /** What the range was snapped to. */
  readonly window: Window
}

/** @throws Mistake where nobody knows the session, or the range is none or too long */
export async function framesOf(desk: Desk, session_id: string, asked: AskedPart): Promise<Frames> {
  const life = await lifeOf(desk, session_id)
  if (!life) throw new Mistake('unknown_session', 'id', 'no event of such a session is known')
  const window = rawWindow(partOf(life, asked, desk.now()), desk.now())
  if (window.to - window.from > FRAMES_SPAN_MAX_S + SNAP_S)
    throw new Mistake('bad_range', 'from', `frames are given for at most ${FRAMES_SPAN_MAX_S / 60} minutes`)
  return { question: framesQuestion(session_id, window), window }
}
