/**
 * What is kept of a window's events: a row of numbers each, in the order of their time, and beside it the frames' buckets. Numbers in a
 * few arrays rather than an object an event: ten thousand come in a second, and all rows of a session are read for each.
 */
import { type BitrateEvent, type FrameTimesEvent, type QualityEvent, SOURCES } from '../../ingest/contract/events.ts'
import { bucketOf, countsOf, framesOf } from './counted.ts'

/** What a stranger may make us keep of one session: of more, the oldest go first. */
export const EVENTS_MAX = 256
const FRAMES_MAX = 65_535
const ROWS_AT_FIRST = 32
/** Moving them together must leave a quarter of the room, or it is done again too soon. */
const ROOM = 4 / 3

/** Where each of `names` has its place, the first at `from`. */
export const placesOf = <T extends string>(names: readonly T[], from = 0): Readonly<Record<T, number>> =>
  Object.fromEntries(names.map((name, i) => [name, from + i])) as Record<T, number>

/** Columns of a row: those of every event, then those of its kind. NaN: not said. */
const HEAD = ['at_ms', 'speaker', 'seq', 'kind'] as const
export const EVENT = placesOf(HEAD)
/** `buckets` is where its frames' begin. `error`: how wrong the harmonic mean of the estimates before was about this one. */
export const FRAMES = placesOf(
  [
    ...(['buckets', 'frames', 'target_fps', 'sum_us', 'min_us', 'max_us', 'late', 'stutter_us', 'freeze_us'] as const),
    'open_us',
  ],
  HEAD.length,
)
export const INTERVAL = placesOf(
  [
    ...(['interval_ms', 'bitrate_kbps', 'target_bitrate_kbps', 'available_kbps', 'error', 'rtt_us'] as const),
    ...(['jitter_us', 'packets_received', 'packets_lost', 'pixels', 'encoded_fps'] as const),
  ],
  HEAD.length,
)
export const ROW = HEAD.length + Math.max(Object.keys(FRAMES).length, Object.keys(INTERVAL).length)
export const IS = { frames: 1, interval: 2, other: 0 } as const

export class KeptEvents {
  /** From `first` up to `end`, in numbers. */
  rows = new Float64Array(ROWS_AT_FIRST * ROW)
  first = 0
  end = 0
  /** In the order in which they came: each row knows where its own begin. */
  buckets = new Uint16Array(0)
  #bucketsEnd = 0
  frames = 0

  has({ source, seq }: QualityEvent): boolean {
    const speaker = SOURCES.indexOf(source)
    for (let row = this.first; row < this.end; row += ROW)
      if (this.rows[row + EVENT.seq] === seq && this.rows[row + EVENT.speaker] === speaker) return true
    return false
  }

  /** An event of which nothing but itself is counted. */
  addOther(event: QualityEvent, at_ms: number): void {
    this.#insert(event, at_ms, IS.other)
  }

