/**
 * One batch into the table, until it is known what became of every row of it. Any answer but success means: claim again (the insert
 * is fenced or has ended then), read how far the data goes, and send what is not there.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Batch, insertBatch, type OffsetRange, storedPartitions } from '../store/batch.ts'
import { type Store, worthRetrying } from '../store/clickhouse.ts'
import { claim, type Lease, NotAssigned, readProgress } from '../store/owner.ts'

export interface DeliveryOptions {
  readonly store: Store
  readonly lease: Lease
  /** False once the partitions were assigned anew: whatever is not stored is somebody else's to store. */
  readonly current: () => boolean
  /** A claim made on the way replaces the lease. */
  readonly onLease: (lease: Lease) => void
  readonly onRetry: (error: unknown, attempt: number) => void
}

export interface Delivery {
  /** Read back: these may be committed. */
  readonly stored: ReadonlyMap<number, OffsetRange>
  /** Another writer owns the partitions that are left. */
  readonly fenced: boolean
}

/** @throws what trying again cannot cure */
export async function deliver(batch: Batch, options: DeliveryOptions): Promise<Delivery> {
  const { store, current } = options
  const stored = new Map<number, OffsetRange>()
  const finish = (partitions: Iterable<number>): void => {
    for (const partition of partitions) {
      const range = batch.ranges.get(partition)
      if (range) stored.set(partition, range)
      batch.drop(partition)
    }
  }
  let { lease } = options
  for (let attempt = 0; batch.ranges.size > 0 && current(); attempt++) {
    try {
      if (attempt > 0) {
        lease = await claim(store, lease.log_id, lease.partitions, current)
        options.onLease(lease)
        const { there, foreign } = whatIsThere(batch, await readProgress(store, lease.log_id, lease.partitions))
        finish(there)
        if (foreign) return { stored, fenced: true }
        if (batch.ranges.size === 0) break
      }
      await insertBatch(store, lease, batch)
      finish(await storedPartitions(store, lease, batch))
      return { stored, fenced: batch.ranges.size > 0 }
    } catch (error) {
      if (error instanceof NotAssigned) break
      if (!worthRetrying(error)) throw error
      options.onRetry(error, attempt)
      await backOff(attempt, current)
    }
  }
  return { stored, fenced: false }
}

/** A batch is all there or not at all; anything else was written by somebody else. */
function whatIsThere(
  batch: Batch,
  progress: ReadonlyMap<number, { readonly next: number | undefined }>,
): { there: number[]; foreign: boolean } {
  const there: number[] = []
  let foreign = false
  for (const [partition, range] of batch.ranges) {
    const next = progress.get(partition)?.next
    if (next === range.next) there.push(partition)
    else if (next !== undefined && next !== range.first) foreign = true
  }
  return { there, foreign }
}

const FIRST_MS = 100
const MOST_MS = 5_000

/** Exponential back-off, half of it jitter, ended early once `current` says no. */
export async function backOff(attempt: number, current: () => boolean): Promise<void> {
  const most = Math.min(MOST_MS, FIRST_MS * 2 ** attempt)
  const until = Date.now() + most / 2 + (Math.random() * most) / 2
  while (current() && Date.now() < until) await sleep(Math.min(50, until - Date.now()))
}
