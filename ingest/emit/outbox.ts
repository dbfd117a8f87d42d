/**
 * What an emitter has taken and not yet got rid of: a bounded queue, one batch under way, back-off after failures.
 * A batch that failed goes back to the head of the queue: its events are then the oldest, and the first to be dropped.
 */
import type { Clock } from './clock.ts'
import { Queue, sumBytes, type Waiting } from './queue.ts'

/** What goes to the topic: `key` keeps a session on one partition, in order. */
export interface Message {
  readonly key: string
  readonly value: string
}

/** Resolves once the messages are kept (Kafka: acknowledged by all replicas). Rejects if they may not be. One call at a time. */
export type Send = (messages: readonly Message[]) => Promise<void>

export interface OutboxOptions {
  /** Of what says none of its own. */
  readonly key: string
  readonly send: Send
  readonly clock: Clock
  readonly random: () => number
  readonly max_events: number
  readonly max_bytes: number
  readonly batch_events: number
  readonly batch_bytes: number
  readonly linger_ms: number
  readonly retry_ms: number
  readonly retry_max_ms: number
  readonly onDrop: (seq: number) => void
}

/** `1763836000000}` */
const STAMP_BYTES = 14
/** Beyond this many failures in a row the ceiling has long been reached. */
const DOUBLINGS_MAX = 30

export class Outbox {
  readonly #options: OutboxOptions
  readonly #queue = new Queue()
  #under_way: readonly Waiting[] = []
  #under_way_bytes = 0
  #sent = 0
  #dropped = 0
  #failed_sends = 0
  #failures_in_a_row = 0
  /** The end of lingering, or of backing off. */
  #timer: (() => void) | undefined
  #backing_off = false
  readonly #flushes = new Set<() => void>()
  #abandoned = false

  constructor(options: OutboxOptions) {
    this.#options = options
  }

  /** @param text the event's, up to the value of `sent_at_ms` */
  add(seq: number, text: string, key?: string): void {
    this.#queue.push({ seq, text, key, bytes: Buffer.byteLength(text) + STAMP_BYTES })
    this.#makeRoom()
    this.#pump()
  }

  drop(seq: number): void {
    this.#dropped++
    this.#options.onDrop(seq)
  }

  /** Resolves with how many events are left, once none is or the deadline passed. Cuts a wait for a retry short, once. */
  async flush(deadline_ms: number): Promise<number> {
    if (this.#count() === 0) return 0
    await new Promise<void>(resolve => {
      const cancel = this.#options.clock.after(deadline_ms, () => done(), true)
      const done = () => {
        cancel()
        this.#flushes.delete(done)
        resolve()
      }
      this.#flushes.add(done)
      this.#stopTimer()
      this.#pump()
    })
    return this.#count()
  }

  /** Drops everything. What is under way may still arrive; it counts as dropped. */
  abandon(): number {
    const left = this.#count()
    this.#abandoned = true
    this.#stopTimer()
    for (const { seq } of this.#under_way) this.drop(seq)
    this.#landed()
    for (let next = this.#queue.shift(); next; next = this.#queue.shift()) this.drop(next.seq)
    return left
  }

  stats() {
    return {
      sent: this.#sent,
      dropped: this.#dropped,
      failed_sends: this.#failed_sends,
      buffered: this.#count(),
      buffered_bytes: this.#bytes(),
    }
  }

  #count(): number {
    return this.#queue.length + this.#under_way.length
  }

  #bytes(): number {
    return this.#queue.bytes + this.#under_way_bytes
  }

  #makeRoom(): void {
    const { max_events, max_bytes } = this.#options
    while (this.#count() > max_events || this.#bytes() > max_bytes) {
      const oldest = this.#queue.shift()
      if (!oldest) return
      this.drop(oldest.seq)
    }
  }

  /** Hands a batch over if one is due, or makes sure of being asked again. */
  #pump(): void {
    if (this.#abandoned || this.#under_way.length > 0 || this.#backing_off || this.#queue.length === 0) return
    const { batch_events, batch_bytes, linger_ms, clock } = this.#options
    if (this.#flushes.size > 0 || this.#queue.length >= batch_events || this.#queue.bytes >= batch_bytes) {
      this.#handOver()
    } else {
      this.#timer ??= clock.after(linger_ms, () => this.#handOver())
    }
  }

  #handOver(): void {
    this.#stopTimer()
    const { key, send, clock, batch_events, batch_bytes } = this.#options
    const batch = this.#queue.take(batch_events, batch_bytes)
    if (batch.length === 0) return
    this.#under_way = batch
    this.#under_way_bytes = sumBytes(batch)
    // Stamped at each try: `sent_at_ms` tells the store how wrong the speaker's clock is, and an old stamp would lie.
    const stamp = `${clock.now()}}`
    const messages: Message[] = batch.map(({ text, key: own }) => ({ key: own ?? key, value: text + stamp }))
    // A send that throws at once is a send that failed.
    new Promise<void>(resolve => resolve(send(messages))).then(
      () => this.#onSent(),
      () => this.#onFailed(),
    )
  }

  #onSent(): void {
    if (this.#abandoned) return
    this.#sent += this.#under_way.length
    this.#landed()
    this.#failures_in_a_row = 0
    this.#pump()
    if (this.#count() === 0) for (const done of this.#flushes) done()
  }

  #onFailed(): void {
    this.#failed_sends++
    if (this.#abandoned) return
    this.#queue.putBack(this.#under_way)
    this.#landed()
    this.#makeRoom()
    const { clock, random, retry_ms, retry_max_ms } = this.#options
    const ceiling = Math.min(retry_max_ms, retry_ms * 2 ** Math.min(this.#failures_in_a_row++, DOUBLINGS_MAX))
    this.#backing_off = true
    this.#timer = clock.after(ceiling / 2 + (random() * ceiling) / 2, () => this.#handOver())
  }

  #landed(): void {
    this.#under_way = []
    this.#under_way_bytes = 0
  }

  #stopTimer(): void {
    this.#timer?.()
    this.#timer = undefined
    this.#backing_off = false
  }
}
