/**
 * Who may write a partition, and from where: the taking of partitions. Kafka's committed offsets are advice; the truth is the data.
 *
 * Claim (a new epoch and writer), see that the claim stands, see that no insert of an earlier claim still runs, then read how far
 * the data goes. After that nobody else's rows can appear: inserts that begin later are fenced by the claim.
 */
import { randomUUID } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import type { Store } from './clickhouse.ts'

export interface Lease {
  readonly log_id: string
  readonly writer: string
  readonly partitions: readonly number[]
}

/** Where a partition goes on. */
export interface Progress {
  /** The first offset that is not stored; undefined where nothing ever was. */
  readonly next: number | undefined
  /** Kafka's append time of the record before `next`; undefined where that was never delivered. */
  readonly last_appended_at_ms: number | undefined
}

/** The partitions are no longer ours to claim. */
export class NotAssigned extends Error {
  override readonly name = 'NotAssigned'
}

/** Marks our inserts in ClickHouse's process list: `load <log_id> <writer>`. */
export const insertComment = (lease: Lease): string => `load ${lease.log_id} ${lease.writer}`

/** The writer that owns each partition, as a subquery. Two claimants of one epoch: exactly one wins. */
export const OWNERS = `SELECT kafka_partition, argMax(writer, (epoch, writer)) FROM partition_owners_v1
  WHERE log_id = {log_id:String} GROUP BY kafka_partition`

const CLAIM_PAUSE_MS = 50
/** An insert of an earlier claim may finish by itself for this long before it is killed. */
const PATIENCE_MS = 5_000
const POLL_MS = 25

/**
 * Claims the partitions for a new writer and returns once nobody else's insert into them can still land.
 * @throws NotAssigned once `stillAssigned` says no; what the store throws
 */
export async function claim(
  store: Store,
  log_id: string,
  partitions: readonly number[],
  stillAssigned: () => boolean,
): Promise<Lease> {
  const lease: Lease = { log_id, writer: randomUUID(), partitions }
  const params = { log_id, partitions, writer: lease.writer }
  for (;;) {
    if (!stillAssigned()) throw new NotAssigned('the partitions were assigned elsewhere')
    await store.command(
      `INSERT INTO partition_owners_v1 (log_id, kafka_partition, epoch, writer, taken_at)
       SELECT {log_id:String}, p, ifNull(claimed.latest, 0) + 1, {writer:UUID}, now64(3)
       FROM (SELECT arrayJoin({partitions:Array(UInt32)}) AS p) AS wanted
       LEFT JOIN (
         SELECT kafka_partition, max(epoch) AS latest FROM partition_owners_v1 WHERE log_id = {log_id:String} GROUP BY kafka_partition
       ) AS claimed ON claimed.kafka_partition = wanted.p
       SETTINGS async_insert = 0`,
      params,
    )
    const owned = await store.query<{ owned: number }>(
      `SELECT count() AS owned FROM (${OWNERS}) AS owners (kafka_partition, writer)
       WHERE writer = {writer:UUID} AND kafka_partition IN {partitions:Array(UInt32)}`,
      params,
    )
    if (owned[0]?.owned === partitions.length) break
    await sleep(CLAIM_PAUSE_MS * (1 + Math.random()))
  }
  await endEarlierInserts(store, lease)
  return lease
}

/**
 * Waits for the inserts that run now and are not ours, then kills what is left. One that has not begun yet will be fenced.
 * Inserts of other partitions' owners are waited for too: which partitions an insert writes cannot be seen from outside.
 */
async function endEarlierInserts(store: Store, lease: Lease): Promise<void> {
  const running = async (): Promise<string[]> => {
    const rows = await store.query<{ query_id: string }>(
      `SELECT query_id FROM system.processes
       WHERE startsWith(Settings['log_comment'], {prefix:String}) AND Settings['log_comment'] != {ours:String}`,
      { prefix: `load ${lease.log_id} `, ours: insertComment(lease) },
    )
    return rows.map(row => row.query_id)
  }
  const earlier = await running()
  const patience = Date.now() + PATIENCE_MS
  for (let left = earlier; left.length > 0; ) {
    if (Date.now() > patience) {
      await store.command('KILL QUERY WHERE query_id IN {ids:Array(String)} SYNC', { ids: left })
    }
    await sleep(POLL_MS)
    const now = new Set(await running())
    left = left.filter(id => now.has(id))
  }
}

