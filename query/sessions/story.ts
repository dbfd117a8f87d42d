/**
 * A session second by second from its raw events, each counted once: what it was like, and what happened. Read by the primary key.
 * An event belongs wholly to the second of its `at`, as it does to the cell of it.
 */
import { z } from 'zod'
import { END_REASONS, SESSION_STATES, SOURCES } from '../../ingest/contract/events.ts'
import { eachEventOnce } from '../../ingest/store/cells.ts'
import type { Question } from '../metrics/question.ts'
import type { Window } from '../metrics/range.ts'
import { moment } from '../metrics/sql.ts'
import type { BadFrame } from './episodes.ts'

const OF_SESSION = `t10 >= ${moment('from')} AND t10 < ${moment('to')} AND session_id = {id:UUID}`
const paramsOf = (id: string, { from, to }: Window) => ({ id, from, to })

const figure = z.number().nullable()
const secondRow = z.object({
  s: z.number(),
  fps: figure,
  frame_time_p95_us: figure,
  frame_time_max_us: figure,
  bitrate_kbps: figure,
  available_kbps: figure,
  rtt_us: figure,
  jitter_us: figure,
  packet_loss_pct: figure,
  rung: z.string().transform(text => (text === '' ? null : text)),
})
export type SecondRow = z.infer<typeof secondRow>

/** Means are over the events that know; the percentile is exact. */
export const secondsQuestion = (id: string, window: Window): Question<SecondRow> => ({
  id: 'session_seconds',
  sql: `SELECT intDiv(at_ms, 1000) AS s,
  1000000 * sum(length(times)) / nullIf(sum(arraySum(times)), 0) AS fps,
  if(sum(length(times)) = 0, NULL, quantileExactInclusiveArray(0.95)(times)) AS frame_time_p95_us,
  if(sum(length(times)) = 0, NULL, max(arrayMax(times))) AS frame_time_max_us,
  sumIf(toUInt64(rate) * covered_ms, is_rate) / nullIf(sumIf(covered_ms, is_rate), 0) AS bitrate_kbps,
  avg(available) AS available_kbps, avg(rtt) AS rtt_us, avg(jitter) AS jitter_us,
  100 * sumIf(lost, isNotNull(received)) / nullIf(sumIf(lost + received, isNotNull(lost + received)), 0) AS packet_loss_pct,
  argMaxIf(step, (at_ms, seq), step != '') AS rung
FROM (${eachEventOnce(
    `toUnixTimestamp64Milli(at) AS at_ms, seq, frame_times AS times, is_bitrate AS is_rate, bitrate_kbps AS rate, interval_ms AS covered_ms,
    available_kbps AS available, rtt_us AS rtt, jitter_us AS jitter, packets_lost AS lost, packets_received AS received, toString(rung) AS step`,
    OF_SESSION,
  )})
GROUP BY s ORDER BY s`,
  params: paramsOf(id, window),
  row: secondRow,
})

const happeningRow = z.object({
  at_ms: z.number(),
  source: z.enum(SOURCES),
  kind: z.enum(['frame_times', 'bitrate', 'session']),
  frames_us: z.number(),
  /** Of each bad frame: where it ends, counted from `at`, its length, and whether it is a freeze. */
  bad: z.array(z.tuple([z.number(), z.number(), z.number()])),
  /** A frame on the screen for so long that it is a freeze already; 0: none. */
  frozen_us: z.number(),
  said_rung: z.string(),
  said_state: z.enum(['', ...SESSION_STATES]),
  said_startup_ms: z.number().nullable(),
  said_end_reason: z.enum(['', ...END_REASONS]),
})
export type HappeningRow = z.infer<typeof happeningRow>

/** Every event, in its order, with as much of it as can be a happening. */
export const happeningsQuestion = (id: string, window: Window): Question<HappeningRow> => ({
  id: 'session_happenings',
  sql: `${eachEventOnce(
    `toUnixTimestamp64Milli(at) AS at_ms, source, kind, arraySum(frame_times) AS frames_us,
  arrayFilter(bad -> bad.2 > stutter_over_us OR bad.3, arrayMap((ends_us, x) -> (ends_us, x, x >= freeze_from_us), arrayCumSum(frame_times), frame_times)) AS bad,
  if(NOT final AND ifNull(open_frame_us, 0) >= freeze_from_us, assumeNotNull(open_frame_us), 0) AS frozen_us,
  toString(rung) AS said_rung, state AS said_state, startup_ms AS said_startup_ms, end_reason AS said_end_reason`,
    OF_SESSION,
  )}
ORDER BY at, seq, source`,
  params: paramsOf(id, window),
  row: happeningRow,
})

/** @param happenings in their order */
export function badFramesOf(happenings: readonly HappeningRow[]): BadFrame[] {
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

export interface RungChange {
  readonly kind: 'rung'
  readonly at_ms: number
  readonly before: string
  readonly rung: string
}
export interface StateChange {
  readonly kind: 'state'
  readonly at_ms: number
  readonly state: (typeof SESSION_STATES)[number]
  readonly startup_ms: number | null
  readonly end_reason: (typeof END_REASONS)[number] | null
}
export type Mark = RungChange | StateChange

/** @param happenings in their order */
export function marksOf(happenings: readonly HappeningRow[]): Mark[] {
  const rungs = new Map<string, string>()
  return happenings.flatMap((event): Mark[] => {
    const { at_ms, source, said_rung: rung, said_state: state } = event
    if (state !== '') {
      const end_reason = event.said_end_reason === '' ? null : event.said_end_reason
      return [{ kind: 'state', at_ms, state, startup_ms: event.said_startup_ms, end_reason }]
    }
    if (rung === '') return []
    const before = rungs.get(source)
    rungs.set(source, rung)
    return before === undefined || before === rung ? [] : [{ kind: 'rung', at_ms, before, rung }]
  })
}
