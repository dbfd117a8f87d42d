/**
 * The last ten seconds of one session, event by event, and what they say. The rules are those of a cell (`ingest/store/cells.ts`) and of
 * the metric catalogue, said once more in TypeScript because nothing here may wait for the store; a test holds the two to one answer.
 * Each event counts once (speaker and `seq`), belongs to the window by its `at`, and the window ends with the newest of them. Sums and
 * the histogram follow the events as they come and go, so that a figure costs the same however many frames there are.
 */
import type { BitrateEvent, FrameTimesEvent, QualityEvent } from '../../ingest/contract/events.ts'
import { BUCKET_GROWTH } from '../../ingest/store/cells.ts'
import { STATE_WINDOW_S } from './state.ts'

const WINDOW_MS = STATE_WINDOW_S * 1_000
const HALF_LIVES_S = [3, 9] as const
const FORETOLD_BY = 5
/** What a stranger may make us keep of one session: of more, the oldest go first. The second is what a bucket can count. */
const EVENTS_MAX = 256
const FRAMES_MAX = 65_535

const LN_GROWTH = Math.log(BUCKET_GROWTH)
/** As `bucketSql` has it. */
const bucketOf = (us: number): number => (us === 0 ? 0 : 1 + Math.floor(Math.log(us) / LN_GROWTH))
const BUCKETS = bucketOf(2 ** 32) + 1

/** What an event is counted as, instead of itself: a window of frames is a tenth of the size. */
interface Counted {
  readonly at_ms: number
  readonly source: string
  readonly seq: number
  readonly frames: Frames | undefined
  readonly interval: Interval | undefined
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
  readonly open_us: number | undefined
}

/** What is told of a bitrate event, and how wrong the harmonic mean of the estimates before was about this one. */
type Interval = Pick<
  BitrateEvent,
  | 'interval_ms'
  | 'bitrate_kbps'
  | 'target_bitrate_kbps'
  | 'available_kbps'
  | 'rtt_us'
  | 'jitter_us'
  | 'packets_received'
  | 'packets_lost'
  | 'width'
  | 'height'
  | 'encoded_fps'
> & { readonly error: number | null }

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
  /** Length of the last interval: how often it speaks. */
  'period_ms',
  // What the opinion score stands on: it is computed when somebody asks, for fifty times as many windows change.
  'frames',
  'frame_time_sum_us',
  'expected_fps',
  'pixels',
  'rtt_avg_us',
] as const
export type Figures = Readonly<Record<(typeof FIGURES)[number], number | null>>

export class LiveWindow {
  /** In the order of their time. */
  readonly #events: Counted[] = []
  #newest_ms = Number.NEGATIVE_INFINITY
  /** Exponentially weighted sums of the estimate and of its weights, by half-life: as Shaka does, so that the first seconds are no zero. */
  readonly #ewma = HALF_LIVES_S.map(() => ({ sum: 0, weight: 0 }))
  #ewma_until_ms = Number.NEGATIVE_INFINITY
  readonly #histogram = new Uint16Array(BUCKETS)
  #frames = 0
  #time_us = 0
  #late = 0
  #stutter_us = 0
  #freeze_us = 0
  /** The ladder step the last bitrate event named. */
  rung: string | null = null

  /** False: it was counted before, or lies before the window. */
  add(event: QualityEvent, at_ms: number): boolean {
    const { source, seq } = event
    if (at_ms <= this.#newest_ms - WINDOW_MS) return false
    if (this.#events.some(counted => counted.seq === seq && counted.source === source)) return false
    const frames = event.kind === 'frame_times' ? framesOf(event) : undefined
    const interval = event.kind === 'bitrate' ? this.#intervalOf(event, at_ms) : undefined
    const behind = this.#events.findLastIndex(counted => counted.at_ms <= at_ms) + 1
    this.#events.splice(behind, 0, { at_ms, source, seq, frames, interval })
    if (frames) this.#count(frames, 1)
    this.#newest_ms = Math.max(this.#newest_ms, at_ms)
    this.#forget()
    return true
  }

  #forget(): void {
    const since_ms = this.#newest_ms - WINDOW_MS
    for (;;) {
      const [oldest] = this.#events
      const over = this.#events.length > EVENTS_MAX || this.#frames > FRAMES_MAX
      if (!oldest || (oldest.at_ms > since_ms && !over)) return
      this.#events.shift()
      if (oldest.frames) this.#count(oldest.frames, -1)
    }
  }

  #count({ buckets, sum_us, late, stutter_us, freeze_us }: Frames, times: 1 | -1): void {
    for (const bucket of buckets) this.#histogram[bucket] = (this.#histogram[bucket] ?? 0) + times
    this.#frames += times * buckets.length
    this.#time_us += times * sum_us
    this.#late += times * late
    this.#stutter_us += times * stutter_us
    this.#freeze_us += times * freeze_us
  }