/** How far back before the last noted progress rows are looked for: longer than notes are apart, by far. */
const NOTE_SLACK_HOURS = 24

/** How far the data of each partition goes: the greater of the rows and the noted progress. */
export async function readProgress(
  store: Store,
  log_id: string,
  partitions: readonly number[],
): Promise<Map<number, Progress>> {
  const params = { log_id, partitions }
  interface Row {
    kafka_partition: number
    next: number
    last_appended_at_ms: number | null
  }
  // In a tuple, as argMax passes over NULL: the append time of a record further back would be looked for before `next`.
  const noted = await store.query<Row & { since: string }>(
    `SELECT kafka_partition, max(next_offset) AS next,
       toUnixTimestamp64Milli(argMax(tuple(last_appended_at), next_offset).1) AS last_appended_at_ms,
       toString(max(noted_at) - INTERVAL ${NOTE_SLACK_HOURS} HOUR) AS since
     FROM partition_progress_v1 WHERE log_id = {log_id:String} AND kafka_partition IN {partitions:Array(UInt32)}
     GROUP BY kafka_partition`,
    params,
  )
  // Rows older than a note are below it: only a partition without a note needs all of them.
  const since =
    noted.length < partitions.length ? '1970-01-01 00:00:00.000' : (noted.map(row => row.since).sort()[0] ?? '')
  const stored = await store.query<Row>(
    `SELECT kafka_partition, max(kafka_offset + offsets) AS next,
       argMax(tuple(if(kind = 'gap', NULL, toUnixTimestamp64Milli(appended_at))), kafka_offset).1 AS last_appended_at_ms
     FROM events_v1
     WHERE log_id = {log_id:String} AND kafka_partition IN {partitions:Array(UInt32)} AND ingested_at >= {since:DateTime64(3, 'UTC')}
     GROUP BY kafka_partition`,
    { ...params, since },
  )
  const progress = new Map<number, Progress>(
    partitions.map(partition => [partition, { next: undefined, last_appended_at_ms: undefined }]),
  )
  for (const row of [...noted, ...stored]) {
    if (row.next < (progress.get(row.kafka_partition)?.next ?? 0)) continue
    progress.set(row.kafka_partition, { next: row.next, last_appended_at_ms: row.last_appended_at_ms ?? undefined })
  }
  return progress
}

/** Notes how far partitions have come, so that retention or erasure of rows cannot move a reader back. */
export async function noteProgress(
  store: Store,
  log_id: string,
  progress: ReadonlyMap<number, Progress>,
): Promise<void> {
  const known = [...progress].filter(([, { next }]) => next !== undefined)
  if (known.length === 0) return
  await store.command(
    `INSERT INTO partition_progress_v1 (log_id, kafka_partition, next_offset, last_appended_at, noted_at)
     SELECT {log_id:String}, row.1, row.2, fromUnixTimestamp64Milli(row.3, 'UTC'), now64(3)
     FROM (SELECT arrayJoin(arrayZip({partitions:Array(UInt32)}, {next:Array(UInt64)}, {appended:Array(Nullable(Int64))})) AS row)
     SETTINGS async_insert = 0`,
    {
      log_id,
      partitions: known.map(([partition]) => partition),
      next: known.map(([, { next }]) => next),
      appended: known.map(([, { last_appended_at_ms }]) => last_appended_at_ms ?? null),
    },
  )
}

/** The id of the topic's present incarnation, `topic#n`. */
export async function currentLog(store: Store, topic: string): Promise<{ log_id: string; incarnation: number }> {
  const rows = await store.query<{ incarnation: number }>(
    'SELECT max(incarnation) AS incarnation FROM logs_v1 WHERE topic = {topic:String}',
    { topic },
  )
  const incarnation = Math.max(1, rows[0]?.incarnation ?? 1)
  return { log_id: `${topic}#${incarnation}`, incarnation }
}

/** Begins a new log after the topic was created again. Two ingesters that do so at once begin the same one. */
export async function beginLog(store: Store, topic: string, incarnation: number): Promise<void> {
  await store.command(
    'INSERT INTO logs_v1 (topic, incarnation, begun_at) SELECT {topic:String}, {incarnation:UInt32}, now64(3)',
    { topic, incarnation },
  )
}
