/**
 * The way of a decision into the topic: taken at once or not at all, kept in a bounded buffer, handed to Kafka in the background, tried
 * again until it is there. While Kafka is away the buffer fills; once it is full nothing is taken. Nothing that was taken is dropped,
 * except by a process that dies, or at the deadline of its end.
 *
 * A decision is known by its `decision_id`. One that is said twice, by a caller who got no answer or by a send that failed after all, is
 * two messages of the topic and two rows, and counts once: whoever asks takes the first of each id (`regret-questions.ts`).
 */
import { type AbrDecisionEvent, CONTRACT_VERSION, type Context } from '../../ingest/contract/events.ts'
import { type Clock, systemClock } from '../../ingest/emit/clock.ts'
import type { KafkaSender } from '../../ingest/emit/kafka.ts'
import { Outbox, type Send } from '../../ingest/emit/outbox.ts'

/** What the caller knows of it; when it was decided is epoch milliseconds on our clock. */
export type Decision = Omit<AbrDecisionEvent, 'v' | 'kind' | 'source' | 'seq' | 'sent_at_ms' | 'context'>

/** There is no room for more until Kafka has taken some. */
export class NoRoom extends Error {
  override readonly name = 'NoRoom'
}

export interface DecisionBook {
  /** @throws NoRoom, and then none of them was taken */
  note(decisions: readonly Decision[]): void
  /** Resolves with how many were not handed over, when none are left or the deadline passed. */
  close(deadline_ms: number): Promise<number>
  /** That wait for Kafka. */
  readonly waiting: number
}

const FATES = ['taken', 'turned_away', 'handed_over'] as const
export interface BookVitals {
  noted(decisions: number, fate: (typeof FATES)[number]): void
}

export interface BookOptions {
  readonly send: Send
  readonly vitals: BookVitals
  /** What is known of a session, to stand beside what was decided about it. */
  readonly contextOf?: (session_id: string) => Context | undefined
  readonly decisions_max?: number
  readonly retry_max_ms?: number
  readonly clock?: Clock
  readonly random?: () => number
}

/** Some 500 bytes each. */
const DECISIONS_MAX = 10_000
/** A batch of full-sized messages, of which the contract allows 256 KiB each; never the bound that counts. */
const BYTES_MAX = 100_000_000
const BATCH = { batch_events: 1_000, batch_bytes: 500_000 }
const LINGER_MS = 50
const RETRY = { retry_ms: 200, retry_max_ms: 5_000 }

export function openBook(options: BookOptions): DecisionBook {
  const { send, vitals, clock = systemClock, decisions_max = DECISIONS_MAX } = options
  const outbox = new Outbox({
    send: async messages => {
      await send(messages)
      vitals.noted(messages.length, 'handed_over')
    },
    ...{ key: '', clock, random: options.random ?? Math.random, onDrop: () => {} },
    ...{ ...BATCH, ...RETRY, linger_ms: LINGER_MS, max_events: decisions_max, max_bytes: BYTES_MAX },
    ...(options.retry_max_ms === undefined ? {} : { retry_max_ms: options.retry_max_ms }),
  })
  let closed = false
  return {
    note(decisions) {
      if (closed || outbox.stats().buffered + decisions.length > decisions_max) {
        vitals.noted(decisions.length, 'turned_away')
        throw new NoRoom('the ledger is full')
      }
      vitals.noted(decisions.length, 'taken')
      for (const decision of decisions) {
        const { session_id } = decision
        const seq = seqOf(decision)
        const event: AbrDecisionEvent = {
          ...{ v: CONTRACT_VERSION, kind: 'abr_decision', source: 'controller', seq, ...decision },
          context: options.contextOf?.(session_id) ?? {},
          // Stands last: the outbox replaces it whenever it hands the event over.
          sent_at_ms: 0,
        }
        const text = JSON.stringify(event)
        outbox.add(seq, text.slice(0, text.lastIndexOf(':') + 1), session_id)
      }
    },
    async close(deadline_ms) {
      closed = true
      await outbox.flush(deadline_ms)
      return outbox.abandon()
    },
    get waiting() {
      return outbox.stats().buffered
    },
  }
}

/** Of decisions `seq` says nothing; this one is the same for the same decision, whoever takes it. The last digits of an id are its most random. */
const seqOf = ({ decision_id }: Decision): number => Number.parseInt(decision_id.slice(-8), 16)

/** Connects with the first message, and again until Kafka is there. */
export function connecting({ connect, send }: Pick<KafkaSender, 'connect' | 'send'>): Send {
  let connected: Promise<void> | undefined
  return async messages => {
    connected ??= connect()
    try {
      await connected
    } catch (error) {
      connected = undefined
      throw error
    }
    await send(messages)
  }
}

/** Where no topic is configured. */
export const NO_BOOK: DecisionBook = {
  note: () => {
    throw new NoRoom('there is no ledger')
  },
  close: async () => 0,
  waiting: 0,
}
