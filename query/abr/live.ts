/**
 * Every live session's last ten seconds, in this process's memory: what a request reads without waiting for anything. A worker follows
 * the topic and hands over what changed; when Kafka, the ingester or ClickHouse is away, what is here only gets older, and says so.
 */
import { Worker } from 'node:worker_threads'
import type { Context } from '../../ingest/contract/events.ts'
import type { Log } from '../../ingest/runtime/log.ts'
import type { GameClasses } from '../../ingest/runtime/variables.ts'
import { DEFAULT_CLASSES } from '../../ingest/store/experience/g1072.ts'
import { type Measured, scoreCell } from '../../ingest/store/experience/score.ts'
import { AS_OF, FIRST_FIGURE, type FollowerOptions, type Handover, RUNG, WIDTH } from './follower.ts'
import { PERIOD_MS, type SessionState } from './state.ts'
import { type Figures, figuresAt } from './window.ts'

export interface LiveSession {
  readonly state: SessionState
  readonly context: Context
  /** When Kafka appended its newest event. */
  readonly as_of_ms: number
  /** How often it speaks. */
  readonly period_ms: number
}

export interface LiveVitals {
  handedOver(sessions: LiveSessions, follower: Handover['follower'], apply_ms: number): void
}

/** How long a process that finds no Kafka calls itself not ready: dashboards have no need of it. */
const READY_ANYWAY_MS = 30_000
const RESTART_AFTER_MS = 1_000
const SLOTS_AT_FIRST = 1_024

/** The sessions, apart from how they get here. */
export class LiveSessions {
  readonly #slots = new Map<string, number>()
  readonly #ids = new Map<number, string>()
  readonly #contexts = new Map<number, Context>()
  readonly #rungs: string[] = []
  readonly #classes: GameClasses
  #figures = new Float64Array(SLOTS_AT_FIRST * WIDTH)
  #listeners = new Set<(changed: ReadonlySet<string>) => void>()
  /** Up to when everybody was heard: see `Handover`. */
  heard_ms = 0

  constructor(classes: GameClasses = {}) {
    this.#classes = classes
  }

  get size(): number {
    return this.#slots.size
  }

  /** Of the figures; a context is as large as its text. */
  get bytes(): number {
    return this.#figures.byteLength
  }

