/**
 * A session second by second from its raw events, each counted once: what it was like, and what happened. Read by the primary key.
 * An event belongs wholly to the second of its `at`, as it does to the cell of it.
 */
import { z } from 'zod'
import { END_REASONS, SESSION_STATES, SOURCES } from '../../ingest/contract/events.ts'
import { eachEventOnce } from '../../ingest/store/cell-sql.ts'
import type { Question } from '../metrics/question.ts'
import type { Window } from '../metrics/range.ts'
import { moment } from '../metrics/sql.ts'
import type { BadFrame } from './episodes.ts'

/** What is read of an event. */
const COLUMNS = [
  ...['kind', 'source', 'seq', 'at'],
  ...['target_fps', 'frame_time_us', 'open_frame_us', 'final', 'paused'],
  ...[
    'interval_ms',
    'bitrate_kbps',
    'target_bitrate_kbps',
    'available_kbps',
    'rtt_us',
    'jitter_us',
    'packets_received',
    'packets_lost',
    'rung',
  ],
  ...['state', 'startup_ms', 'end_reason'],
]

const happening = z
  .tuple([
    z.number(),
    z.number(),
    z.enum(SOURCES),
    z.enum(['frame_times', 'bitrate', 'session']),
    z.number(),
    z.array(z.tuple([z.number(), z.number(), z.number()])),
    z.number(),
    z.string(),
    z.enum(['', ...SESSION_STATES]),
    z.number().nullable(),
    z.enum(['', ...END_REASONS]),
  ])
  .transform(([at_ms, seq, source, kind, frames_us, bad, frozen_us, rung, state, startup_ms, end_reason]) => ({
    ...{ at_ms, seq, source, kind },
    frames_us,
    /** Of each bad frame: where it ends, counted from `at_ms`, its length, and whether it is a freeze. */
    bad,
    /** A frame on the screen for so long that it is a freeze already; 0: none. */
    frozen_us,
    rung,
    state,
    startup_ms,
    end_reason,
  }))
/** One event, with as much of it as can be a happening. */
export type Happening = z.infer<typeof happening>
const HAPPENING = `(at_ms, seq, source, kind, arraySum(frame_times),
    arrayFilter(bad -> bad.2 > stutter_over_us OR bad.3, arrayMap((ends_us, x) -> (ends_us, x, x >= freeze_from_us), arrayCumSum(frame_times), frame_times)),
    if(NOT final AND ifNull(open_frame_us, 0) >= freeze_from_us, assumeNotNull(open_frame_us), 0),
    toString(rung), state, startup_ms, end_reason)`

const figure = z.number().nullable()
const secondRow = z.object({
  s: z.number(),
  frames: z.number(),
  fps: figure,
  frame_time_p95_us: figure,
  frame_time_max_us: figure,
  bitrate_kbps: figure,
  target_bitrate_kbps: figure,
  available_kbps: figure,
  rtt_us: figure,
  jitter_us: figure,
  packet_loss_pct: figure,
  happenings: z.array(happening),
})
export type SecondRow = z.infer<typeof secondRow>

/** Means are over the events that know; the percentile is exact. */
export const secondsQuestion = (id: string, { from, to }: Window): Question<SecondRow> => ({
  id: 'session_seconds',
  sql: `SELECT intDiv(at_ms, 1000) AS s,
  sum(length(times)) AS frames,
  1000000 * frames / nullIf(sum(arraySum(times)), 0) AS fps,
  if(frames = 0, NULL, quantileExactInclusiveArray(0.95)(times)) AS frame_time_p95_us,
  if(frames = 0, NULL, max(arrayMax(times))) AS frame_time_max_us,
  sumIf(toUInt64(rate) * covered_ms, is_rate) / nullIf(sumIf(covered_ms, is_rate), 0) AS bitrate_kbps,
  sumIf(toUInt64(assumeNotNull(target)) * covered_ms, isNotNull(target)) / nullIf(sumIf(covered_ms, isNotNull(target)), 0) AS target_bitrate_kbps,
  avg(available) AS available_kbps, avg(rtt) AS rtt_us, avg(jitter) AS jitter_us,
  100 * sumIf(lost, isNotNull(received)) / nullIf(sumIf(lost + received, isNotNull(lost + received)), 0) AS packet_loss_pct,
  groupArray(happening) AS happenings
FROM (${eachEventOnce(
    COLUMNS,
    `toUnixTimestamp64Milli(at) AS at_ms, ${HAPPENING} AS happening,
    frame_times AS times, is_bitrate AS is_rate, bitrate_kbps AS rate, interval_ms AS covered_ms,
    target_bitrate_kbps AS target, available_kbps AS available, rtt_us AS rtt, jitter_us AS jitter, packets_lost AS lost, packets_received AS received`,
    `t10 >= ${moment('from')} AND t10 < ${moment('to')} AND session_id = {id:UUID}`,
  )})
GROUP BY s ORDER BY s`,
  params: { id, from, to },
  row: secondRow,
})

/** In the order of what they tell. */
export const happeningsOf = (seconds: readonly SecondRow[]): Happening[] =>
  seconds.flatMap(({ happenings }) => happenings.sort((a, b) => a.at_ms - b.at_ms || a.seq - b.seq))

/** @param happenings in their order */
export const lastRungOf = (happenings: readonly Happening[]): string | null =>
  happenings.findLast(({ rung }) => rung !== '')?.rung ?? null

/** @param happenings in their order */
export function badFramesOf(happenings: readonly Happening[]): BadFrame[] {
  const frameEvents = happenings.filter(({ kind }) => kind === 'frame_times')
  const ended = frameEvents.flatMap(({ at_ms, bad }) =>
    bad.map(([ends_us, frame_us, freeze]): BadFrame => {
      const begin_us = at_ms * 1_000 + ends_us - frame_us
      return { begin_us, frame_us, kind: freeze ? 'freeze' : 'stutter', open: false }
    }),
  )
  // Only of the last event: what an earlier one left open, a later one ends.
  const last = SOURCES.flatMap(source => frameEvents.findLast(event => event.source === source) ?? [])
  const open = last
    .filter(({ frozen_us }) => frozen_us > 0)
    .map(
      ({ at_ms, frames_us, frozen_us }): BadFrame => ({
        begin_us: at_ms * 1_000 + frames_us,
        frame_us: frozen_us,
        kind: 'freeze',
        open: true,
      }),
    )
  return [...ended, ...open]
}

interface RungChange {
  readonly kind: 'rung'
  readonly at_ms: number
  readonly before: string
  readonly rung: string
}
interface StateChange {
  readonly kind: 'state'
  readonly at_ms: number
  readonly state: (typeof SESSION_STATES)[number]
  readonly startup_ms: number | null
  readonly end_reason: (typeof END_REASONS)[number] | null
}
export type Mark = RungChange | StateChange

/** @param happenings in their order */
export function marksOf(happenings: readonly Happening[]): Mark[] {
  const rungs = new Map<string, string>()
  return happenings.flatMap((event): Mark[] => {
    const { at_ms, source, rung, state } = event
    if (state !== '') {
      const end_reason = event.end_reason === '' ? null : event.end_reason
      return [{ kind: 'state', at_ms, state, startup_ms: event.startup_ms, end_reason }]
    }
    if (rung === '') return []
    const before = rungs.get(source)
    rungs.set(source, rung)
    return before === undefined || before === rung ? [] : [{ kind: 'rung', at_ms, before, rung }]
  })
}
