/**
 * The last ten seconds of one session, event by event, and what they say. The rules are those of a cell (`ingest/store/cells.ts`) and of
 * the metric catalogue, said once more in TypeScript because nothing here may wait for the store; a test holds the two to one answer.
 * Each event counts once (speaker and `seq`), an event belongs to the window by its `at`, and the window ends with the newest of them.
 */
import type { BitrateEvent, FrameTimesEvent, QualityEvent } from '../../ingest/contract/events.ts'
import { BUCKET_GROWTH } from '../../ingest/store/cells.ts'
import type { Classes } from '../../ingest/store/experience/g1072.ts'
import { scoreCell } from '../../ingest/store/experience/score.ts'
import { STATE_WINDOW_S } from './state.ts'

const WINDOW_MS = STATE_WINDOW_S * 1_000
const HALF_LIVES_S = [3, 9] as const
const FORETOLD_BY = 5

/** What an event is counted as, instead of itself: a window of frames is a tenth of the size. */
interface Counted {
  readonly at_ms: number
  readonly source: string
  readonly seq: number
  readonly frames?: Frames
  readonly bitrate?: Interval
}

interface Frames {
  readonly target_fps: number
  readonly buckets: Uint16Array
  readonly sum_us: number
  readonly min_us: number
  readonly max_us: number
  readonly late: number
  readonly stutter_us: number
  readonly freeze_us: number
  readonly open_us: number | null
}

interface Interval {
  readonly event: BitrateEvent
  /** How wrong the harmonic mean of the intervals before was about this one's estimate. */
  readonly error: number | null
}

const LN_GROWTH = Math.log(BUCKET_GROWTH)
const bucketOf = (us: number): number => (us === 0 ? 0 : 1 + Math.floor(Math.log(us) / LN_GROWTH))

function framesOf(event: FrameTimesEvent): Frames {
  const { target_fps: fps, frame_time_us, open_frame_us, paused } = event
  const late_over = Math.floor((3_000_000 + 2_000 * fps) / (2 * fps))
  const stutter_over = Math.floor((5_000_000 + 2_000 * fps) / (2 * fps))
  const freeze_from = paused
    ? Number.POSITIVE_INFINITY
    : Math.max(Math.ceil(3_000_000 / fps), Math.ceil(1_000_000 / fps) + 150_000)
  const all = event.final && (open_frame_us ?? 0) > 0 ? [...frame_time_us, open_frame_us ?? 0] : frame_time_us
  const buckets = new Uint16Array(all.length)
  const counted = { sum_us: 0, min_us: Number.POSITIVE_INFINITY, max_us: 0, late: 0, stutter_us: 0, freeze_us: 0 }
  all.forEach((us, i) => {
    buckets[i] = bucketOf(us)
    counted.sum_us += us
    counted.min_us = Math.min(counted.min_us, us)
    counted.max_us = Math.max(counted.max_us, us)
    if (us <= late_over) return
    counted.late++
    if (us >= freeze_from) counted.freeze_us += us
    else if (us > stutter_over) counted.stutter_us += us
  })
  return { ...counted, target_fps: fps, buckets, open_us: open_frame_us ?? null }
}

function harmonicMean(values: readonly number[]): number | null {
  if (values.length === 0) return null
  return values.includes(0) ? 0 : values.length / sum(values.map(value => 1 / value))
}
const ratio = (a: number, b: number, factor = 1): number | null => (b === 0 ? null : (factor * a) / b)
const known = <T>(values: readonly (T | null | undefined)[]): T[] => values.filter((v): v is T => v != null)
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)

/** Hyndman & Fan's type 7 over sorted values. */
function middle(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b)
  const h = (sorted.length - 1) / 2
  const [below, above] = [sorted[Math.floor(h)], sorted[Math.ceil(h)]]
  return below === undefined || above === undefined ? null : below + (h - Math.floor(h)) * (above - below)
}

