/**
 * The worker that follows the topic: reads it from some seconds before now on, keeps each session's window, and hands over what changed,
 * many times a second, as numbers. A thread of its own, so that no request waits for a message to be parsed. It commits nothing, stores
 * nothing and refuses as the ingester does; its group has one member and ends with it.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import type { TimeLimits } from '../../ingest/contract/clock.ts'
import type { Context } from '../../ingest/contract/events.ts'
import { decode } from '../../ingest/load/decode.ts'
import { type FetchedBatch, KafkaSource } from '../../ingest/load/kafka.ts'
import { createLog } from '../../ingest/runtime/log.ts'
import { STATE_WINDOW_S } from './state.ts'
import { FIGURES, LiveWindow } from './window.ts'

export interface FollowerOptions {
  readonly brokers: readonly string[]
  readonly topic: string
  readonly group_id: string
  readonly log_level: Parameters<typeof createLog>[1]
  readonly limits: TimeLimits
  readonly sessions_max: number
}

/** What changed since the last one. A slot is a session's place; it is given to another only after it was closed. */
export interface Handover {
  readonly opened: readonly { readonly slot: number; readonly session_id: string; readonly context: Context }[]
  readonly closed: readonly number[]
  /** Whose figures follow, `WIDTH` numbers each: when its newest event was appended, its rung as a number of `rungs`, the figures. */
  readonly slots: Uint32Array<ArrayBuffer>
  readonly figures: Float64Array<ArrayBuffer>
  /** Names of rungs that were not named before; the first ever is number 0. */
  readonly rungs: readonly string[]
  readonly follower: {
    /** Everything that was in the topic when it began has been read and handed over. */
    readonly caught_up: boolean
    /** Up to when all that Kafka has was heard: a session that said nothing since was silent. Epoch ms; 0: not known. */
    readonly heard_ms: number
    readonly lag: number
    readonly refused: number
    /** Sessions that found no place. */
    readonly left_out: number
    /** Sessions whose news wait for the next handover. */
    readonly waiting: number
    readonly refresh_ms: number
  }
}
export const AS_OF = 0
export const RUNG = 1
export const FIRST_FIGURE = 2
export const WIDTH = FIRST_FIGURE + FIGURES.length

const HAND_OVER_EVERY_MS = 50
/** At most so much at once: taking it in must not hold up the requests. A context is an object that has to be made anew over there. */
const CHANGED_MAX = 2_500
const OPENED_MAX = 500
const CLOSED_MAX = 5_000
/** Without news the others still hear that it lives. */
const HEARTBEAT_MS = 500
/** Its window, and as much as clients and Kafka may hold back. */
const BEGIN_BEFORE_MS = (STATE_WINDOW_S + 20) * 1_000
const SILENT_AFTER_MS = 5 * 60_000
const SWEEP_EVERY_MS = 10_000
const RETRY_MS = 2_000
/** Strangers choose names: of more than this the rest is unknown. */
const RUNGS_MAX = 10_000
const SESSION_TIMEOUT_MS = 10_000
/** A broker that did not answer for as long leads nothing any more, or nothing is heard at all. */
const BROKER_GONE_MS = 60_000

interface Session {
  readonly slot: number
  readonly id: string
  readonly window: LiveWindow
  context: Context
  as_of_ms: number
  /** Whether the others know its context. */
  told: boolean
}

/** Everything but the thread: what is heard, and what is handed over. */
export class Follower {
  readonly #options: FollowerOptions
  readonly #sessions = new Map<string, Session>()
  /** In the order in which they changed first. */
  readonly #changed = new Set<Session>()
  readonly #rungs = new Map<string, number>()
  readonly #free: number[] = []
  #slots = 0
  #closed: number[] = []
  #newRungs: string[] = []
  #refused = 0
  #leftOut = 0
  #next = new Map<number, number>()
  #lags = new Map<number, number>()
  /** Of each broker the moment up to which all that it had then was heard. */
  readonly #drained = new Map<string, number>()
  #appended_ms = 0
  /** Where each partition ended when we began; emptied as we pass. */
  #awaited = new Map<number, number>()
  #caughtUp = false
  #handedOver_ms = 0
  #swept_ms = Date.now()

