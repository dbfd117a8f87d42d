/**
 * What an emitter has taken and not yet got rid of: a bounded queue, one batch under way, back-off after failures.
 * A batch that failed goes back to the head of the queue: its events are then the oldest, and the first to be dropped.
 */
import type { Clock } from './clock.ts'
import type { EmitterOptions, Message } from './emitter.ts'

export interface OutboxOptions {
  readonly key: string
  readonly send: EmitterOptions['send']
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

interface Waiting {
  readonly seq: number
  /** The event's text up to the value of `sent_at_ms`, its last field. */
  readonly text: string
  readonly bytes: number
}

/** `1763836000000}` */
const STAMP_BYTES = 14

export class Outbox {
  readonly #options: OutboxOptions
  /** Waiting from `#head` on; what lies before is gone and cut off now and then. */
  #queue: Waiting[] = []
  #head = 0
  #under_way: readonly Waiting[] = []
  #bytes = 0
  #waiting_bytes = 0
  #sent = 0
  #dropped = 0
  #failed_sends = 0
  #failures = 0
  #timer: (() => void) | undefined
  #backing_off = false
  #flushes = 0
  #abandoned = false
  #idle: (() => void)[] = []

  constructor(options: OutboxOptions) {
    this.#options = options
  }

  add(seq: number, text: string): void {
    const bytes = Buffer.byteLength(text) + STAMP_BYTES
    this.#queue.push({ seq, text, bytes })
    this.#bytes += bytes
    this.#waiting_bytes += bytes
    this.#makeRoom()
    this.#pump()
  }

  drop(seq: number): void {
    this.#dropped++
    this.#options.onDrop(seq)
  }

  /** Resolves with how many events are left, once none is or the deadline passed. Cuts a wait for a retry short, once. */
  async flush(deadline_ms: number): Promise<number> {
    this.#flushes++
    this.#stopTimer()
    this.#backing_off = false
    this.#pump()
    if (this.#count() > 0) {
      await new Promise<void>(resolve => {
        const cancel = this.#options.clock.after(deadline_ms, resolve, true)
        this.#idle.push(() => {
          cancel()
          resolve()
        })
      })
    }
    this.#flushes--
    return this.#count()
  }

  /** Drops everything. What is under way may still arrive; it counts as dropped. */
  abandon(): number {
    this.#abandoned = true
    this.#stopTimer()
    const left = this.#count()
    for (const { seq } of this.#under_way) this.drop(seq)
    for (const { seq } of this.#queue.slice(this.#head)) this.drop(seq)
    this.#queue = []
    this.#head = 0
    this.#under_way = []
    this.#bytes = 0
    this.#waiting_bytes = 0
    return left
  }

  stats() {
    return {
      sent: this.#sent,
      dropped: this.#dropped,
      failed_sends: this.#failed_sends,
      buffered: this.#count(),
      buffered_bytes: this.#bytes,
    }
  }

  #count(): number {
    return this.#waiting() + this.#under_way.length
  }

  #waiting(): number {
    return this.#queue.length - this.#head
  }

  #makeRoom(): void {
    const { max_events, max_bytes } = this.#options
    while (this.#waiting() > 0 && (this.#count() > max_events || this.#bytes > max_bytes)) {
      const oldest = this.#shift()
      if (!oldest) return
      this.#bytes -= oldest.bytes
      this.drop(oldest.seq)
    }
  }

  #shift(): Waiting | undefined {
    const first = this.#queue[this.#head]
    if (!first) return undefined
    this.#head++
    this.#waiting_bytes -= first.bytes
    if (this.#head * 2 > this.#queue.length) {
      this.#queue = this.#queue.slice(this.#head)
      this.#head = 0
    }
    return first
  }

  /** Hands a batch over if one is due, or makes sure of being asked again. */
  #pump(): void {
    if (this.#abandoned || this.#under_way.length > 0 || this.#backing_off || this.#waiting() === 0) return
    const { batch_events, batch_bytes, linger_ms, clock } = this.#options
    const due = this.#flushes > 0 || this.#waiting() >= batch_events || this.#waiting_bytes >= batch_bytes
    if (due) {
      this.#stopTimer()
      this.#handOver()
    } else if (!this.#timer) {
      this.#timer = clock.after(linger_ms, () => {
        this.#timer = undefined
        this.#handOver()
      })
    }
  }

  #handOver(): void {
    const batch = this.#takeBatch()
    if (batch.length === 0) return
    this.#under_way = batch
    const stamp = `${this.#options.clock.now()}}`
    const messages: Message[] = batch.map(({ text }) => ({ key: this.#options.key, value: text + stamp }))
    // A send that throws at once is a send that failed.
    new Promise<void>(resolve => resolve(this.#options.send(messages))).then(
      () => this.#onSent(batch),
      () => this.#onFailed(batch),
    )
  }

  #takeBatch(): Waiting[] {
    const { batch_events, batch_bytes } = this.#options
    const batch: Waiting[] = []
    let bytes = 0
    for (let next = this.#queue[this.#head]; next && batch.length < batch_events; next = this.#queue[this.#head]) {
      // One that is too big for any batch goes alone.
      if (batch.length > 0 && bytes + next.bytes > batch_bytes) break
      bytes += next.bytes
      batch.push(next)
      this.#shift()
    }
    return batch
  }

  #onSent(batch: readonly Waiting[]): void {
    if (this.#abandoned) return
    this.#sent += batch.length
    this.#bytes -= sumBytes(batch)
    this.#under_way = []
    this.#failures = 0
    if (this.#count() > 0) return this.#pump()
    const idle = this.#idle
    this.#idle = []
    for (const resolve of idle) resolve()
  }

  #onFailed(batch: readonly Waiting[]): void {
    this.#failed_sends++
    if (this.#abandoned) return
    this.#under_way = []
    this.#queue = [...batch, ...this.#queue.slice(this.#head)]
    this.#head = 0
    this.#waiting_bytes += sumBytes(batch)
    this.#makeRoom()
    const { clock, random, retry_ms, retry_max_ms } = this.#options
    const ceiling = Math.min(retry_max_ms, retry_ms * 2 ** Math.min(this.#failures++, 30))
    this.#backing_off = true
    this.#timer = clock.after(ceiling / 2 + (random() * ceiling) / 2, () => {
      this.#timer = undefined
      this.#backing_off = false
      this.#handOver()
    })
  }

  #stopTimer(): void {
    this.#timer?.()
    this.#timer = undefined
  }
}

const sumBytes = (batch: readonly Waiting[]): number => batch.reduce((sum, { bytes }) => sum + bytes, 0)