/** What is told of a window, by name; the order is that of the wire between threads. Unknown is null. */
export const FIGURES = [
  'samples',
  'completeness_pct',
  'bitrate_avg_kbps',
  'target_bitrate_kbps',
  'available_last_kbps',
  'available_harmonic_mean_kbps',
  'available_ewma_3s_kbps',
  'available_ewma_9s_kbps',
  'available_stdev_kbps',
  'available_error_max_5',
  'rtt_p50_us',
  'jitter_p50_us',
  'packet_loss_pct',
  'fps_avg',
  'frame_time_p95_us',
  'late_frame_pct',
  'stutter_time_pct',
  'freeze_time_pct',
  'open_frame_us',
  'mos_avg',
] as const
export type Figures = Readonly<Record<(typeof FIGURES)[number], number | null>>

export class LiveWindow {
  #events: Counted[] = []
  #newest_ms = Number.NEGATIVE_INFINITY
  /** Exponentially weighted sums of the estimate and of its weights, by half-life: as Shaka does, so that the first seconds are no zero. */
  readonly #ewma = HALF_LIVES_S.map(() => ({ sum: 0, weight: 0 }))
  #ewma_until_ms = Number.NEGATIVE_INFINITY
  /** The ladder step the last bitrate event named. */
  rung: string | null = null

  /** False: it was counted before, or lies before the window. */
  add(event: QualityEvent, at_ms: number): boolean {
    const { source, seq } = event
    if (at_ms <= this.#newest_ms - WINDOW_MS) return false
    if (this.#events.some(counted => counted.seq === seq && counted.source === source)) return false
    const counted: Counted = { at_ms, source, seq }
    if (event.kind === 'frame_times') this.#events.push({ ...counted, frames: framesOf(event) })
    else if (event.kind === 'bitrate') this.#events.push({ ...counted, bitrate: this.#interval(event, at_ms) })
    else this.#events.push(counted)
    if (at_ms > this.#newest_ms) {
      this.#newest_ms = at_ms
      this.#events = this.#events.filter(({ at_ms }) => at_ms > this.#newest_ms - WINDOW_MS)
    }
    return true
  }

  #interval(event: BitrateEvent, at_ms: number): Interval {
    const { available_kbps, interval_ms } = event
    if (at_ms > this.#ewma_until_ms) {
      this.rung = event.rung ?? this.rung
      if (available_kbps !== undefined) {
        this.#ewma_until_ms = at_ms
        this.#ewma.forEach((mean, i) => {
          const kept = 0.5 ** (interval_ms / 1_000 / (HALF_LIVES_S[i] ?? 1))
          mean.sum = kept * mean.sum + (1 - kept) * available_kbps
          mean.weight = kept * mean.weight + (1 - kept)
        })
      }
    }
    const foretold = harmonicMean(known(this.#intervals().map(({ event }) => event.available_kbps)).slice(-FORETOLD_BY))
    const error = foretold === null || !available_kbps ? null : Math.abs(foretold - available_kbps) / available_kbps
    return { event, error }
  }

  /** In the order of their time. */
  #intervals(): Interval[] {
    return this.#events
      .filter(({ bitrate }) => bitrate)
      .sort((a, b) => a.at_ms - b.at_ms)
      .flatMap(({ bitrate }) => bitrate ?? [])
  }

