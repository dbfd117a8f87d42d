/**
 * Every metric straight from the events, by the words of its definition, in plain TypeScript: what each tier has to answer.
 * Nothing here is shared with the SQL but the opinion score's formula, which has vectors of its own.
 */
import { type BitrateEvent, type QualityEvent, STAGES } from '../../ingest/contract/events.ts'
import { type Classes, DEFAULT_CLASSES } from '../../ingest/store/experience/g1072.ts'
import { scoreCell } from '../../ingest/store/experience/score.ts'
import type { MetricId } from '../../query/metrics/catalogue.ts'

/** An event as it was stored. */
export interface Stored {
  readonly event: QualityEvent
  readonly at_ms: number
  readonly appended_at_ms: number
  readonly clock_shift_ms: number
}

export interface Given {
  /** Seconds the answer covers. */
  readonly covered_s: number
  /** Percentiles of however few values. */
  readonly one_session?: boolean
  readonly classesOf?: (game: string) => Classes
}

export type Scores = Record<MetricId, number | null>
type Maybe = number | null

const TEN_SECONDS_MS = 10_000

export const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)
const ratio = (a: number, b: number): Maybe => (b === 0 ? null : a / b)
const pct = (a: number, b: number): Maybe => (b === 0 ? null : (100 * a) / b)
const known = <T>(values: readonly (T | undefined)[]): T[] =>
  values.flatMap(value => (value === undefined ? [] : [value]))

/** Hyndman & Fan, type 7. */
export function r7(values: readonly number[], p: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  const h = (sorted.length - 1) * p
  const below = sorted[Math.floor(h)] ?? Number.NaN
  return below + (h - Math.floor(h)) * ((sorted[Math.ceil(h)] ?? Number.NaN) - below)
}

export function grouped<T>(values: readonly T[], keyOf: (value: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const value of values) {
    const group = groups.get(keyOf(value))
    if (group) group.push(value)
    else groups.set(keyOf(value), [value])
  }
  return groups
}

export interface Frame {
  readonly us: number
  readonly fps: number
  readonly paused: boolean
}
/** Frames with what is known of each; the one that was open when a session ended is one of them. */
export function framesOf(events: readonly QualityEvent[]): Frame[] {
  return events.flatMap(event => {
    if (event.kind !== 'frame_times') return []
    const open = event.final && event.open_frame_us ? [event.open_frame_us] : []
    const paused = event.paused ?? false
    return [...event.frame_time_us, ...open].map(us => ({ us, fps: event.target_fps, paused }))
  })
}
const timeOf = (events: readonly QualityEvent[]): number => sum(framesOf(events).map(({ us }) => us))
const isFreeze = ({ us, fps, paused }: Frame): boolean => !paused && us >= 3e6 / fps && us >= 1e6 / fps + 150_000
const isStutter = (frame: Frame): boolean => 2 * frame.us * frame.fps > 5e6 + 2_000 * frame.fps && !isFreeze(frame)

/** The smallest value that `p` of the time does not exceed. */
function weighted(pairs: readonly (readonly [value: number, weight: number])[], p: number): number {
  const sorted = [...pairs].sort(([a], [b]) => a - b)
  const whole = sum(sorted.map(([, weight]) => weight))
  let covered = 0
  for (const [value, weight] of sorted) {
    covered += weight
    if (covered >= p * whole) return value
  }
  return Number.NaN
}

/** Frames of at least this make up `share` of the time. */
export function longestShare(frames: readonly number[], share: number): number {
  const whole = sum(frames)
  let reached = 0
  for (const us of [...frames].sort((a, b) => b - a)) {
    reached += us
    if (reached >= share * whole) return us
  }
  return Number.NaN
}

const bitratesOf = (events: readonly QualityEvent[]): BitrateEvent[] => events.filter(event => event.kind === 'bitrate')

