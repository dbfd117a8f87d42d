/**
 * Two batches: one is filled while the other is stored. When both are full, Kafka waits: memory is bounded by that.
 * A batch is sent when it is full or old enough, never before the one before it is done.
 */
import type { FlushReason } from '../runtime/vitals.ts'
import { Batch } from '../store/batch.ts'
import type { AdmitContext } from '../store/columns.ts'
import { heartbeating } from './kafka.ts'

export interface BatchesOptions {
  readonly admit: AdmitContext
  /** A batch is full at either. */
  readonly most: { readonly rows: number; readonly bytes: number }
  /** How old a batch may become before it is sent. */
  readonly age_ms: () => number
  /** Must not reject. The batch is emptied after it. */
  readonly store: (batch: Batch, reason: FlushReason) => Promise<void>
}

export class Batches {
  readonly #options: BatchesOptions
  #filling: Batch
  #spare: Batch
  #storing: Promise<void> | undefined
  #timer: NodeJS.Timeout | undefined

  constructor(options: BatchesOptions) {
    this.#options = options
    this.#filling = new Batch(options.admit)
    this.#spare = new Batch(options.admit)
  }

  append(...row: Parameters<Batch['append']>): void {
    this.#filling.append(...row)
    this.#timer ??= setTimeout(() => this.#send('age'), this.#options.age_ms())
  }

  get isFull(): boolean {
    const { rows, bytes } = this.#options.most
    return this.#filling.rows >= rows || this.#filling.bytes >= bytes
  }

  /** Lets other work run, and returns once the batch in the making can take more. */
  async room(heartbeat: () => Promise<void>): Promise<void> {
    await new Promise<void>(resolve => setImmediate(resolve))
    while (this.isFull) {
      if (this.#storing) await heartbeating(this.#storing, heartbeat)
      else this.#send(this.#filling.rows >= this.#options.most.rows ? 'rows' : 'bytes')
    }
  }

  /** Sends the batch in the making, unless one is under way: then it follows as soon as that is done. */
  #send(reason: FlushReason): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    if (this.#storing || this.#filling.rows === 0) return
    const batch = this.#filling
    this.#filling = this.#spare
    this.#spare = batch
    this.#storing = this.#options.store(batch, reason).finally(() => {
      batch.clear()
      this.#storing = undefined
      const begun = this.#filling.begun_at_ms
      if (begun === undefined) return
      const wait = begun + this.#options.age_ms() - Date.now()
      if (this.isFull || wait <= 0) this.#send(this.isFull ? 'rows' : 'age')
      else this.#timer ??= setTimeout(() => this.#send('age'), wait)
    })
  }

  /** What is under way; undefined where nothing is. */
  get storing(): Promise<void> | undefined {
    return this.#storing
  }

  /** Forgets the batch in the making. */
  discard(): void {
    clearTimeout(this.#timer)
    this.#timer = undefined
    this.#filling.clear()
  }

  /** Sends all there is, and resolves when nothing is left. */
  async flush(): Promise<void> {
    while (this.#storing || this.#filling.rows > 0) {
      this.#send('stop')
      await this.#storing
    }
  }
}