  figures(classes: Classes): Figures {
    const intervals = this.#intervals()
    const bitrates = intervals.map(({ event }) => event)
    const frames = this.#events
      .filter(({ frames }) => frames)
      .sort((a, b) => a.at_ms - b.at_ms)
      .flatMap(({ frames }) => frames ?? [])
    const available = known(bitrates.map(({ available_kbps }) => available_kbps))
    const mean = ratio(sum(available), available.length)
    const of_ms = sum(bitrates.map(({ interval_ms }) => interval_ms))
    const bitrate_avg_kbps = ratio(sum(bitrates.map(b => b.bitrate_kbps * b.interval_ms)), of_ms)
    const lossy = bitrates.filter(b => b.packets_lost !== undefined && b.packets_received !== undefined)
    const lost = sum(lossy.map(b => b.packets_lost ?? 0))
    const count = sum(frames.map(({ buckets }) => buckets.length))
    const time_us = sum(frames.map(({ sum_us }) => sum_us))
    const errors = known(intervals.slice(-FORETOLD_BY).map(({ error }) => error))
    const [ewma_3s, ewma_9s] = this.#ewma.map(({ sum, weight }) => ratio(sum, weight))
    return {
      samples: intervals.length,
      completeness_pct: this.#completeness(),
      bitrate_avg_kbps,
      target_bitrate_kbps: bitrates.findLast(b => b.target_bitrate_kbps !== undefined)?.target_bitrate_kbps ?? null,
      available_last_kbps: available.at(-1) ?? null,
      available_harmonic_mean_kbps: harmonicMean(available),
      available_ewma_3s_kbps: available.length > 0 ? (ewma_3s ?? null) : null,
      available_ewma_9s_kbps: available.length > 0 ? (ewma_9s ?? null) : null,
      available_stdev_kbps:
        mean === null ? null : Math.sqrt(sum(available.map(kbps => (kbps - mean) ** 2)) / available.length),
      available_error_max_5: errors.length > 0 ? Math.max(...errors) : null,
      rtt_p50_us: middle(known(bitrates.map(({ rtt_us }) => rtt_us))),
      jitter_p50_us: middle(known(bitrates.map(({ jitter_us }) => jitter_us))),
      packet_loss_pct: ratio(lost, lost + sum(lossy.map(b => b.packets_received ?? 0)), 100),
      fps_avg: ratio(count, time_us, 1e6),
      frame_time_p95_us: percentile95(frames, count),
      late_frame_pct: ratio(sum(frames.map(({ late }) => late)), count, 100),
      stutter_time_pct: ratio(sum(frames.map(({ stutter_us }) => stutter_us)), time_us, 100),
      freeze_time_pct: ratio(sum(frames.map(({ freeze_us }) => freeze_us)), time_us, 100),
      open_frame_us: frames.at(-1)?.open_us ?? null,
      mos_avg: scoreCell(
        {
          frames: count,
          frame_time_sum_us: time_us,
          kbps: bitrate_avg_kbps,
          fps: meanOf(bitrates.map(b => b.encoded_fps)) ?? meanOf(frames.map(f => f.target_fps)),
          pixels: pixelsOf(bitrates),
          rtt_us: meanOf(bitrates.map(b => b.rtt_us)),
        },
        classes,
      ).mos,
    }
  }

  #completeness(): number | null {
    const bySource = new Map<string, number[]>()
    for (const { source, seq } of this.#events) bySource.set(source, [...(bySource.get(source) ?? []), seq])
    const expected = sum([...bySource.values()].map(seqs => Math.max(...seqs) - Math.min(...seqs) + 1))
    return ratio(this.#events.length, expected, 100)
  }
}

const meanOf = (values: readonly (number | undefined)[]): number | null =>
  ratio(sum(known(values)), known(values).length)

function pixelsOf(bitrates: readonly BitrateEvent[]): number | null {
  const sized = bitrates.filter(({ width, height }) => width !== undefined && height !== undefined)
  const of_ms = sum(sized.map(({ interval_ms }) => interval_ms))
  return ratio(sum(sized.map(b => (b.width ?? 0) * (b.height ?? 0) * b.interval_ms)), of_ms) || null
}

/** As `percentileSql` reads it: from bucket counts, with the geometric middle of a bucket for its values, between the least and the greatest. */
function percentile95(frames: readonly Frames[], count: number): number | null {
  if (count === 0) return null
  const counts = new Map<number, number>()
  for (const { buckets } of frames) for (const bucket of buckets) counts.set(bucket, (counts.get(bucket) ?? 0) + 1)
  const sorted = [...counts].sort(([a], [b]) => a - b)
  const [least, greatest] = [Math.min(...frames.map(f => f.min_us)), Math.max(...frames.map(f => f.max_us))]
  const ranked = (rank: number): number => {
    let below = 0
    for (const [bucket, n] of sorted) {
      below += n
      if (below > rank) return Math.max(least, Math.min(greatest, bucket === 0 ? 0 : BUCKET_GROWTH ** (bucket - 0.5)))
    }
    return greatest
  }
  const h = (count - 1) * 0.95
  const low = ranked(Math.floor(h))
  return low + (h - Math.floor(h)) * (ranked(Math.ceil(h)) - low)
}