/** The opinion score of one session's ten seconds, as a whole number of millionths, and its flags. */
function scored(events: readonly QualityEvent[], classesOf: (game: string) => Classes) {
  const rates = bitratesOf(events)
  const mean = (values: readonly number[]): Maybe => ratio(sum(values), values.length)
  const encoded = known(rates.map(event => event.encoded_fps))
  const targets = events.flatMap(event => (event.kind === 'frame_times' ? [event.target_fps] : []))
  const sized = rates.filter(event => event.width !== undefined && event.height !== undefined)
  const covered = sum(sized.map(event => event.interval_ms))
  const pixels = ratio(sum(sized.map(event => (event.width ?? 0) * (event.height ?? 0) * event.interval_ms)), covered)
  const games = known(events.map(event => event.context.game)).sort()
  const { mos, flags } = scoreCell(
    {
      frames: framesOf(events).length,
      frame_time_sum_us: timeOf(events),
      kbps: ratio(sum(rates.map(e => e.bitrate_kbps * e.interval_ms)), sum(rates.map(e => e.interval_ms))),
      fps: mean(encoded) ?? mean(targets),
      pixels: pixels === 0 ? null : pixels,
      rtt_us: mean(known(rates.map(event => event.rtt_us))),
    },
    classesOf(games.at(-1) ?? ''),
  )
  const millionths = mos === null ? null : Math.floor(mos * 1e6 + 0.5)
  return { millionths, flags, inside: mos !== null && flags.length === 0, outside: mos !== null && flags.length > 0 }
}
/** What stands for a hundredth in a percentile. */
const middle = (millionths: number): number => (Math.floor(millionths / 10_000) + 0.5) / 100

function cellsOf(stored: readonly Stored[]): Map<string, Stored[]> {
  return grouped(stored, ({ event, at_ms }) => `${Math.floor(at_ms / TEN_SECONDS_MS)} ${event.session_id}`)
}

function isGood(events: readonly QualityEvent[], insideScores: readonly number[]): boolean {
  const frames = framesOf(events)
  const time = timeOf(events)
  const freezes = frames.filter(isFreeze)
  const freeze_pct = (100 * sum(freezes.map(({ us }) => us))) / time
  const stutter_pct = (100 * sum(frames.filter(isStutter).map(({ us }) => us))) / time
  const score = insideScores.length === 0 || r7(insideScores.map(middle), 0.05) >= 3
  return (freeze_pct < 0.1 || freezes.length <= 1) && stutter_pct < 1 && score
}

