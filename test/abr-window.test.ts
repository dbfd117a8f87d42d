/** A session's last ten seconds in memory: the numbers are the catalogue's, whatever order its events come in, and however many. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BitrateEvent, FrameTimesEvent } from '../ingest/contract/events.ts'
import { stateOf } from '../query/abr/live.ts'
import { type Figures, LiveWindow } from '../query/abr/window.ts'
import type { MetricId } from '../query/metrics/catalogue.ts'
import { eventOf } from './support/events.ts'
import { deliveredOf, session } from './support/players.ts'
import { recomputed, type Stored } from './support/recompute.ts'
import { shuffled } from './support/shuffled.ts'

const FROM = 1_700_000_000_000
const WINDOW_MS = 10_000

function windowOf(stored: readonly Pick<Stored, 'event' | 'at_ms'>[]): LiveWindow {
  const window = new LiveWindow()
  for (const { event, at_ms } of stored) window.add(event, at_ms)
  return window
}

/** Without what remembers more than the window on purpose. */
function ofTheWindow(figures: Figures): Partial<Figures> {
  const { available_ewma_3s_kbps, available_ewma_9s_kbps, available_error_max_5, ...rest } = figures
  return rest
}

const EXACT = [
  ...['bitrate_avg_kbps', 'packet_loss_pct', 'fps_avg', 'late_frame_pct', 'stutter_time_pct', 'freeze_time_pct'],
  ...['mos_avg', 'completeness_pct'],
] as const satisfies MetricId[]
const WITHIN_1_PCT = ['rtt_p50_us', 'jitter_p50_us', 'frame_time_p95_us'] as const satisfies MetricId[]

describe('the last ten seconds', () => {
  test('are what the catalogue says of the same events, each metric', () => {
    fc.assert(
      fc.property(session, fc.nat(), (player, seed) => {
        const stored = deliveredOf(player, FROM)
        const cell = Math.floor((stored.at(-1)?.at_ms ?? 0) / WINDOW_MS) - (seed % 3)
        const within = stored.filter(({ at_ms }) => Math.floor(at_ms / WINDOW_MS) === cell)
        fc.pre(within.length > 0)
        const window = windowOf(within)
        const told = stateOf(window.figures(), window.rung, within[0]?.event.context ?? {}, {})
        const expected = recomputed(within, { covered_s: 10, one_session: true })
        for (const id of EXACT) {
          if (expected[id] === null) expect(told[id], id).toBeNull()
          // Cells keep scores in millionths.
          else expect(told[id], id).toBeCloseTo(expected[id], id === 'mos_avg' ? 5 : 9)
        }
        for (const id of WITHIN_1_PCT) {
          if (expected[id] === null) expect(told[id], id).toBeNull()
          else expect(Math.abs((told[id] ?? Number.NaN) - expected[id]), id).toBeLessThanOrEqual(0.01 * expected[id])
        }
      }),
      { numRuns: 100 },
    )
  })

  test('are a function of the set of events: resent, out of order and long gone ones change nothing', () => {
    fc.assert(
      fc.property(session, fc.nat(), (player, seed) => {
        const stored = deliveredOf(player, FROM)
        const newest_ms = Math.max(...stored.map(({ at_ms }) => at_ms))
        const last = stored.filter(({ at_ms }) => at_ms > newest_ms - WINDOW_MS)
        const figures = ofTheWindow(windowOf(last).figures())
        expect(ofTheWindow(windowOf(shuffled([...stored, ...last], seed)).figures())).toEqual(figures)
      }),
      { numRuns: 100 },
    )
  })

  test('of nothing that was reported are unknown, not zero', () => {
    const { samples, completeness_pct, frames, frame_time_sum_us, ...rest } = new LiveWindow().figures()
    expect({ samples, completeness_pct, frames, frame_time_sum_us }).toEqual({
      ...{ samples: 0, completeness_pct: null, frames: 0, frame_time_sum_us: 0 },
    })
    expect(new Set(Object.values(rest))).toEqual(new Set([null]))
  })

  test('are bounded, whatever a stranger sends', () => {
    const window = new LiveWindow()
    const event = { ...(eventOf(1, 0, FROM) as FrameTimesEvent), frame_time_us: Array<number>(2_048).fill(1_000) }
    for (let seq = 0; seq < 2_000; seq++) window.add({ ...event, seq }, FROM + seq)
    const { frames, fps_avg, completeness_pct } = window.figures()
    expect(frames).toBeLessThanOrEqual(65_535)
    expect(frames).toBeGreaterThan(60_000)
    expect(fps_avg).toBe(1_000)
    expect(completeness_pct).toBe(100)
  })
})

describe('what the congestion controller has', () => {
  const said = (available_kbps: readonly number[], interval_ms = 1_000): LiveWindow =>
    windowOf(
      available_kbps.map((kbps, seq) => {
        const event = { ...(eventOf(1, 1, FROM) as BitrateEvent), seq, interval_ms, available_kbps: kbps }
        return { event, at_ms: FROM + seq * interval_ms }
      }),
    )

  test('is told as last, harmonic mean and deviation of the window', () => {
    const { available_last_kbps, available_harmonic_mean_kbps, available_stdev_kbps } = said([4_000, 12_000]).figures()
    expect(available_last_kbps).toBe(12_000)
    expect(available_harmonic_mean_kbps).toBeCloseTo(6_000, 9)
    expect(available_stdev_kbps).toBe(4_000)
  })

  test('is believed half after 3 s, and half after 9 s, of another rate', () => {
    const long = Array<number>(200).fill(10_000)
    const { available_ewma_3s_kbps: fast, available_ewma_9s_kbps: slow } = said([...long, ...[0, 0, 0]]).figures()
    expect(fast).toBeCloseTo(5_000, 0)
    expect(slow).toBeCloseTo(10_000 * 0.5 ** (3 / 9), 0)
  })

  test('and the greatest error that the harmonic mean of those before would have made', () => {
    expect(said([8_000, 8_000, 8_000]).figures().available_error_max_5).toBe(0)
    expect(said([8_000, 8_000, 4_000, 4_000]).figures().available_error_max_5).toBe(1)
    expect(said([8_000]).figures().available_error_max_5).toBeNull()
  })
})
