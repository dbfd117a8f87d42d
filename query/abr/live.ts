/**
 * Every live session's last ten seconds, in this process's memory: what a request reads without waiting for anything. A worker follows
 * the topic and hands over what changed; when Kafka, the ingester or ClickHouse is away, what is here only gets older, and says so.
 */
import { Worker } from 'node:worker_threads'
import type { Context } from '../../ingest/contract/events.ts'
import type { Log } from '../../ingest/runtime/log.ts'
import { AS_OF, FIRST_FIGURE, type FollowerOptions, type Handover, RUNG, WIDTH } from './follower.ts'
import type { SessionState } from './state.ts'
import { FIGURES, type Figures } from './window.ts'

export interface LiveSession {
  readonly state: SessionState
  readonly context: Context
  /** When Kafka appended its newest event. */
  readonly as_of_ms: number
}

export interface LiveVitals {
  handedOver(sessions: number, follower: Handover['follower'], apply_ms: number): void
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
  #figures = new Float64Array(SLOTS_AT_FIRST * WIDTH)
  #listeners = new Set<(changed: ReadonlySet<string>) => void>()

  get size(): number {
    return this.#slots.size
  }

  apply({ opened, closed, slots, figures, rungs }: Handover): void {
    this.#rungs.push(...rungs)
    for (const { slot, session_id, context } of opened) {
      this.#slots.set(session_id, slot)
      this.#ids.set(slot, session_id)
      this.#contexts.set(slot, context)
      if ((slot + 1) * WIDTH > this.#figures.length) this.#grow(slot + 1)
      this.#figures[slot * WIDTH + AS_OF] = 0
    }
    slots.forEach((slot, row) => {
      this.#figures.set(figures.subarray(row * WIDTH, (row + 1) * WIDTH), slot * WIDTH)
    })
    if (this.#listeners.size > 0) {
      const changed = new Set([...slots].map(slot => this.#ids.get(slot) ?? ''))
      for (const listener of this.#listeners) listener(changed)
    }
    for (const slot of closed) {
      const id = this.#ids.get(slot)
      if (id !== undefined && this.#slots.get(id) === slot) this.#slots.delete(id)
      this.#ids.delete(slot)
      this.#contexts.delete(slot)
    }
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
  }

  of(session_id: string): LiveSession | undefined {
    const slot = this.#slots.get(session_id)
    if (slot === undefined) return undefined
    const at = slot * WIDTH
    const as_of_ms = this.#figures[at + AS_OF] ?? 0
    if (as_of_ms === 0) return undefined
    const rung = this.#rungs[this.#figures[at + RUNG] ?? Number.NaN] ?? null
    const figures = Object.fromEntries(
      FIGURES.map((name, i) => {
        const figure = this.#figures[at + FIRST_FIGURE + i] ?? Number.NaN
        return [name, Number.isNaN(figure) ? null : figure]
      }),
    ) as Figures
    return { state: stateOf(figures, rung), context: this.#contexts.get(slot) ?? {}, as_of_ms }
  }

  /** Hears which sessions changed. @returns how to stop */
  listen(listener: (changed: ReadonlySet<string>) => void): () => void {
    this.#listeners.add(listener)
    return () => void this.#listeners.delete(listener)
  }
}

function stateOf(figures: Figures, rung: string | null): SessionState {
  const {
    samples,
    available_last_kbps: last,
    available_harmonic_mean_kbps: harmonic_mean,
    available_ewma_3s_kbps: ewma_3s,
    available_ewma_9s_kbps: ewma_9s,
    available_stdev_kbps: stdev,
    available_error_max_5: error_max_5,
    ...rest
  } = figures
  return {
    ...rest,
    samples: samples ?? 0,
    available_kbps: { last, harmonic_mean, ewma_3s, ewma_9s, stdev, error_max_5 },
    rung,
  }
}

export interface Live {
  readonly sessions: LiveSessions
  /** Undefined: ready. Otherwise what is being waited for. */
  notReady(): string | undefined
  close(): Promise<void>
}

export function openLive(options: FollowerOptions, log: Log, vitals: LiveVitals): Live {
  const sessions = new LiveSessions()
  const opened_ms = performance.now()
  let caughtUp = false
  let closing = false
  let worker = start()

  function start(): Worker {
    // Compiled or not, the worker's file has this one's ending.
    const file = new URL(`./follower${import.meta.url.endsWith('.ts') ? '.ts' : '.js'}`, import.meta.url)
    const started = new Worker(file, { workerData: options, name: 'follower' })
    started.on('message', (handover: Handover) => {
      const begun = performance.now()
      sessions.apply(handover)
      caughtUp ||= handover.follower.caught_up
      vitals.handedOver(sessions.size, handover.follower, performance.now() - begun)
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
