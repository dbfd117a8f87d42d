/** Players as fast-check makes them up: what they say of themselves, second by second, and how it reached Kafka. */
import fc from 'fast-check'
import type { QualityEvent } from '../../ingest/contract/events.ts'
import { chance } from '../../query/statistics/weights.ts'
import { sessionId } from './events.ts'
import type { Stored } from './recompute.ts'

const maybe = <T>(of: fc.Arbitrary<T>) => fc.option(of, { nil: undefined, freq: 3 })
export const uint = (max: number, min = 0) => fc.integer({ min, max })
const stage = maybe(uint(50_000))

/** A second of frames: even ones, some of them late, stuttering or frozen. */
const frames = fc
  .record({
    target_fps: fc.constantFrom(30, 60, 60, 120),
    n: uint(50),
    odd: fc.array(fc.tuple(uint(49), fc.oneof(uint(120_000, 20_000), uint(900_000, 1))), { maxLength: 2 }),
    open_frame_us: maybe(uint(2_000_000)),
    paused: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, { weight: 1, arbitrary: fc.constant(true) }),
    frames_dropped: maybe(uint(5)),
    frames_generated: maybe(uint(60)),
    stages: maybe(
      fc.record({ host: stage, encode: stage, network: stage, jitter_buffer: stage, decode: stage, present: stage }),
    ),
    input_latency_us: maybe(uint(200_000)),
  })
  .map(({ n, odd, stages, ...rest }) => {
    const frame_time_us = Array.from({ length: n }, (_, i) => 15_000 + ((i * 7_919) % 4_000))
    for (const [at, us] of odd) if (at < n) frame_time_us[at] = us
    const stage_us = stages && without(stages)
    return { kind: 'frame_times' as const, ...without(rest), frame_time_us, ...(stage_us ? { stage_us } : {}) }
  })

/** A second as it should be. */
const evenFrames = frames.map(second => ({
  ...second,
  target_fps: 60,
  frame_time_us: Array.from({ length: 60 }, (_, i) => 16_000 + ((i * 7_919) % 1_300)),
}))

const rate = fc
  .record({
    interval_ms: uint(2_000, 100),
    bitrate_kbps: fc.oneof(uint(40_000, 1_000), uint(100_000)),
    target_bitrate_kbps: maybe(uint(50_000)),
    available_kbps: maybe(uint(90_000)),
    rung: maybe(fc.constantFrom('1080p60-15m', '720p60-8m', "a'\\b")),
    rung_switches: maybe(uint(3)),
    size: maybe(fc.constantFrom([1_920, 1_080], [1_280, 720], [3_840, 2_160], [0, 0])),
    encoded_fps: maybe(fc.constantFrom(30, 58, 60, 62, 120)),
    rtt_us: maybe(fc.oneof(uint(80_000), uint(900_000))),
    jitter_us: maybe(uint(30_000)),
    packets_received: maybe(uint(2_000)),
    packets_lost: maybe(uint(50)),
  })
  .map(({ size, ...rest }) => ({
    kind: 'bitrate' as const,
    ...without(rest),
    ...(size ? { width: size[0] ?? 0, height: size[1] ?? 0 } : {}),
  }))

/** Absent is what is unknown. */
function without<T extends object>(fields: T): { [K in keyof T]: Exclude<T[K], undefined> } {
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => value !== undefined)) as {
    [K in keyof T]: Exclude<T[K], undefined>
  }
}

const lifecycle = fc.record({
  connecting: fc.boolean(),
  startup_ms: maybe(uint(9_000)),
  first_frame: fc.boolean(),
  ended: fc.boolean(),
  end_reason: maybe(fc.constantFrom('user_quit', 'network', 'host_failure', 'timeout', 'unknown')),
})
const played = fc.record({
  game: maybe(fc.constantFrom('chess', 'race')),
  lifecycle,
  seconds: fc.oneof(
    fc.constant([]),
    fc.array(fc.record({ frames: maybe(frames), rate: maybe(rate) }), { minLength: 2, maxLength: 12 }),
    fc.array(fc.record({ frames, rate: maybe(rate) }), { minLength: 60, maxLength: 110 }),
    fc.array(fc.record({ frames: evenFrames, rate: maybe(rate) }), { minLength: 75, maxLength: 90 }),
  ),
  /** How it reached Kafka: dice for what is lost, late, sent again, and by a clock that was wrong. */
  seed: uint(1_000_000),
})

/** Nothing was ever seen of it. */
const failed = played.map(one => ({
  ...one,
  lifecycle: { ...one.lifecycle, connecting: true, first_frame: false, ended: true },
  seconds: [],
}))
export const session = fc.oneof({ weight: 5, arbitrary: played }, { weight: 1, arbitrary: failed })

let sessions = 0
/** What Kafka delivered of a session that began at `from`, its own order. */
export function deliveredOf(
  { game, lifecycle, seconds, seed }: typeof session extends fc.Arbitrary<infer S> ? S : never,
  from: number,
): Stored[] {
  const dice = chance(seed)
  const session_id = sessionId(5_000 + sessions++)
  const context = game === undefined ? {} : { game }
  const clock_shift_ms = dice() < 0.2 ? 300_000 : 0
  const begun = from + Math.floor(dice() * 20_000)
  const drafts: [at_ms: number, draft: Partial<QualityEvent>][] = []
  if (lifecycle.connecting) drafts.push([begun, { kind: 'session', state: 'connecting' }])
  if (lifecycle.first_frame)
    drafts.push([
      begun + 900,
      { kind: 'session', state: 'first_frame', ...without({ startup_ms: lifecycle.startup_ms }) },
    ])
  for (const [i, second] of seconds.entries()) {
    const at_ms = begun + 1_000 * (i + 1)
    if (second.frames) drafts.push([at_ms, { ...second.frames, ...(i === seconds.length - 1 ? { final: true } : {}) }])
    if (second.rate) drafts.push([at_ms, second.rate])
  }
  const end_ms = begun + 1_000 * (seconds.length + 1)
  if (lifecycle.ended)
    drafts.push([end_ms, { kind: 'session', state: 'ended', ...without({ end_reason: lifecycle.end_reason }) }])
  return drafts.flatMap(([at_ms, draft], seq) => {
    if (dice() < 0.03) return []
    const started_at_ms = at_ms - clock_shift_ms
    const event = {
      v: 1,
      session_id,
      source: 'client',
      seq,
      started_at_ms,
      sent_at_ms: started_at_ms + 1_000,
      context,
      ...draft,
    }
    const appended_at_ms = at_ms + (dice() < 0.05 ? 60_000 + Math.floor(dice() * 3) : 1_000)
    return [{ event: event as QualityEvent, at_ms, appended_at_ms, clock_shift_ms }]
  })
}