  #intervalOf(event: BitrateEvent, at_ms: number): Interval {
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
    const foretold = harmonicMean(
      known(this.#intervals().map(({ available_kbps }) => available_kbps)).slice(-FORETOLD_BY),
    )
    const error = foretold === null || !available_kbps ? null : Math.abs(foretold - available_kbps) / available_kbps
    const { bitrate_kbps, target_bitrate_kbps, rtt_us, jitter_us, packets_received, packets_lost } = event
    const { width, height, encoded_fps } = event
    // Not the event itself, which would keep its context and its text alive.
    return {
      ...{ interval_ms, bitrate_kbps, target_bitrate_kbps, available_kbps, rtt_us, jitter_us },
      ...{ packets_received, packets_lost, width, height, encoded_fps, error },
    } as Interval
  }

  #intervals(): Interval[] {
    return this.#events.flatMap(({ interval }) => interval ?? [])
  }

  figures(): Figures {
    const intervals = this.#intervals()
    const frames = this.#events.flatMap(({ frames }) => frames ?? [])
    const available = known(intervals.map(({ available_kbps }) => available_kbps))
    const mean = meanOf(available)
    const rtts = known(intervals.map(({ rtt_us }) => rtt_us))
    const lossy = intervals.filter(i => i.packets_lost !== undefined && i.packets_received !== undefined)
    const lost = sum(lossy.map(i => i.packets_lost ?? 0))
    const errors = known(intervals.slice(-FORETOLD_BY).map(({ error }) => error))
    const [ewma_3s, ewma_9s] = this.#ewma.map(({ sum, weight }) => ratio(sum, weight))
    return {
      samples: intervals.length,
      completeness_pct: this.#completeness(),
      bitrate_avg_kbps: ratio(
        sum(intervals.map(i => i.bitrate_kbps * i.interval_ms)),
        sum(intervals.map(i => i.interval_ms)),
      ),
      target_bitrate_kbps: intervals.findLast(i => i.target_bitrate_kbps !== undefined)?.target_bitrate_kbps ?? null,
      available_last_kbps: available.at(-1) ?? null,
      available_harmonic_mean_kbps: harmonicMean(available),
      available_ewma_3s_kbps: available.length > 0 ? (ewma_3s ?? null) : null,
      available_ewma_9s_kbps: available.length > 0 ? (ewma_9s ?? null) : null,
      available_stdev_kbps:
        mean === null ? null : Math.sqrt(sum(available.map(kbps => (kbps - mean) ** 2)) / available.length),
      available_error_max_5: errors.length > 0 ? Math.max(...errors) : null,
      rtt_p50_us: middle(rtts),
      jitter_p50_us: middle(known(intervals.map(({ jitter_us }) => jitter_us))),
      packet_loss_pct: ratio(lost, lost + sum(lossy.map(i => i.packets_received ?? 0)), 100),
      fps_avg: ratio(this.#frames, this.#time_us, 1e6),
      frame_time_p95_us: this.#frameTime(0.95, frames),
      late_frame_pct: ratio(this.#late, this.#frames, 100),
      stutter_time_pct: ratio(this.#stutter_us, this.#time_us, 100),
      freeze_time_pct: ratio(this.#freeze_us, this.#time_us, 100),
      open_frame_us: frames.at(-1)?.open_us ?? null,
      period_ms: intervals.at(-1)?.interval_ms ?? null,
      frames: this.#frames,
      frame_time_sum_us: this.#time_us,
      expected_fps: meanOf(known(intervals.map(i => i.encoded_fps))) ?? meanOf(frames.map(f => f.target_fps)),
      pixels: pixelsOf(intervals),
      rtt_avg_us: meanOf(rtts),
    }
  }

  #completeness(): number | null {
    const spans = new Map<string, { min: number; max: number }>()
    for (const { source, seq } of this.#events) {
      const span = spans.get(source)
      if (!span) spans.set(source, { min: seq, max: seq })
      else if (seq < span.min) span.min = seq
      else if (seq > span.max) span.max = seq
    }
    let expected = 0
    for (const { min, max } of spans.values()) expected += max - min + 1
    return ratio(this.#events.length, expected, 100)
  }

  /** As `percentileSql` reads it: from bucket counts, with the geometric middle of a bucket for its values, between the least and the greatest. */
  #frameTime(p: number, frames: readonly Frames[]): number | null {
    if (this.#frames === 0) return null
    const [least, greatest] = [Math.min(...frames.map(f => f.min_us)), Math.max(...frames.map(f => f.max_us))]
    const ranked = (rank: number): number => {
      let from = this.#frames
      // From the top: that is where a high percentile is.
      for (let bucket = bucketOf(greatest); bucket > 0; bucket--) {
        from -= this.#histogram[bucket] ?? 0
        if (from <= rank) return Math.max(least, Math.min(greatest, BUCKET_GROWTH ** (bucket - 0.5)))
      }
      return least
    }
    const h = (this.#frames - 1) * p
    const below = ranked(Math.floor(h))
    return below + (h - Math.floor(h)) * (ranked(Math.ceil(h)) - below)
  }
}

export function framesOf(event: FrameTimesEvent): Frames {
  const { target_fps: fps, frame_time_us, open_frame_us, paused, final } = event
  const late_over = Math.floor((3_000_000 + 2_000 * fps) / (2 * fps))
  const stutter_over = Math.floor((5_000_000 + 2_000 * fps) / (2 * fps))
  const freeze_from = paused
    ? Number.POSITIVE_INFINITY
    : Math.max(Math.ceil(3_000_000 / fps), Math.ceil(1_000_000 / fps) + 150_000)
  const all = final && open_frame_us ? [...frame_time_us, open_frame_us] : frame_time_us
  const buckets = new Uint16Array(all.length)
  const counted = { sum_us: 0, min_us: Number.POSITIVE_INFINITY, max_us: 0, late: 0, stutter_us: 0, freeze_us: 0 }
  for (const [i, us] of all.entries()) {
    buckets[i] = bucketOf(us)
    counted.sum_us += us
    if (us < counted.min_us) counted.min_us = us
    if (us > counted.max_us) counted.max_us = us
    if (us <= late_over) continue
    counted.late++
    if (us >= freeze_from) counted.freeze_us += us
    else if (us > stutter_over) counted.stutter_us += us
  }
  return { ...counted, target_fps: fps, buckets, open_us: open_frame_us }
}

const known = <T>(values: readonly (T | null | undefined)[]): T[] => values.filter((v): v is T => v != null)
const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)
const ratio = (a: number, b: number, factor = 1): number | null => (b === 0 ? null : (factor * a) / b)
const meanOf = (values: readonly number[]): number | null => ratio(sum(values), values.length)

function harmonicMean(values: readonly number[]): number | null {
  if (values.length === 0) return null
  return values.includes(0) ? 0 : values.length / sum(values.map(value => 1 / value))
}

/** Hyndman & Fan's type 7. */
function middle(values: readonly number[]): number | null {
  const sorted = [...values].sort((a, b) => a - b)
  const h = (sorted.length - 1) / 2
  const [below, above] = [sorted[Math.floor(h)], sorted[Math.ceil(h)]]
  return below === undefined || above === undefined ? null : below + (h - Math.floor(h)) * (above - below)
}

function pixelsOf(intervals: readonly Interval[]): number | null {
  const sized = intervals.filter(({ width, height }) => width !== undefined && height !== undefined)
  const pixels = sum(sized.map(i => (i.width ?? 0) * (i.height ?? 0) * i.interval_ms))
  return ratio(pixels, sum(sized.map(i => i.interval_ms))) || null
}
