/**
 * From presents to `frame_times` events: call `present` for each frame shown and `close` once a second. An interval belongs to the
 * event in which it ends; a second without a frame still gives an event, whose `open_frame_us` says how long the freeze has lasted.
 * Bounded: an event that is full is closed at once. Times are microseconds of one steady clock (`performance.now() * 1000`).
 */
import { FRAME_TIME_MAX_US, FRAMES_MAX, type FrameTimesEvent } from '../contract/events.ts'
import type { Draft } from './emitter.ts'

export type FrameTimesDraft = Draft<FrameTimesEvent>

export interface FrameCollectorOptions {
  readonly target_fps: number
  /** Epoch milliseconds at which the steady clock stood at 0 (`performance.timeOrigin`). */
  readonly epoch_ms: number
  readonly onEvent: (draft: FrameTimesDraft) => void
}

/** What only the caller can measure: stages, input latency, generated frames. */
export type FrameMeasures = Pick<FrameTimesDraft, 'frames_generated' | 'stage_us' | 'input_latency_us'>

const UINT32 = 4_294_967_295

export class FrameCollector {
  readonly #options: FrameCollectorOptions
  #intervals: number[] = []
  #began_us: number | undefined
  #last_us = 0
  #dropped = 0
  #paused = false
  #was_paused = false

  constructor(options: FrameCollectorOptions) {
    this.#options = options
  }

  /** A frame appeared on the screen. The first one only starts the clock; one that is not later than the last is not a frame. */
  present(at_us: number): void {
    const now_us = Math.round(at_us)
    if (this.#began_us === undefined) {
      this.#began_us = now_us
      this.#last_us = now_us
      return
    }
    const interval = now_us - this.#last_us
    if (interval < 1) return
    // A minute is the longest that an interval can be; whoever freezes longer shows in `open_frame_us` meanwhile.
    this.#intervals.push(Math.min(interval, FRAME_TIME_MAX_US))
    this.#last_us = now_us
    if (this.#intervals.length === FRAMES_MAX) this.close(now_us)
  }

  /** For how long the latest frame has been on the screen, in microseconds; 0 before the first. */
  openFor(now_us: number): number {
    return this.#began_us === undefined ? 0 : Math.max(0, Math.round(now_us) - this.#last_us)
  }

  /** A frame should have appeared and did not. */
  drop(frames = 1): void {
    this.#dropped += frames
  }

  /** Backgrounded or suspended: the intervals of this event, and of those until resumed, are no freezes. */
  pause(paused: boolean): void {
    this.#paused = paused
    this.#was_paused ||= paused
  }

  /** Ends the event, normally once a second. Nothing before the first present: there is no stream yet. */
  close(now_us: number, measures: FrameMeasures = {}, final = false): void {
    if (this.#began_us === undefined) return
    const { target_fps, epoch_ms, onEvent } = this.#options
    const draft: FrameTimesDraft = {
      kind: 'frame_times',
      started_at_ms: Math.floor(epoch_ms + this.#began_us / 1000),
      target_fps,
      frame_time_us: this.#intervals,
      open_frame_us: Math.min(this.openFor(now_us), UINT32),
      frames_dropped: this.#dropped,
      ...measures,
      ...(this.#was_paused ? { paused: true } : {}),
      ...(final ? { final } : {}),
    }
    this.#intervals = []
    this.#began_us = this.#last_us
    this.#dropped = 0
    this.#was_paused = this.#paused
    onEvent(draft)
  }
}