/** @param stored everything Kafka delivered, resends included */
export function recomputed(stored: readonly Stored[], given: Given): Scores {
  const { covered_s, one_session = false, classesOf = () => DEFAULT_CLASSES } = given
  const distinct = [
    ...grouped(stored, ({ event, at_ms }) =>
      [Math.floor(at_ms / TEN_SECONDS_MS), event.session_id, event.source, event.seq].join(' '),
    ).values(),
  ].flatMap(same => same.slice(0, 1))
  const events = distinct.map(({ event }) => event)
  const enough = (n: number, p: number): boolean => n >= (one_session ? 1 : Math.round(10 / Math.min(p, 1 - p)))
  const percentile = (values: readonly number[], p: number): Maybe => (enough(values.length, p) ? r7(values, p) : null)
  const percentileOfTime = (pairs: readonly (readonly [number, number])[], p: number): Maybe =>
    enough(pairs.length, p) ? weighted(pairs, p) : null

  const frames = framesOf(events)
  const late = frames.filter(({ us, fps }) => 2 * us * fps > 3e6 + 2_000 * fps)
  const freezes = frames.filter(isFreeze)
  const stutters = frames.filter(isStutter)
  const frame_us = frames.map(({ us }) => us)
  const time = sum(frame_us)
  const minutes = time / 60e6
  const telling = events.filter(event => event.kind === 'frame_times')
  const steps = telling.flatMap(event => {
    const of = framesOf([event]).map(({ us }) => us)
    return of.slice(1).map((us, i) => Math.abs(us - (of[i] ?? 0)))
  })
  const generating = telling.filter(event => event.frames_generated !== undefined)
  const generatingFrames = framesOf(generating).length
  const generated = sum(generating.map(event => Math.min(event.frames_generated ?? 0, framesOf([event]).length)))
  const dropping = telling.filter(event => event.frames_dropped !== undefined)
  const dropped = sum(dropping.map(event => event.frames_dropped ?? 0))
  const perFrame = (of: (event: (typeof telling)[number]) => number | undefined): Maybe => {
    const telling_it = telling.filter(event => of(event) !== undefined)
    return ratio(sum(telling_it.map(event => (of(event) ?? 0) * framesOf([event]).length)), framesOf(telling_it).length)
  }
  const [host, encode, network, jitter_buffer, decode, present] = STAGES.map(stage =>
    perFrame(event => event.stage_us?.[stage]),
  )

  const rates = bitratesOf(events)
  const bits = sum(rates.map(event => event.bitrate_kbps * event.interval_ms))
  const covered_ms = sum(rates.map(event => event.interval_ms))
  const targeted = rates.filter(event => event.target_bitrate_kbps !== undefined)
  const received = rates.map(event => [event.bitrate_kbps, event.interval_ms] as const)
  const available = rates.flatMap(({ available_kbps, interval_ms }) =>
    available_kbps === undefined ? [] : [[available_kbps, interval_ms] as const],
  )
  const switching = rates.filter(event => event.rung_switches !== undefined)
  const counted = rates.filter(event => event.packets_lost !== undefined && event.packets_received !== undefined)
  const lost = sum(counted.map(event => event.packets_lost ?? 0))
  const rtts = known(rates.map(event => event.rtt_us))
  const jitters = known(rates.map(event => event.jitter_us))

  const cells = [...cellsOf(distinct).values()].map(cell => ({
    session_id: cell[0]?.event.session_id ?? '',
    ...scored(
      cell.map(({ event }) => event),
      classesOf,
    ),
  }))
  const inside = cells.flatMap(({ inside, millionths }) => (inside && millionths !== null ? [millionths] : []))

  const sessions = [...grouped(events, ({ session_id }) => session_id).entries()].map(([id, said]) => {
    const states = said.flatMap(event => (event.kind === 'session' ? [event.state] : []))
    const scores = cells.flatMap(cell =>
      cell.session_id === id && cell.inside && cell.millionths !== null ? [cell.millionths] : [],
    )
    const started = states.includes('first_frame') || framesOf(said).length > 0
    const reasons = said.flatMap(event => (event.kind === 'session' ? known([event.end_reason]) : []))
    return {
      judged: timeOf(said) >= 60e6,
      good: timeOf(said) >= 60e6 && isGood(said, scores),
      decided: states.includes('connecting') && (started || states.includes('ended')),
      failed: states.includes('connecting') && !started && states.includes('ended'),
      // Of several reasons the one named later counts, as for any text of a cell.
      end: reasons.sort().at(-1) ?? 'unknown',
    }
  })
  const having = (test: (session: (typeof sessions)[number]) => boolean): number => sessions.filter(test).length
  const startups = known(events.map(event => (event.kind === 'session' ? event.startup_ms : undefined)))
  const perMoment = [...grouped([...cellsOf(distinct).keys()], key => key.split(' ')[0] ?? '').values()]

  const seqs = [...grouped(events, ({ session_id, source }) => session_id + source).values()].map(group =>
    group.map(({ seq }) => seq),
  )
  const p99 = percentile(frame_us, 0.99)
  const low1 = enough(frame_us.length, 0.99) ? longestShare(frame_us, 0.01) : null
  const orNull = (n: number): Maybe => (n === 0 ? null : n)

  return {
    fps_avg: ratio(1e6 * frames.length, time),
    fps_rendered_avg: ratio(1e6 * (generatingFrames - generated), timeOf(generating)),
    frame_time_p50_us: percentile(frame_us, 0.5),
    frame_time_p90_us: percentile(frame_us, 0.9),
    frame_time_p95_us: percentile(frame_us, 0.95),
    frame_time_p99_us: p99,
    frame_time_p999_us: percentile(frame_us, 0.999),
    frame_time_max_us: frame_us.length === 0 ? null : frame_us.reduce((a, b) => Math.max(a, b)),
    fps_p1: p99 === null ? null : 1e6 / p99,
    fps_low1: low1 === null ? null : 1e6 / low1,
    frame_jitter_us: ratio(sum(steps), steps.length),
    late_frame_pct: pct(late.length, frames.length),
    stutters_per_minute: ratio(stutters.length, minutes),
    stutter_time_pct: pct(sum(stutters.map(({ us }) => us)), time),
    freezes_per_minute: ratio(freezes.length, minutes),
    freeze_time_pct: pct(sum(freezes.map(({ us }) => us)), time),
    frames_dropped_pct: pct(dropped, dropped + framesOf(dropping).length),
    frames_generated_pct: pct(generated, generatingFrames),
    stage_host_us: host ?? null,
    stage_encode_us: encode ?? null,
    stage_network_us: network ?? null,
    stage_jitter_buffer_us: jitter_buffer ?? null,
    stage_decode_us: decode ?? null,
    stage_present_us: present ?? null,
    input_latency_us: perFrame(event => event.input_latency_us),

    bitrate_avg_kbps: ratio(bits, covered_ms),
    bitrate_p5_kbps: percentileOfTime(received, 0.05),
    bitrate_p50_kbps: percentileOfTime(received, 0.5),
    bitrate_p95_kbps: percentileOfTime(received, 0.95),
    bitrate_utilisation_pct: pct(
      sum(targeted.map(e => e.bitrate_kbps * e.interval_ms)),
      sum(targeted.map(e => (e.target_bitrate_kbps ?? 0) * e.interval_ms)),
    ),
    available_p5_kbps: percentileOfTime(available, 0.05),
    available_p50_kbps: percentileOfTime(available, 0.5),
    data_gb_per_hour: ratio(bits / 8e9, covered_ms / 3_600_000),
    rung_switches_per_minute: ratio(
      sum(switching.map(event => event.rung_switches ?? 0)),
      sum(switching.map(event => event.interval_ms)) / 60_000,
    ),
    rung_time_share_pct: pct(
      sum(rates.filter(event => event.rung !== undefined).map(event => event.interval_ms)),
      covered_ms,
    ),
    rtt_p50_us: percentile(rtts, 0.5),
    rtt_p95_us: percentile(rtts, 0.95),
    jitter_p50_us: percentile(jitters, 0.5),
    jitter_p95_us: percentile(jitters, 0.95),
    packet_loss_pct: pct(lost, lost + sum(counted.map(event => event.packets_received ?? 0))),

    mos_avg: ratio(sum(inside) / 1e6, inside.length),
    mos_p5: percentile(
      inside.map(millionths => millionths / 1e6),
      0.05,
    ),
    mos_below_3_pct: pct(inside.filter(millionths => millionths < 3e6).length, inside.length),
    good_session_pct: pct(
      having(({ good }) => good),
      having(({ judged }) => judged),
    ),
    start_failure_pct: pct(
      having(({ failed }) => failed),
      having(({ decided }) => decided),
    ),
    startup_p50_ms: percentile(startups, 0.5),
    startup_p95_ms: percentile(startups, 0.95),
    unexpected_end_pct: pct(
      having(({ end }) => !['user_quit', 'unknown'].includes(end)),
      having(({ end }) => end !== 'unknown'),
    ),
    sessions: orNull(sessions.length),
    concurrent_sessions: cells.length === 0 ? null : (10 * cells.length) / covered_s,
    concurrent_sessions_max: cells.length === 0 ? null : Math.max(...perMoment.map(keys => keys.length)),
    session_minutes: frames.length === 0 ? null : minutes,
    completeness_pct: pct(
      sum(seqs.map(group => new Set(group).size)),
      sum(seqs.map(group => Math.max(...group) - Math.min(...group) + 1)),
    ),
    resent_pct: pct(stored.length - distinct.length, stored.length),
    late_event_pct: pct(
      distinct.filter(({ appended_at_ms, at_ms }) => appended_at_ms - at_ms > 60_000).length,
      distinct.length,
    ),
    clock_shifted_pct: pct(distinct.filter(({ clock_shift_ms }) => clock_shift_ms !== 0).length, distinct.length),
  }
}
