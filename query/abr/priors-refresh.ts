/**
 * The priors of a running process: read again every minute, in the background, a few sessions at a time. Whoever asks is answered from
 * memory, and never waits: while the store is away with what was read last, and how long ago that was.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../../ingest/runtime/log.ts'
import type { Ask } from '../metrics/question.ts'
import { inSlices } from '../statistics/slices.ts'
import { type PriorOptions, type Priors, priorsOf } from './priors.ts'
import type { PriorContext } from './priors-cohorts.ts'
import { sustainedQuestion } from './priors-evidence.ts'
import { BEGINNING, type Cursor, PAGE, PAST_S, PriorSessions, sessionsQuestion } from './priors-sessions.ts'
import type { Prior } from './state.ts'

export interface PriorVitals {
  /** @param seconds reading and computing took */
  refreshed(sessions: number, seconds: number): void
}

export interface PriorSource {
  /** Undefined: nothing was read yet. */
  priorOf(context: PriorContext): Prior | undefined
  /** When what it answers from was read; null: not yet. */
  readonly as_of_ms: number | null
  close(): Promise<void>
}

/** Enough for thirty sessions in each of hundreds of cohorts; 4 MB at most. */
export const SESSIONS_MAX = 10_000
const REFRESH_EVERY_MS = 60_000
/** The store has other work: between two questions there is a pause as long as the one before took. */
const PAUSE_MAX_MS = 2_000
/** Computing goes on beside requests that should take one. */
export const SLICE_MS = 2
/** A session is marked with the moment before it was read for settling, and is there when that is done. */
const SETTLING_TAKES_US = 120_000_000

export class PriorReader {
  readonly #ask: Ask
  readonly #options: PriorOptions | undefined
  readonly #sessions: PriorSessions
  #after: Cursor = BEGINNING

  constructor(ask: Ask, options?: PriorOptions, sessions_max = SESSIONS_MAX) {
    this.#ask = ask
    this.#options = options
    this.#sessions = new PriorSessions(sessions_max)
  }

  /** Reads what has changed since the last time. */
  async refresh(now_ms: number, signal?: AbortSignal): Promise<Priors> {
    const now_s = Math.floor(now_ms / 1_000)
    const from = now_s - PAST_S
    this.#sessions.forgetBefore(from)
    await this.#hear(from, signal)
    for (const batch of this.#sessions.due(now_s)) {
      if (signal?.aborted) break
      const begun = performance.now()
      this.#sessions.read(batch, await this.#ask(sustainedQuestion(batch)))
      if (signal) await pause(Math.min(PAUSE_MAX_MS, performance.now() - begun), signal)
    }
    return inSlices(priorsOf(this.#sessions.sustained(), this.#options), SLICE_MS)
  }

  async #hear(from: number, signal: AbortSignal | undefined): Promise<void> {
    let after = this.#after
    for (let rows = PAGE; rows === PAGE && !signal?.aborted; ) {
      const page = await this.#ask(sessionsQuestion(from, this.#sessions.lots, after))
      this.#sessions.hear(page)
      rows = page.length
      after = page.at(-1) ?? after
    }
    // What is settled next may be marked with a moment a little before what is settled now.
    this.#after = { settled_us: Math.max(this.#after.settled_us, after.settled_us - SETTLING_TAKES_US), id: '' }
  }
}

const pause = (ms: number, signal: AbortSignal): Promise<void> => sleep(ms, undefined, { signal }).catch(() => {})

export interface PriorSettings {
  readonly priors?: PriorOptions
  readonly every_ms?: number
}

export function openPriors(ask: Ask, log: Log, vitals: PriorVitals, settings: PriorSettings = {}): PriorSource {
  const reader = new PriorReader(ask, settings.priors)
  const stopping = new AbortController()
  const { signal } = stopping
  let priors: Priors | undefined
  let as_of_ms: number | null = null

  async function run(): Promise<void> {
    let failing = false
    while (!signal.aborted) {
      const begun_ms = Date.now()
      try {
        const read = await reader.refresh(begun_ms, signal)
        if (signal.aborted) return
        priors = read
        as_of_ms = begun_ms
        vitals.refreshed(read.sessions, (Date.now() - begun_ms) / 1_000)
        failing = false
      } catch (error) {
        if (!failing) log.warn({ error: error instanceof Error ? error.message : String(error) }, 'priors_not_read')
        failing = true
      }
      await pause(settings.every_ms ?? REFRESH_EVERY_MS, signal)
    }
  }

  const running = run()
  return {
    priorOf: context => priors?.of(context),
    get as_of_ms() {
      return as_of_ms
    },
    close: async () => {
      stopping.abort()
      await running
    },
  }
}
