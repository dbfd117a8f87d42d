/**
 * The last ten seconds of one session, event by event, and what they say. The rules are those of a cell (`ingest/store/cells.ts`) and of
 * the metric catalogue, said once more in TypeScript because nothing here may wait for the store; a test holds the two to one answer.
 * Each event counts once (speaker and `seq`), belongs to the window by its `at`, and the window ends with the newest of them.
 */
import { type BitrateEvent, type QualityEvent, SOURCES } from '../../ingest/contract/events.ts'
import { BUCKET_GROWTH } from '../../ingest/store/cells.ts'
import { BUCKETS, bucketOf } from './counted.ts'
import { EVENT, EVENTS_MAX, FRAMES, INTERVAL, IS, KeptEvents, placesOf, ROW } from './kept.ts'
import { STATE_WINDOW_S } from './state.ts'

const WINDOW_MS = STATE_WINDOW_S * 1_000
const HALF_LIVES_S = [3, 9] as const
const FORETOLD_BY = 5

/** What is told of a window, by name; the order is that of the wire between threads. Unknown is NaN there, null to everybody else. */
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
  // What the opinion score stands on: it is computed when somebody asks, for five times as many windows change.
  'frames',
  'frame_time_sum_us',
  'expected_fps',
  'pixels',
  'rtt_avg_us',
] as const
type Figure = (typeof FIGURES)[number]
export type Figures = Readonly<Record<Figure, number | null>>

const TOLD = placesOf(FIGURES)

/** What `LiveWindow.tell` wrote at `at`. */
export function figuresAt(told: Float64Array, at: number): Figures {
  const figures = {} as Record<Figure, number | null>
  for (const [i, name] of FIGURES.entries()) {
    const figure = told[at + i] ?? Number.NaN
    figures[name] = Number.isNaN(figure) ? null : figure
  }
  return figures
}

/** What one reading needs, one after another: nothing is made for it. */
const histogram = new Uint32Array(BUCKETS)
const [available, rtts, jitters] = Array.from({ length: 3 }, () => new Float64Array(EVENTS_MAX)) as [
  Float64Array,
  Float64Array,
  Float64Array,
]

export class LiveWindow {
  readonly #kept = new KeptEvents()
  #newest_ms = Number.NEGATIVE_INFINITY
  /** Exponentially weighted sums of the estimate and of its weights, by half-life: as Shaka does, so that the first seconds are no zero. */
  readonly #ewma = new Float64Array(2 * HALF_LIVES_S.length)
  #ewma_until_ms = Number.NEGATIVE_INFINITY
  /** The ladder step the last bitrate event named. */
  rung: string | null = null

  /** False: it was counted before, or lies before the window. */
  add(event: QualityEvent, at_ms: number): boolean {
    if (at_ms <= this.#newest_ms - WINDOW_MS || this.#kept.has(event)) return false
    if (event.kind === 'frame_times') this.#kept.addFrames(event, at_ms)
    else if (event.kind === 'bitrate') this.#addInterval(event, at_ms)
    else this.#kept.addOther(event, at_ms)
    this.#newest_ms = Math.max(this.#newest_ms, at_ms)
    this.#kept.forget(this.#newest_ms - WINDOW_MS)
    return true
  }

  #addInterval(event: BitrateEvent, at_ms: number): void {
    if (at_ms > this.#ewma_until_ms) {
      this.rung = event.rung ?? this.rung
      if (event.available_kbps !== undefined) this.#weigh(event.available_kbps, event.interval_ms, at_ms)
    }
    this.#kept.addInterval(event, at_ms, this.#foretold())
  }