  /** @returns where the new row is; nothing of its kind is said in it yet */
  #insert({ source, seq }: QualityEvent, at_ms: number, kind: number): number {
    if (this.end === this.rows.length) this.#makeRoom()
    let row = this.end
    while (row > this.first && (this.rows[row - ROW + EVENT.at_ms] ?? 0) > at_ms) row -= ROW
    this.rows.copyWithin(row + ROW, row, this.end)
    this.end += ROW
    this.rows.fill(Number.NaN, row + HEAD.length, row + ROW)
    this.rows[row + EVENT.at_ms] = at_ms
    this.rows[row + EVENT.speaker] = SOURCES.indexOf(source)
    this.rows[row + EVENT.seq] = seq
    this.rows[row + EVENT.kind] = kind
    return row
  }

  #makeRoom(): void {
    const live = this.rows.subarray(this.first, this.end)
    if (ROOM * live.length > this.rows.length) this.rows = new Float64Array(2 * this.rows.length)
    this.rows.set(live)
    this.first = 0
    this.end = live.length
  }

  addFrames(event: FrameTimesEvent, at_ms: number): void {
    const frames = framesOf(event)
    const counts = countsOf(frames, event)
    const buckets = this.#keep(frames)
    const row = this.#insert(event, at_ms, IS.frames)
    const rows = this.rows
    rows[row + FRAMES.buckets] = buckets
    rows[row + FRAMES.frames] = frames.length
    rows[row + FRAMES.target_fps] = event.target_fps
    rows[row + FRAMES.sum_us] = counts.sum_us
    rows[row + FRAMES.min_us] = counts.min_us
    rows[row + FRAMES.max_us] = counts.max_us
    rows[row + FRAMES.late] = counts.late
    rows[row + FRAMES.stutter_us] = counts.stutter_us
    rows[row + FRAMES.freeze_us] = counts.freeze_us
    rows[row + FRAMES.open_us] = event.open_frame_us ?? Number.NaN
    this.frames += frames.length
  }

  /** @returns where the buckets of these begin */
  #keep(frames: readonly number[]): number {
    if (this.#bucketsEnd + frames.length > this.buckets.length) this.#makeRoomFor(frames.length)
    const from = this.#bucketsEnd
    for (const us of frames) this.buckets[this.#bucketsEnd++] = bucketOf(us)
    return from
  }

  /** Moves the buckets that still count together. */
  #makeRoomFor(more: number): void {
    const kept = new Uint16Array(Math.ceil(ROOM * (this.frames + more)))
    let end = 0
    for (let row = this.first; row < this.end; row += ROW) {
      if (this.rows[row + EVENT.kind] !== IS.frames) continue
      const from = this.rows[row + FRAMES.buckets] ?? 0
      const frames = this.rows[row + FRAMES.frames] ?? 0
      kept.set(this.buckets.subarray(from, from + frames), end)
      this.rows[row + FRAMES.buckets] = end
      end += frames
    }
    this.buckets = kept
    this.#bucketsEnd = end
  }

  /** @param foretold what this event's estimate was expected to be; NaN: nothing was */
  addInterval(event: BitrateEvent, at_ms: number, foretold: number): void {
    const { interval_ms, available_kbps, width, height } = event
    const row = this.#insert(event, at_ms, IS.interval)
    const rows = this.rows
    rows[row + INTERVAL.interval_ms] = interval_ms
    rows[row + INTERVAL.bitrate_kbps] = event.bitrate_kbps
    rows[row + INTERVAL.target_bitrate_kbps] = event.target_bitrate_kbps ?? Number.NaN
    rows[row + INTERVAL.available_kbps] = available_kbps ?? Number.NaN
    rows[row + INTERVAL.error] = available_kbps ? Math.abs(foretold - available_kbps) / available_kbps : Number.NaN
    rows[row + INTERVAL.rtt_us] = event.rtt_us ?? Number.NaN
    rows[row + INTERVAL.jitter_us] = event.jitter_us ?? Number.NaN
    rows[row + INTERVAL.packets_received] = event.packets_received ?? Number.NaN
    rows[row + INTERVAL.packets_lost] = event.packets_lost ?? Number.NaN
    rows[row + INTERVAL.pixels] = width === undefined || height === undefined ? Number.NaN : width * height
    rows[row + INTERVAL.encoded_fps] = event.encoded_fps ?? Number.NaN
  }

  /** All up to `since_ms`, and what is too much. */
  forget(since_ms: number): void {
    for (; this.first < this.end; this.first += ROW) {
      const over = this.end - this.first > EVENTS_MAX * ROW || this.frames > FRAMES_MAX
      if ((this.rows[this.first + EVENT.at_ms] ?? 0) > since_ms && !over) return
      if (this.rows[this.first + EVENT.kind] === IS.frames) this.frames -= this.rows[this.first + FRAMES.frames] ?? 0
    }
  }
}