  constructor(options: FollowerOptions) {
    this.#options = options
  }

  /** Until Kafka is there and has the topic; from then on kafkajs starts again by itself. */
  async follow(): Promise<void> {
    const { brokers, topic, group_id, log_level } = this.#options
    const log = createLog('follower', log_level)
    for (let said = false; ; said = true) {
      const source = new KafkaSource({
        ...{ brokers, topic, log },
        group_id: `${group_id}-abr-${randomUUID()}`,
        session_timeout_ms: SESSION_TIMEOUT_MS,
      })
      try {
        this.#next = new Map(await source.offsetsSince(Date.now() - BEGIN_BEFORE_MS))
        const ends = [...(await source.logEnds())].map(([partition, { high }]) => [partition, high] as const)
        this.#awaited = new Map(ends.filter(([partition, high]) => (this.#next.get(partition) ?? 0) < high))
        await source.start({
          onAssigned: partitions => {
            for (const partition of partitions) {
              const offset = this.#next.get(partition)
              if (offset !== undefined) source.seek(partition, offset)
            }
          },
          onHeartbeat: () => {},
          onBatch: batch => this.#onBatch(batch),
          onUndelivered: (partition, _first, last) => this.#passed(partition, last + 1),
          onFetched: (broker, asked_ms) => {
            if (this.#lag() === 0) this.#drained.set(broker, asked_ms)
          },
          onCrash: (error, restarts) => log.warn({ error: error.message, restarts }, 'follower_failed'),
        })
        this.#caughtUp ||= this.#awaited.size === 0
        log.info({ partitions: this.#next.size }, 'following')
        return
      } catch (error) {
        if (!said) log.warn({ error: error instanceof Error ? error.message : String(error) }, 'follower_waits')
        await source.stop().catch(() => {})
        await sleep(RETRY_MS)
      }
    }
  }

  async #onBatch({ partition, messages, last_offset, high_watermark }: FetchedBatch): Promise<void> {
    for (const { key, value, timestamp } of messages) this.hear(value, key, Number(timestamp))
    this.#lags.set(partition, Math.max(0, high_watermark - last_offset - 1))
    this.#passed(partition, last_offset + 1)
  }

  #passed(partition: number, next: number): void {
    this.#next.set(partition, next)
    if ((this.#awaited.get(partition) ?? next) > next) return
    this.#awaited.delete(partition)
    this.#caughtUp ||= this.#awaited.size === 0
  }

  /** One message. */
  hear(value: Buffer | null, key: Buffer | null, appended_at_ms: number): void {
    this.#appended_ms = Math.max(this.#appended_ms, appended_at_ms)
    const decoded = decode(value, key, appended_at_ms, this.#options.limits)
    if ('refusal' in decoded) {
      this.#refused++
      return
    }
    const { event, at_ms } = decoded
    // What was decided about a session is no news of it.
    if (event.kind === 'abr_decision') return
    const session = this.#sessions.get(event.session_id) ?? this.#open(event.session_id, event.context)
    if (!session?.window.add(event, at_ms)) return
    if (event.context !== session.context) this.#contextOf(session, event.context)
    session.as_of_ms = Math.max(session.as_of_ms, appended_at_ms)
    this.#changed.add(session)
    if (event.kind === 'session' && event.state === 'ended') this.#close(session)
  }

  #open(id: string, context: Context): Session | undefined {
    if (this.#sessions.size >= this.#options.sessions_max) {
      this.#leftOut++
      return undefined
    }
    const slot = this.#free.pop() ?? this.#slots++
    const session = { slot, id, window: new LiveWindow(), context, as_of_ms: 0, told: false }
    this.#sessions.set(id, session)
    return session
  }

  /** What one event leaves out another may know. */
  #contextOf(session: Session, context: Context): void {
    const joined = { ...session.context, ...context }
    if (JSON.stringify(joined) !== JSON.stringify(session.context)) session.told = false
    session.context = joined
  }

  #close(session: Session): void {
    this.#sessions.delete(session.id)
    this.#changed.delete(session)
    this.#closed.push(session.slot)
  }

  #sweep(now_ms: number): void {
    if (now_ms - this.#swept_ms < SWEEP_EVERY_MS) return
    this.#swept_ms = now_ms
    for (const session of this.#sessions.values()) if (now_ms - session.as_of_ms > SILENT_AFTER_MS) this.#close(session)
  }

  #numberOf(rung: string | null): number {
    if (rung === null) return Number.NaN
    const number = this.#rungs.get(rung)
    if (number !== undefined) return number
    if (this.#rungs.size >= RUNGS_MAX) return Number.NaN
    this.#rungs.set(rung, this.#rungs.size)
    this.#newRungs.push(rung)
    return this.#rungs.size - 1
  }

  #lag(): number {
    let all = 0
    for (const lag of this.#lags.values()) all += lag
    return all
  }

  #heard(now_ms: number): number {
    const brokers = [...this.#drained.values()].filter(at_ms => now_ms - at_ms < BROKER_GONE_MS)
    return Math.max(this.#appended_ms, brokers.length > 0 ? Math.min(...brokers) : 0)
  }

  /** Those who changed and fit in, the longest waiting first. */
  #take(): { taken: Session[]; opened: Handover['opened'][number][] } {
    const taken: Session[] = []
    const opened: Handover['opened'][number][] = []
    for (const session of this.#changed) {
      if (taken.length >= CHANGED_MAX || opened.length >= OPENED_MAX) break
      if (!session.told) opened.push({ slot: session.slot, session_id: session.id, context: session.context })
      session.told = true
      taken.push(session)
      this.#changed.delete(session)
    }
    return { taken, opened }
  }

  /** Undefined: nothing to say. */
  handover(now_ms: number): Handover | undefined {
    this.#sweep(now_ms)
    if (this.#changed.size + this.#closed.length === 0 && now_ms - this.#handedOver_ms < HEARTBEAT_MS) return undefined
    this.#handedOver_ms = now_ms
    const begun = performance.now()
    const { taken, opened } = this.#take()
    const slots = new Uint32Array(new ArrayBuffer(4 * taken.length))
    const figures = new Float64Array(new ArrayBuffer(8 * taken.length * WIDTH))
    taken.forEach(({ slot, window, as_of_ms }, row) => {
      slots[row] = slot
      figures[row * WIDTH + AS_OF] = as_of_ms
      figures[row * WIDTH + RUNG] = this.#numberOf(window.rung)
      window.tell(figures, row * WIDTH + FIRST_FIGURE)
    })
    const closed = this.#closed.splice(0, CLOSED_MAX)
    const waiting = this.#changed.size
    const handover = {
      ...{ opened, closed, slots, figures, rungs: this.#newRungs },
      follower: {
        caught_up: this.#caughtUp && waiting === 0,
        heard_ms: this.#heard(now_ms),
        lag: this.#lag(),
        refused: this.#refused,
        left_out: this.#leftOut,
        waiting,
        refresh_ms: performance.now() - begun,
      },
    }
    // Those closed now may be given away from the next handover on.
    this.#free.push(...closed)
    this.#newRungs = []
    return handover
  }
}

if (parentPort) {
  const port = parentPort
  const follower = new Follower(workerData as FollowerOptions)
  void follower.follow()
  setInterval(() => {
    const handover = follower.handover(Date.now())
    if (handover) port.postMessage(handover, [handover.slots.buffer, handover.figures.buffer])
  }, HAND_OVER_EVERY_MS)
}
