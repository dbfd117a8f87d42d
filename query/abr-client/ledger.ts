/**
 * Decisions on their way into the ledger: kept until the API took them, a hundred at a time, the oldest first. Bounded: beyond
 * `WAITING_MAX` a new one is not noted, and whoever decided is told so. One that was sent twice counts once, by its `decision_id`.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { AbrDecisionEvent } from '../../ingest/contract/events.ts'
import { ApiProblem } from '../client.ts'

type Fields = Pick<
  AbrDecisionEvent,
  'session_id' | 'policy' | 'policy_version' | 'from_rung' | 'to_rung' | 'target_bitrate_kbps' | 'reason'
>
export interface Decision extends Fields {
  /** `as_of` of the answer it rests on. */
  readonly as_of?: string | null
}

const WAITING_MAX = 1_000
const TOGETHER = 100
const LINGER_MS = 200
const AGAIN_AFTER_MS = 1_000
const GOODBYE_MS = 1_000
/** As the route has it: of what was decided so long ago nothing is learnt. */
const AGE_MAX_MS = 3_600_000

interface Waiting {
  readonly decision: Decision & { readonly decision_id: string }
  readonly decided_at_ms: number
}

export class Ledger {
  readonly #send: (decisions: readonly object[]) => Promise<unknown>
  #waiting: Waiting[] = []
  #sending: Promise<void> | undefined
  #closed = false

  constructor(send: (decisions: readonly object[]) => Promise<unknown>) {
    this.#send = send
  }

  note(decision: Decision): boolean {
    if (this.#closed || this.#waiting.length >= WAITING_MAX) return false
    this.#waiting.push({ decision: { ...decision, decision_id: randomUUID() }, decided_at_ms: performance.now() })
    this.#sending ??= this.#work().finally(() => {
      this.#sending = undefined
    })
    return true
  }

  async close(): Promise<void> {
    this.#closed = true
    await Promise.race([this.#sending, sleep(GOODBYE_MS, undefined, { ref: false })])
    this.#waiting = []
  }

  async #work(): Promise<void> {
    while (this.#waiting.length > 0) {
      if (!this.#closed) await sleep(LINGER_MS, undefined, { ref: false })
      const now_ms = performance.now()
      this.#waiting = this.#waiting.filter(({ decided_at_ms }) => now_ms - decided_at_ms < AGE_MAX_MS)
      const batch = this.#waiting.slice(0, TOGETHER)
      if (batch.length === 0) return
      const aged = batch.map(({ decision, decided_at_ms }) => ({
        ...decision,
        age_ms: Math.round(now_ms - decided_at_ms),
      }))
      try {
        await this.#send(aged)
      } catch (error) {
        const refused = error instanceof ApiProblem && error.status >= 400 && error.status < 500 && error.status !== 429
        // What is refused will be refused again.
        if (!refused) {
          await sleep(AGAIN_AFTER_MS, undefined, { ref: false })
          continue
        }
      }
      this.#waiting = this.#waiting.slice(batch.length)
    }
  }
}