  #weigh(available_kbps: number, interval_ms: number, at_ms: number): void {
    this.#ewma_until_ms = at_ms
    for (const [i, half_life_s] of HALF_LIVES_S.entries()) {
      const kept = 0.5 ** (interval_ms / 1_000 / half_life_s)
      this.#ewma[2 * i] = kept * (this.#ewma[2 * i] ?? 0) + (1 - kept) * available_kbps
      this.#ewma[2 * i + 1] = kept * (this.#ewma[2 * i + 1] ?? 0) + (1 - kept)
    }
  }

  /** The harmonic mean of the last estimates; NaN without any. */
  #foretold(): number {
    const { rows, first, end } = this.#kept
    let n = 0
    for (let row = end - ROW; row >= first && n < FORETOLD_BY; row -= ROW) {
      const kbps = at(rows, row + INTERVAL.available_kbps)
      if (rows[row + EVENT.kind] === IS.interval && !Number.isNaN(kbps)) available[n++] = kbps
    }
    return harmonicMean(available, n)
  }

  figures(): Figures {
    const told = new Float64Array(FIGURES.length)
    this.tell(told, 0)
    return figuresAt(told, 0)
  }

  /** Writes the figures into `told` from there on, unknown as NaN. One pass over some twenty rows, and one over their frames' buckets. */
  tell(told: Float64Array, from: number): void {
    told.fill(Number.NaN, from, from + FIGURES.length)
    this.#tellIntervals(told, from)
    this.#tellFrames(told, from)
    told[from + TOLD.completeness_pct] = this.#completeness()
  }

  #tellIntervals(told: Float64Array, from: number): void {
    const { rows, first, end } = this.#kept
    let [samples, ms, kbit, lost, packets, pixels, pixels_ms] = [0, 0, 0, 0, 0, 0, 0]
    let [estimates, round_trips, delays, round_trip_us] = [0, 0, 0, 0]
    for (let row = first; row < end; row += ROW) {
      if (rows[row + EVENT.kind] !== IS.interval) continue
      const interval_ms = at(rows, row + INTERVAL.interval_ms)
      samples++
      ms += interval_ms
      kbit += at(rows, row + INTERVAL.bitrate_kbps) * interval_ms
      const asked = at(rows, row + INTERVAL.target_bitrate_kbps)
      if (!Number.isNaN(asked)) told[from + TOLD.target_bitrate_kbps] = asked
      const kbps = at(rows, row + INTERVAL.available_kbps)
      if (!Number.isNaN(kbps)) available[estimates++] = told[from + TOLD.available_last_kbps] = kbps
      const rtt_us = at(rows, row + INTERVAL.rtt_us)
      if (!Number.isNaN(rtt_us)) rtts[round_trips++] = rtt_us
      const jitter_us = at(rows, row + INTERVAL.jitter_us)
      if (!Number.isNaN(jitter_us)) jitters[delays++] = jitter_us
      const sent = at(rows, row + INTERVAL.packets_lost) + at(rows, row + INTERVAL.packets_received)
      if (!Number.isNaN(sent)) {
        lost += at(rows, row + INTERVAL.packets_lost)
        packets += sent
      }
      const shown = at(rows, row + INTERVAL.pixels)
      if (!Number.isNaN(shown)) {
        pixels += shown * interval_ms
        pixels_ms += interval_ms
      }
      told[from + TOLD.period_ms] = interval_ms
    }
    for (let i = 0; i < round_trips; i++) round_trip_us += at(rtts, i)
    told[from + TOLD.samples] = samples
    told[from + TOLD.bitrate_avg_kbps] = ratio(kbit, ms)
    told[from + TOLD.available_harmonic_mean_kbps] = harmonicMean(available, estimates)
    told[from + TOLD.available_stdev_kbps] = deviation(available, estimates)
    if (estimates > 0) {
      told[from + TOLD.available_ewma_3s_kbps] = (this.#ewma[0] ?? 0) / (this.#ewma[1] ?? 0)
      told[from + TOLD.available_ewma_9s_kbps] = (this.#ewma[2] ?? 0) / (this.#ewma[3] ?? 0)
    }
    told[from + TOLD.available_error_max_5] = this.#errorMax()
    told[from + TOLD.packet_loss_pct] = ratio(lost, packets, 100)
    told[from + TOLD.pixels] = ratio(pixels, pixels_ms) || Number.NaN
    told[from + TOLD.rtt_avg_us] = ratio(round_trip_us, round_trips)
    told[from + TOLD.rtt_p50_us] = middle(rtts, round_trips)
    told[from + TOLD.jitter_p50_us] = middle(jitters, delays)
  }

  /** Of the last intervals, whether or not their errors are known. */
  #errorMax(): number {
    const { rows, first, end } = this.#kept
    let [n, greatest] = [0, Number.NaN]
    for (let row = end - ROW; row >= first && n < FORETOLD_BY; row -= ROW) {
      if (rows[row + EVENT.kind] !== IS.interval) continue
      n++
      const error = at(rows, row + INTERVAL.error)
      if (error > greatest || Number.isNaN(greatest)) greatest = error
    }
    return greatest
  }

  #tellFrames(told: Float64Array, from: number): void {
    const { rows, first, end, frames } = this.#kept
    let [sum_us, late, stutter_us, freeze_us, target_fps, events, fps, fps_n] = [0, 0, 0, 0, 0, 0, 0, 0]
    let [min_us, max_us] = [Number.POSITIVE_INFINITY, 0]
    for (let row = first; row < end; row += ROW) {
      if (at(rows, row + EVENT.kind) === IS.interval && !Number.isNaN(at(rows, row + INTERVAL.encoded_fps))) {
        fps += at(rows, row + INTERVAL.encoded_fps)
        fps_n++
      }
      if (at(rows, row + EVENT.kind) !== IS.frames) continue
      events++
      target_fps += at(rows, row + FRAMES.target_fps)
      sum_us += at(rows, row + FRAMES.sum_us)
      late += at(rows, row + FRAMES.late)
      stutter_us += at(rows, row + FRAMES.stutter_us)
      freeze_us += at(rows, row + FRAMES.freeze_us)
      min_us = Math.min(min_us, at(rows, row + FRAMES.min_us))
      max_us = Math.max(max_us, at(rows, row + FRAMES.max_us))
      told[from + TOLD.open_frame_us] = at(rows, row + FRAMES.open_us)
    }
    told[from + TOLD.frames] = frames
    told[from + TOLD.frame_time_sum_us] = sum_us
    told[from + TOLD.fps_avg] = ratio(frames, sum_us, 1e6)
    told[from + TOLD.late_frame_pct] = ratio(late, frames, 100)
    told[from + TOLD.stutter_time_pct] = ratio(stutter_us, sum_us, 100)
    told[from + TOLD.freeze_time_pct] = ratio(freeze_us, sum_us, 100)
    told[from + TOLD.expected_fps] = fps_n > 0 ? fps / fps_n : ratio(target_fps, events)
    if (frames > 0) told[from + TOLD.frame_time_p95_us] = this.#frameTime(0.95, min_us, max_us)
  }

  #completeness(): number {
    const { rows, first, end } = this.#kept
    let expected = 0
    for (let speaker = 0; speaker < SOURCES.length; speaker++) {
      let [min, max] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]
      for (let row = first; row < end; row += ROW) {
        if (rows[row + EVENT.speaker] !== speaker) continue
        const seq = at(rows, row + EVENT.seq)
        min = Math.min(min, seq)
        max = Math.max(max, seq)
      }
      if (max >= min) expected += max - min + 1
    }
    return ratio((end - first) / ROW, expected, 100)
  }

  /** As `percentileSql` reads it: from bucket counts, with the geometric middle of a bucket for its values, between the least and the greatest. */
  #frameTime(p: number, least: number, greatest: number): number {
    const { rows, first, end, buckets, frames } = this.#kept
    histogram.fill(0, bucketOf(least), bucketOf(greatest) + 1)
    for (let row = first; row < end; row += ROW) {
      if (rows[row + EVENT.kind] !== IS.frames) continue
      const from = at(rows, row + FRAMES.buckets)
      const behind = from + at(rows, row + FRAMES.frames)
      for (let i = from; i < behind; i++) {
        const bucket = buckets[i] ?? 0
        histogram[bucket] = (histogram[bucket] ?? 0) + 1
      }
    }
    const ranked = (rank: number): number => {
      let above = frames
      // From the top: that is where a high percentile is.
      for (let bucket = bucketOf(greatest); bucket > 0; bucket--) {
        above -= histogram[bucket] ?? 0
        if (above <= rank) return Math.max(least, Math.min(greatest, BUCKET_GROWTH ** (bucket - 0.5)))
      }
      return least
    }
    const h = (frames - 1) * p
    const below = ranked(Math.floor(h))
    return below + (h - Math.floor(h)) * (ranked(Math.ceil(h)) - below)
  }
}

const at = (values: Float64Array, place: number): number => values[place] ?? Number.NaN
const ratio = (a: number, b: number, factor = 1): number => (b === 0 ? Number.NaN : (factor * a) / b)

/** Of the first `n`, like those below; NaN of none. */
function harmonicMean(values: Float64Array, n: number): number {
  let inverse = 0
  for (let i = 0; i < n; i++) inverse += 1 / at(values, i)
  return n / inverse
}

function deviation(values: Float64Array, n: number): number {
  let [sum, squares] = [0, 0]
  for (let i = 0; i < n; i++) sum += at(values, i)
  for (let i = 0; i < n; i++) squares += (at(values, i) - sum / n) ** 2
  return Math.sqrt(squares / n)
}

/** Hyndman & Fan's type 7. Sorts what it is given. */
function middle(values: Float64Array, n: number): number {
  values.subarray(0, n).sort()
  const h = (n - 1) / 2
  const below = at(values, Math.floor(h))
  return n === 0 ? Number.NaN : below + (h - Math.floor(h)) * (at(values, Math.ceil(h)) - below)
}
