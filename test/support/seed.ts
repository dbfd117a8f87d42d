/**
 * Rows for tests of the API, by the path production takes: a lease, a batch of typed columns, one Native block, the store's own
 * settling. What is left out is Kafka: positions are given here.
 */
import { createHash } from 'node:crypto'
import type { QualityEvent } from '../../ingest/contract/events.ts'
import type { Refusal } from '../../ingest/contract/refusal.ts'
import { DEFAULTS } from '../../ingest/runtime/variables.ts'
import { Batch, insertBatch, storedPartitions } from '../../ingest/store/batch.ts'
import type { Store } from '../../ingest/store/clickhouse.ts'
import { CUBE, settleCube } from '../../ingest/store/cube.ts'
import { retentionOf } from '../../ingest/store/migrate.ts'
import { claim, type Lease } from '../../ingest/store/owner.ts'
import { COARSER_TIERS, due10s, dueCoarser, settle, TIERS } from '../../ingest/store/settle.ts'

/** As the configuration has it where nothing is said. */
export const RETENTION = retentionOf(DEFAULTS)

const PARTITION = 0
/** From being handed over to Kafka's append. */
const TRANSIT_MS = 40

export interface RefusedMessage {
  readonly refusal: Refusal
  readonly key: string
  readonly bytes: Uint8Array
  readonly appended_at_ms: number
}

/** An event with what Kafka and the clock rule say of it. */
export interface DeliveredEvent {
  readonly event: QualityEvent
  readonly at_ms: number
  readonly appended_at_ms: number
  readonly clock_shift_ms: number
}

/** Inserts one batch after the other behind what it inserted before, into a log of its own. */
export class Seed {
  readonly #store: Store
  readonly log_id: string
  #lease: Lease | undefined
  #next = 0

  constructor(store: Store, log_id: string) {
    this.#store = store
    this.log_id = log_id
  }

  async insert(contents: readonly (QualityEvent | RefusedMessage | DeliveredEvent)[]): Promise<void> {
    this.#lease ??= await claim(this.#store, this.log_id, [PARTITION], () => true)
    const batch = new Batch((_field, value) => value)
    for (const content of contents) {
      const appended_at_ms = 'appended_at_ms' in content ? content.appended_at_ms : content.sent_at_ms + TRANSIT_MS
      const position = { log_id: this.log_id, kafka_partition: PARTITION, kafka_offset: this.#next++, appended_at_ms }
      const row =
        'refusal' in content
          ? {
              refusal: content.refusal,
              key: Buffer.from(content.key),
              bytes: content.bytes,
              bytes_total: content.bytes.length,
            }
          : 'event' in content
            ? { ...content, extensions: 0 }
            : { event: content, at_ms: content.started_at_ms, clock_shift_ms: 0, extensions: 0 }
      batch.append(position, row, 0)
    }
    await insertBatch(this.#store, this.#lease, batch)
    const stored = await storedPartitions(this.#store, this.#lease, batch)
    if (!stored.has(PARTITION)) throw new Error('the seed was not stored')
  }
}

/** Settles whatever is due at or after `since` (epoch seconds): ten seconds first, then of each coarser tier, and of the cube, what has ended by `until`. */
export async function settleAll(store: Store, since: number, until = Number.POSITIVE_INFINITY): Promise<void> {
  await settle(store, '10s', await due10s(store, since))
  for (const tier of COARSER_TIERS) {
    const due = await dueCoarser(store, tier, since)
    await settle(
      store,
      tier,
      due.filter(({ t }) => t + TIERS[tier].seconds <= until),
    )
  }
  const minutes = await dueCoarser(store, CUBE, since)
  await settleCube(
    store,
    minutes.filter(({ t }) => t + TIERS.minute.seconds <= until),
  )
}

/** A key for the API, and the hash by which it is known. */
export function keyFor(whom: string): { readonly key: string; readonly hash: Buffer } {
  const key = createHash('sha256').update(whom).digest('base64url')
  return { key, hash: createHash('sha256').update(key).digest() }
}