  apply({ opened, closed, slots, figures, rungs, follower }: Handover): void {
    this.heard_ms = follower.heard_ms
    this.#rungs.push(...rungs)
    for (const { slot, session_id, context } of opened) {
      if (this.#ids.get(slot) !== session_id) this.#open(slot, session_id)
      this.#contexts.set(slot, context)
    }
    for (const [row, slot] of slots.entries())
      this.#figures.set(figures.subarray(row * WIDTH, (row + 1) * WIDTH), slot * WIDTH)
    if (this.#listeners.size > 0) {
      const changed = new Set([...slots].map(slot => this.#ids.get(slot) ?? ''))
      for (const listener of this.#listeners) listener(changed)
    }
    for (const slot of closed) this.#close(slot)
  }

  #open(slot: number, session_id: string): void {
    this.#slots.set(session_id, slot)
    this.#ids.set(slot, session_id)
    if ((slot + 1) * WIDTH > this.#figures.length) this.#grow(slot + 1)
    this.#figures[slot * WIDTH + AS_OF] = 0
  }

  #close(slot: number): void {
    const id = this.#ids.get(slot)
    // The same session may have come back, elsewhere.
    if (id !== undefined && this.#slots.get(id) === slot) this.#slots.delete(id)
    this.#ids.delete(slot)
    this.#contexts.delete(slot)
  }

  #grow(slots: number): void {
    const grown = new Float64Array(Math.max(slots, (2 * this.#figures.length) / WIDTH) * WIDTH)
    grown.set(this.#figures)
    this.#figures = grown
  }

  /** A new worker numbers anew. Until it has read as far, nobody is known. */
  forget(): void {
    this.#slots.clear()
    this.#ids.clear()
    this.#contexts.clear()
    this.#rungs.length = 0
    this.heard_ms = 0
  }

  of(session_id: string): LiveSession | undefined {
    const slot = this.#slots.get(session_id)
    if (slot === undefined) return undefined
    const at = slot * WIDTH
    const as_of_ms = this.#figures[at + AS_OF] ?? 0
    if (as_of_ms === 0) return undefined
    const rung = this.#rungs[this.#figures[at + RUNG] ?? Number.NaN] ?? null
    const figures = figuresAt(this.#figures, at + FIRST_FIGURE)
    const context = this.#contexts.get(slot) ?? {}
    const state = stateOf(figures, rung, context, this.#classes)
    return { state, context, as_of_ms, period_ms: figures.period_ms ?? PERIOD_MS }
  }

  /** Hears which sessions changed. @returns how to stop */
  listen(listener: (changed: ReadonlySet<string>) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }
}

/** What the opinion score takes of a window. */
export const measuredIn = (figures: Figures): Measured => ({
  frames: figures.frames ?? 0,
  frame_time_sum_us: figures.frame_time_sum_us ?? 0,
  kbps: figures.bitrate_avg_kbps,
  fps: figures.expected_fps,
  pixels: figures.pixels,
  rtt_us: figures.rtt_avg_us,
})

export function stateOf(figures: Figures, rung: string | null, { game }: Context, classes: GameClasses): SessionState {
  const { mos, flags } = scoreCell(measuredIn(figures), classesOf(classes[game ?? '']))
  return {
    bitrate_avg_kbps: figures.bitrate_avg_kbps,
    target_bitrate_kbps: figures.target_bitrate_kbps,
    available_kbps: {
      last: figures.available_last_kbps,
      harmonic_mean: figures.available_harmonic_mean_kbps,
      ewma_3s: figures.available_ewma_3s_kbps,
      ewma_9s: figures.available_ewma_9s_kbps,
      stdev: figures.available_stdev_kbps,
      error_max_5: figures.available_error_max_5,
    },
    rtt_p50_us: figures.rtt_p50_us,
    jitter_p50_us: figures.jitter_p50_us,
    packet_loss_pct: figures.packet_loss_pct,
    fps_avg: figures.fps_avg,
    frame_time_p95_us: figures.frame_time_p95_us,
    late_frame_pct: figures.late_frame_pct,
    stutter_time_pct: figures.stutter_time_pct,
    freeze_time_pct: figures.freeze_time_pct,
    open_frame_us: figures.open_frame_us,
    // As the metric has it: outside the model there is no score to go by.
    mos_avg: flags.length === 0 ? mos : null,
    rung,
    samples: figures.samples ?? 0,
    completeness_pct: figures.completeness_pct,
  }
}

const classesOf = ({ video, interaction }: GameClasses[string] = {}): typeof DEFAULT_CLASSES => ({
  video: video ?? DEFAULT_CLASSES.video,
  interaction: interaction ?? DEFAULT_CLASSES.interaction,
})

export interface Live {
  readonly sessions: LiveSessions
  /** Undefined: ready. Otherwise what is being waited for. */
  notReady(): string | undefined
  close(): Promise<void>
}

/** Compiled or not, the worker's file has this one's ending. A worker of Node 20 does not inherit what makes TypeScript run. */
function startWorker(workerData: FollowerOptions): Worker {
  const given = { workerData, name: 'follower' }
  if (!import.meta.url.endsWith('.ts')) return new Worker(new URL('./follower.js', import.meta.url), given)
  const file = JSON.stringify(new URL('./follower.ts', import.meta.url).href)
  const code = `import('tsx/esm/api').then(({ register }) => { register(); return import(${file}) })`
  return new Worker(code, { ...given, eval: true })
}

export function openLive(options: FollowerOptions, classes: GameClasses, log: Log, vitals: LiveVitals): Live {
  const sessions = new LiveSessions(classes)
  const opened_ms = performance.now()
  let caughtUp = false
  let closing = false
  let worker = start()

  function start(): Worker {
    const started = startWorker(options)
    started.on('message', (handover: Handover) => {
      const begun = performance.now()
      sessions.apply(handover)
      caughtUp ||= handover.follower.caught_up
      vitals.handedOver(sessions, handover.follower, performance.now() - begun)
    })
    started.on('error', error => log.error({ error: error.message }, 'follower_died'))
    started.on('exit', () => {
      if (closing) return
      setTimeout(() => {
        if (closing) return
        sessions.forget()
        worker = start()
      }, RESTART_AFTER_MS)
    })
    return started
  }

  return {
    sessions,
    notReady: () =>
      caughtUp || performance.now() - opened_ms > READY_ANYWAY_MS ? undefined : 'the live sessions are being read',
    close: async () => {
      closing = true
      await worker.terminate()
    },
  }
}
