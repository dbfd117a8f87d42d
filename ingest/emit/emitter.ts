/**
 * The client's end: takes events from a game's loop, numbers them, and hands them on in batches. It opens no connection (`send` does)
 * and never throws into the loop. Memory is bounded: when full, the oldest waiting event is dropped and counted, and as every event
 * got its `seq` when it was made, the store sees the gap. What `send` fails to hand over is tried again; the store counts an event once.
 */

import { checkParsed } from '../contract/check.ts'
import { CONTRACT_VERSION, type Context, type QualityEvent } from '../contract/events.ts'
import { MESSAGE_MAX_BYTES, type Refusal } from '../contract/refusal.ts'
import { type Clock, systemClock } from './clock.ts'
import { Outbox, type Send } from './outbox.ts'

export type { Message } from './outbox.ts'

export type Source = QualityEvent['source']
type Stamped = 'v' | 'session_id' | 'source' | 'seq' | 'sent_at_ms' | 'context'
/** An event as its maker knows it; the emitter adds who speaks, the number and the time of handover. */
export type Draft<E extends QualityEvent> = E extends QualityEvent ? Omit<E, Stamped> : never
export type EventDraft = Draft<QualityEvent>

export interface EmitterOptions {
  readonly session_id: string
  readonly source: Source
  readonly context: Context
  readonly send: Send
  /** Events and bytes waiting or under way; beyond either the oldest waiting one is dropped. */
  readonly max_buffered_events?: number
  readonly max_buffered_bytes?: number
  /** A batch is handed over when it has so many events or bytes, or its first event has waited for `linger_ms`. */
  readonly batch_events?: number
  readonly batch_bytes?: number
  readonly linger_ms?: number
  /** Waiting after failures: between half of and the whole of `retry_ms` doubled each time, up to `retry_max_ms`. */
  readonly retry_ms?: number
  readonly retry_max_ms?: number
  readonly onDrop?: (seq: number) => void
  readonly onRefuse?: (refusal: Refusal) => void
  readonly clock?: Clock
  readonly random?: () => number
}

/** made = sent + refused + dropped + buffered, always. */
export interface EmitterStats {
  readonly made: number
  readonly sent: number
  readonly refused: number
  readonly dropped: number
  readonly failed_sends: number
  readonly buffered: number
  readonly buffered_bytes: number
}

export interface Emitter {
  /** Takes an event. A refusal says which field breaks the contract; the event is counted and gone, its number used up. */
  emit(draft: EventDraft): Refusal | undefined
  /** Hands over without lingering. Resolves when nothing is left or the deadline passed, with how many events are left. */
  flush(deadline_ms: number): Promise<number>
  /** `flush`, after which nothing is taken any more and what is left is dropped. Resolves with how many events that were. */
  close(deadline_ms: number): Promise<number>
  stats(): EmitterStats
}

/** About ten minutes of a session that cannot reach anybody. */
const BUFFERED_EVENTS = 1_500
const BUFFERED_BYTES = 2_000_000
const BATCH_EVENTS = 200
const BATCH_BYTES = 200_000
const LINGER_MS = 100
const RETRY_MS = 200
const RETRY_MAX_MS = 10_000

export function createEmitter(options: EmitterOptions): Emitter {
  const { session_id, source, context, clock = systemClock } = options
  const outbox = new Outbox({
    key: session_id,
    send: options.send,
    clock,
    random: options.random ?? Math.random,
    max_events: options.max_buffered_events ?? BUFFERED_EVENTS,
    max_bytes: options.max_buffered_bytes ?? BUFFERED_BYTES,
    batch_events: options.batch_events ?? BATCH_EVENTS,
    batch_bytes: options.batch_bytes ?? BATCH_BYTES,
    linger_ms: options.linger_ms ?? LINGER_MS,
    retry_ms: options.retry_ms ?? RETRY_MS,
    retry_max_ms: options.retry_max_ms ?? RETRY_MAX_MS,
    onDrop: options.onDrop ?? (() => {}),
  })
  let made = 0
  let refused = 0
  let closed = false

  function refuse(refusal: Refusal): Refusal {
    refused++
    options.onRefuse?.(refusal)
    return refusal
  }

  return {
    emit(draft) {
      const seq = made++
      // `sent_at_ms` stands last: the outbox replaces it whenever it hands the event over.
      const event = { v: CONTRACT_VERSION, session_id, source, seq, context, ...draft, sent_at_ms: clock.now() }
      const { refusal } = checkParsed(event)
      if (refusal) return refuse(refusal)
      const text = JSON.stringify(event)
      if (Buffer.byteLength(text) > MESSAGE_MAX_BYTES) {
        return refuse({ reason: 'too_large', detail: `${Buffer.byteLength(text)} bytes, at most ${MESSAGE_MAX_BYTES}` })
      }
      if (closed) outbox.drop(seq)
      else outbox.add(seq, text.slice(0, text.lastIndexOf(':') + 1))
      return undefined
    },
    flush: deadline_ms => outbox.flush(deadline_ms),
    async close(deadline_ms) {
      closed = true
      await outbox.flush(deadline_ms)
      return outbox.abandon()
    },
    stats: () => ({ made, refused, ...outbox.stats() }),
  }
}
