/**
 * How fresh the store is: the time from handing an event to the producer until a query sees its row, measured on one event at a time.
 * Looked for every 50 ms, so a figure is up to that too high, never too low. A query reads one granule of the primary key.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Message } from '../../ingest/emit/emitter.ts'
import type { Store } from '../../ingest/store/clickhouse.ts'

const LOOK_EVERY_MS = 50
/** An event not seen within this is taken for this old. */
const GIVEN_UP_MS = 60_000
/** The figures are over the latest so many. */
const SAMPLES_KEPT = 200

const SEEN = `
SELECT count() AS rows FROM events_v1
WHERE t10 = toDateTime(intDiv({started_at_ms:Int64}, 10000) * 10, 'UTC') AND session_id = {session_id:UUID}
  AND source = {source:String} AND seq = {seq:UInt32}`

interface Sought {
  readonly session_id: string
  readonly source: string
  readonly seq: number
  readonly started_at_ms: number
}

export interface Freshness {
  readonly samples: number
  readonly p50_ms: number | undefined
  readonly p99_ms: number | undefined
}

export class FreshnessProbe {
  readonly #store: Pick<Store, 'query'>
  readonly #onSample: (age_ms: number) => void
  #samples: number[] = []
  #looking = false

  /** @param onSample for who wants each figure, not only the latest */
  constructor(store: Pick<Store, 'query'>, onSample: (age_ms: number) => void = () => {}) {
    this.#store = store
    this.#onSample = onSample
  }

  /** Messages that are being handed to the producer now. Takes one if none is looked for. */
  offer(messages: readonly Message[]): void {
    const [first] = messages
    if (this.#looking || !first) return
    const sought = JSON.parse(first.value) as Sought & { readonly sent_at_ms: number }
    // A client with a wrong clock is stored elsewhere than its event says.
    if (Math.abs(Date.now() - sought.sent_at_ms) > 10_000) return
    this.#looking = true
    void this.#look(sought).finally(() => {
      this.#looking = false
    })
  }

  /** Nearest rank, over the latest samples. */
  figures(): Freshness {
    const sorted = [...this.#samples].sort((a, b) => a - b)
    const rank = (p: number) => sorted[Math.min(sorted.length - 1, Math.ceil(p * sorted.length) - 1)]
    return { samples: sorted.length, p50_ms: rank(0.5), p99_ms: rank(0.99) }
  }

  async #look({ session_id, source, seq, started_at_ms }: Sought): Promise<void> {
    const since = performance.now()
    const age = () => performance.now() - since
    while (age() < GIVEN_UP_MS) {
      await sleep(LOOK_EVERY_MS, undefined, { ref: false })
      const asked_at = age()
      // A store that is down answers nothing; its time counts.
      const rows = await this.#store
        .query<{ rows: number }>(SEEN, { session_id, source, seq, started_at_ms })
        .catch(() => [])
      if ((rows[0]?.rows ?? 0) > 0) return this.#note(asked_at)
    }
    this.#note(GIVEN_UP_MS)
  }

  #note(age_ms: number): void {
    this.#samples = [...this.#samples.slice(1 - SAMPLES_KEPT), Math.round(age_ms)]
    this.#onSample(Math.round(age_ms))
  }
}
