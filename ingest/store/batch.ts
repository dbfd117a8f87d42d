/**
 * A batch: rows of several partitions, each a run of offsets without a hole, inserted as one block: all or nothing.
 * Fenced inside the statement: rows count only if their writer still owns their partition. A fenced insert answers OK and stores
 * nothing, which is why every insert is read back before its offsets are committed.
 */
import type { Store } from './clickhouse.ts'
import { type Accepted, type AdmitContext, EventRows, type Gap, type Position, type Refused } from './columns.ts'
import { insertComment, type Lease, OWNERS } from './owner.ts'

/** Offsets [first, next) of one partition. */
export interface OffsetRange {
  readonly first: number
  next: number
  /** Append time of the record before `next`; undefined where that is a gap. */
  last_appended_at_ms: number | undefined
}

export class Batch {
  readonly #rows: EventRows
  readonly ranges = new Map<number, OffsetRange>()
  /** Bytes of Kafka messages behind the rows: what bounds memory. */
  bytes = 0
  /** When its first row was appended, or undefined. */
  begun_at_ms: number | undefined
  /** The earliest append time among its records, or undefined. */
  oldest_appended_at_ms: number | undefined
  /** The earliest start among its events: how far back cells change once it is stored. */
  oldest_at_ms = Number.POSITIVE_INFINITY
  /** Identifies the insert in the table; taken once, kept over retries. */
  ingested_at_ms: number | undefined

  constructor(admit: AdmitContext) {
    this.#rows = new EventRows(admit)
  }

  get rows(): number {
    return this.#rows.rows
  }

  append(position: Position, content: Accepted | Refused | Gap, bytes: number): void {
    this.begun_at_ms ??= Date.now()
    const range = this.ranges.get(position.kafka_partition)
    const next = position.kafka_offset + ('gap' in content ? content.offsets : 1)
    const last_appended_at_ms = 'gap' in content ? undefined : position.appended_at_ms
    if (range === undefined) {
      this.ranges.set(position.kafka_partition, { first: position.kafka_offset, next, last_appended_at_ms })
    } else {
      if (range.next !== position.kafka_offset) {
        throw new Error(
          `partition ${position.kafka_partition}: offset ${position.kafka_offset} does not follow ${range.next - 1}`,
        )
      }
      range.next = next
      range.last_appended_at_ms = last_appended_at_ms
    }
    if (
      last_appended_at_ms !== undefined &&
      !(this.oldest_appended_at_ms !== undefined && this.oldest_appended_at_ms <= last_appended_at_ms)
    ) {
      this.oldest_appended_at_ms = last_appended_at_ms
    }
    if ('event' in content && content.at_ms < this.oldest_at_ms) this.oldest_at_ms = content.at_ms
    this.#rows.append(position, content)
    this.bytes += bytes
  }

  /** Leaves the partition's rows out of the insert. */
  drop(partition: number): void {
    this.ranges.delete(partition)
  }

  clear(): void {
    this.#rows.clear()
    this.ranges.clear()
    this.bytes = 0
    this.begun_at_ms = undefined
    this.oldest_appended_at_ms = undefined
    this.oldest_at_ms = Number.POSITIVE_INFINITY
    this.ingested_at_ms = undefined
  }

  get structure(): EventRows['structure'] {
    return this.#rows.structure
  }

  block(): Uint8Array[] {
    return this.#rows.block()
  }
}

/** One block, one part: never split, never delayed. */
const ONE_PART = `max_insert_threads = 1, min_insert_block_size_rows = 100000000, min_insert_block_size_bytes = 0, async_insert = 0`

const quoted = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`

/** Inserts the batch's rows, as far as `lease` owns their partitions. Resolving says nothing of what was stored: read it back. */
export async function insertBatch(store: Store, lease: Lease, batch: Batch): Promise<void> {
  batch.ingested_at_ms ??= Date.now()
  const names = batch.structure.map(([name]) => name).join(', ')
  const structure = batch.structure.map(([name, type]) => `${name} ${type}`).join(', ')
  await store.insertNative(
    `INSERT INTO events_v1 (${names}, ingested_at)
     SELECT ${names}, fromUnixTimestamp64Milli({ingested_at:Int64}, 'UTC')
     FROM input(${quoted(structure)})
     WHERE kafka_partition IN {partitions:Array(UInt32)} AND (kafka_partition, {writer:UUID}) IN (${OWNERS})
     SETTINGS ${ONE_PART}
     FORMAT Native`,
    batch.block(),
    {
      log_id: lease.log_id,
      writer: lease.writer,
      partitions: [...batch.ranges.keys()],
      ingested_at: batch.ingested_at_ms,
    },
    { log_comment: insertComment(lease) },
  )
}

/** Of the batch's partitions, those whose rows are stored to the last. Exactly its own rows: by their `ingested_at`, which prunes parts. */
export async function storedPartitions(store: Store, lease: Lease, batch: Batch): Promise<Set<number>> {
  const rows = await store.query<{ kafka_partition: number; next: number }>(
    `SELECT kafka_partition, max(kafka_offset + offsets) AS next FROM events_v1
     WHERE log_id = {log_id:String} AND kafka_partition IN {partitions:Array(UInt32)}
       AND ingested_at = fromUnixTimestamp64Milli({ingested_at:Int64}, 'UTC')
     GROUP BY kafka_partition`,
    { log_id: lease.log_id, partitions: [...batch.ranges.keys()], ingested_at: batch.ingested_at_ms },
  )
  return new Set(
    rows.filter(row => row.next === batch.ranges.get(row.kafka_partition)?.next).map(row => row.kafka_partition),
  )
}
