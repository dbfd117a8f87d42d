/**
 * The last ten seconds of one session, event by event, and what they say. The rules are those of a cell (`ingest/store/cells.ts`) and of
 * the metric catalogue, said once more in TypeScript because nothing here may wait for the store; a test holds the two to one answer.
 * Each event counts once (speaker and `seq`), belongs to the window by its `at`, and the window ends with the newest of them. Sums and
 * the histogram follow the events as they come and go, so that a figure costs the same however many frames there are.
 */
import { type BitrateEvent, type QualityEvent, SOURCES } from '../../ingest/contract/events.ts'
import { BUCKET_GROWTH } from '../../ingest/store/cells.ts'
import { BUCKETS, bucketOf, type Frames, framesOf } from './counted.ts'
import { STATE_WINDOW_S } from './state.ts'

const WINDOW_MS = STATE_WINDOW_S * 1_000
const HALF_LIVES_S = [3, 9] as const
const FORETOLD_BY = 5
/** What a stranger may make us keep of one session: of more, the oldest go first. The second is what a bucket can count. */
const EVENTS_MAX = 256
const FRAMES_MAX = 65_535

/** What an event is counted as, instead of itself: a window of frames is a tenth of the size. */
interface Counted {
  readonly at_ms: number
  readonly source: string
  readonly seq: number
  readonly frames: Frames | undefined
  readonly interval: Interval | undefined
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
    const before = this.#events.flatMap(({ interval }) => interval?.available_kbps ?? [])
    const foretold = harmonicMean(before.slice(-FORETOLD_BY))
    const error = foretold === null || !available_kbps ? null : Math.abs(foretold - available_kbps) / available_kbps
    const { bitrate_kbps, target_bitrate_kbps, rtt_us, jitter_us, packets_received, packets_lost } = event
    const { width, height, encoded_fps } = event
    // Not the event itself, which would keep its context and its text alive.
    return {
      ...{ interval_ms, bitrate_kbps, target_bitrate_kbps, available_kbps, rtt_us, jitter_us },
      ...{ packets_received, packets_lost, width, height, encoded_fps, error },
    } as Interval
  }

  /** One pass over some twenty events: this runs whenever any session says anything. */
  figures(): Figures {
    const sums = { ms: 0, kbit: 0, lost: 0, packets: 0, fps: 0, fps_n: 0, pixels: 0, pixels_ms: 0 }
    const target = { fps: 0, n: 0 }
    const [available, rtts, jitters, errors]: [number[], number[], number[], (number | null)[]] = [[], [], [], []]
    let [least_us, greatest_us] = [Number.POSITIVE_INFINITY, 0]
    let last: Interval | undefined
    let asked: number | undefined
    let newest: Frames | undefined
    for (const { frames, interval } of this.#events) {
      if (frames) {
        newest = frames
        target.fps += frames.target_fps
        target.n++
        if (frames.min_us < least_us) least_us = frames.min_us
        if (frames.max_us > greatest_us) greatest_us = frames.max_us
      }
      if (!interval) continue
      last = interval
      const { interval_ms, packets_lost, packets_received, width, height } = interval
      sums.ms += interval_ms
      sums.kbit += interval.bitrate_kbps * interval_ms
      asked = interval.target_bitrate_kbps ?? asked
      errors.push(interval.error)
      if (interval.available_kbps !== undefined) available.push(interval.available_kbps)
      if (interval.rtt_us !== undefined) rtts.push(interval.rtt_us)
      if (interval.jitter_us !== undefined) jitters.push(interval.jitter_us)
      if (packets_lost !== undefined && packets_received !== undefined) {
        sums.lost += packets_lost
        sums.packets += packets_lost + packets_received
      }
      if (interval.encoded_fps !== undefined) {
        sums.fps += interval.encoded_fps
        sums.fps_n++
      }
      if (width !== undefined && height !== undefined) {
        sums.pixels += width * height * interval_ms
        sums.pixels_ms += interval_ms
      }
    }
    const known_errors = errors.slice(-FORETOLD_BY).filter(error => error !== null)
    const [ewma_3s, ewma_9s] = this.#ewma.map(({ sum, weight }) => ratio(sum, weight))
    return {
      samples: errors.length,
      completeness_pct: this.#completeness(),
      bitrate_avg_kbps: ratio(sums.kbit, sums.ms),
      target_bitrate_kbps: asked ?? null,
      available_last_kbps: available.at(-1) ?? null,
      available_harmonic_mean_kbps: harmonicMean(available),
      available_ewma_3s_kbps: available.length > 0 ? (ewma_3s ?? null) : null,
      available_ewma_9s_kbps: available.length > 0 ? (ewma_9s ?? null) : null,
      available_stdev_kbps: deviation(available),
      available_error_max_5: known_errors.length > 0 ? Math.max(...known_errors) : null,
      rtt_p50_us: middle(rtts),
      jitter_p50_us: middle(jitters),
      packet_loss_pct: ratio(sums.lost, sums.packets, 100),
      fps_avg: ratio(this.#frames, this.#time_us, 1e6),
      frame_time_p95_us: this.#frameTime(0.95, least_us, greatest_us),
      late_frame_pct: ratio(this.#late, this.#frames, 100),
      stutter_time_pct: ratio(this.#stutter_us, this.#time_us, 100),
      freeze_time_pct: ratio(this.#freeze_us, this.#time_us, 100),
      open_frame_us: newest?.open_us ?? null,
      period_ms: last?.interval_ms ?? null,
      frames: this.#frames,
      frame_time_sum_us: this.#time_us,
      expected_fps: ratio(sums.fps, sums.fps_n) ?? ratio(target.fps, target.n),
      pixels: ratio(sums.pixels, sums.pixels_ms) || null,
      rtt_avg_us: ratio(sum(rtts), rtts.length),
    }
  }

  #completeness(): number | null {
    let expected = 0
    for (const speaker of SOURCES) {
      let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
      for (const { source, seq } of this.#events) {
        if (source !== speaker) continue
        if (seq < min) min = seq
        if (seq > max) max = seq
      }
      if (max >= min) expected += max - min + 1
    }
    return ratio(this.#events.length, expected, 100)
  }

  /** As `percentileSql` reads it: from bucket counts, with the geometric middle of a bucket for its values, between the least and the greatest. */
  #frameTime(p: number, least: number, greatest: number): number | null {
    if (this.#frames === 0) return null
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

const sum = (values: readonly number[]): number => values.reduce((a, b) => a + b, 0)
const ratio = (a: number, b: number, factor = 1): number | null => (b === 0 ? null : (factor * a) / b)

function harmonicMean(values: readonly number[]): number | null {
  if (values.length === 0) return null
  return values.includes(0) ? 0 : values.length / values.reduce((all, value) => all + 1 / value, 0)
}

function deviation(values: readonly number[]): number | null {
  if (values.length === 0) return null
  const mean = sum(values) / values.length
  return Math.sqrt(values.reduce((all, value) => all + (value - mean) ** 2, 0) / values.length)
}

/** Hyndman & Fan's type 7. Sorts what it is given. */
function middle(values: number[]): number | null {
  values.sort((a, b) => a - b)
  const h = (values.length - 1) / 2
  const [below, above] = [values[Math.floor(h)], values[Math.ceil(h)]]
  return below === undefined || above === undefined ? null : below + (h - Math.floor(h)) * (above - below)
}
