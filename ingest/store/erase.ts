/**
 * Erasing a session: its raw rows, its cells in every tier, the session itself. The invariant holds afterwards, since the offsets are
 * noted before any row goes; nobody reads them again, since progress is; the cells of others are not touched.
 *
 * Each step can be repeated: one that died halfway is finished by asking again. What is erased is what is stored now. Events of the
 * session that arrive later are stored like any others, and erased by asking again: to refuse them we would have to remember whose
 * they are.
 *
 * Not known here: what Kafka still holds (its retention ends that) and refused messages beyond the bytes that were kept of them.
 * Rows are gone from every answer at once; their bytes go when ClickHouse has rewritten the parts, which begins at once.
 */
import { SAID_KINDS } from './cells.ts'
import type { Params, Store } from './clickhouse.ts'
import { forgetInCube } from './cube.ts'
import { noteProgress, readProgress } from './owner.ts'
import { shadowOf } from './recompute.ts'
import { SESSIONS_TABLE, SPANS_TABLE } from './sessions.ts'
import { settlingsEnd, TIERS, type Tier } from './settle.ts'

export interface Erased {
  /** Offsets of Kafka whose rows are gone: events, and refused messages that name the session. */
  readonly rows: number
  readonly cells: number
  /** Kafka's append time of the newest of the rows; undefined where there was none. */
  readonly last_appended_at_ms: number | undefined
}

/** Its events, what was decided about it, and what was refused of it: by the message's key, or by its id in the bytes. Refused rows have no session of their own. */
const OWN = `(session_id = {id:UUID} AND kind IN ${SAID_KINDS}
  OR session_id = '00000000-0000-0000-0000-000000000000' AND kind = 'rejected'
    AND (kafka_key = {id:String} OR positionCaseInsensitive(bytes, {id:String}) > 0))`
/** Rows of a partition become visible in the order of their offsets: up to here, all that were noted and no others. */
const NOTED =
  'arrayExists((l, p, o) -> log_id = l AND kafka_partition = p AND kafka_offset <= o, {logs:Array(String)}, {partitions:Array(UInt32)}, {lasts:Array(UInt64)})'

const SETTLED_TIERS: readonly Tier[] = ['10s', 'minute', 'hour']

/** @throws what the store throws; asking again goes on from there */
export async function eraseSession(store: Store, id: string): Promise<Erased> {
  const places = await store.query<{ log: string; partition: number; last: number; rows: number; appended_ms: number }>(
    `SELECT log_id AS log, kafka_partition AS partition, max(kafka_offset) AS last, count() AS rows,
       toUnixTimestamp64Milli(max(appended_at)) AS appended_ms
     FROM events_v1 WHERE ${OWN} GROUP BY log_id, kafka_partition`,
    { id },
  )
  const params = {
    id,
    logs: places.map(place => place.log),
    partitions: places.map(place => place.partition),
    lasts: places.map(place => place.last),
  }
  await widenSpan(store, id)
  if (places.length > 0) {
    await keepProgress(store, places)
    await noteOffsets(store, params)
    const counts = await countsOf(store, params)
    await remove(store, 'events_v1', `${OWN} AND ${NOTED}`, params)
    await settlingsEnd(store)
    await lowerCounts(store, counts)
  }
  const cells = await removeCells(store, id)
  return {
    rows: places.reduce((sum, place) => sum + place.rows, 0),
    cells,
    last_appended_at_ms: places.length > 0 ? Math.max(...places.map(place => place.appended_ms)) : undefined,
  }
}

/** Notes how far the partitions have come: the rows that say so may be among those that go. */
async function keepProgress(store: Store, places: readonly { log: string; partition: number }[]): Promise<void> {
  for (const log_id of new Set(places.map(place => place.log))) {
    const partitions = places.filter(place => place.log === log_id).map(place => place.partition)
    await noteProgress(store, log_id, await readProgress(store, log_id, partitions))
  }
}

const noteOffsets = (store: Store, params: Params): Promise<void> =>
  store.command(
    `INSERT INTO erasures_v1 (log_id, kafka_partition, kafka_offset, ingested_at, erased_at)
     SELECT log_id, kafka_partition, kafka_offset, ingested_at, now64(3) FROM events_v1 WHERE ${OWN} AND ${NOTED}
     SETTINGS async_insert = 0, max_partitions_per_insert_block = 1000`,
    params,
  )

/** From when to when it lived: forgotten last, so that who goes on with an erasure that died knows which minutes it was merged into. */
const widenSpan = (store: Store, id: string): Promise<void> =>
  store.command(
    `INSERT INTO ${SPANS_TABLE} (session_id, first, last)
     SELECT session_id, min(first), max(last) FROM (
       SELECT session_id, min(t10) AS first, max(t10) AS last FROM events_v1 WHERE session_id = {id:UUID} AND kind IN ${SAID_KINDS} GROUP BY session_id
       UNION ALL SELECT session_id, min(t), max(t) FROM ${TIERS['10s'].table} WHERE session_id = {id:UUID} GROUP BY session_id
       UNION ALL SELECT session_id, min(t), max(t) FROM ${TIERS.minute.table} WHERE session_id = {id:UUID} GROUP BY session_id
     ) GROUP BY session_id
     SETTINGS async_insert = 0`,
    { id },
  )

interface Counts {
  readonly t: readonly number[]
  readonly rows: readonly number[]
}

/** How many rows each bucket of ten seconds is about to lose. */
async function countsOf(store: Store, params: Params): Promise<Counts> {
  const rows = await store.query<{ t: number; rows: number }>(
    `SELECT toUnixTimestamp(t10) AS t, count() AS rows FROM events_v1 WHERE ${OWN} AND ${NOTED} GROUP BY t10`,
    params,
  )
  return { t: rows.map(({ t }) => t), rows: rows.map(row => row.rows) }
}

/**
 * What the buckets were settled from is less by what was erased, in every tier: the cells of others are as they were, and need no
 * settling. Where this meets a settling, or does not happen, the counts differ from the rows and the buckets are settled again.
 */
async function lowerCounts(store: Store, { t, rows }: Counts): Promise<void> {
  if (t.length === 0) return
  for (const [tier, seconds] of [
    ...SETTLED_TIERS.map(name => [name, TIERS[name].seconds] as const),
    ['session', TIERS.hour.seconds] as const,
  ]) {
    await store.command(
      `INSERT INTO settled_v1 (tier, t, rows, settled_at)
       SELECT {tier:String}, noted.t, noted.rows - lost.rows, noted.at + INTERVAL 1 MICROSECOND
       FROM (
         SELECT t, argMax(rows, settled_at) AS rows, max(settled_at) AS at FROM settled_v1
         WHERE tier = '${tier}' AND t >= toDateTime({first:UInt32}, 'UTC') AND t <= toDateTime({last:UInt32}, 'UTC') GROUP BY t
       ) AS noted
       INNER JOIN (
         SELECT toDateTime(intDiv(bucket.1, ${seconds}) * ${seconds}, 'UTC') AS t, sum(bucket.2) AS rows
         FROM (SELECT arrayJoin(arrayZip({buckets:Array(UInt32)}, {lost:Array(UInt64)})) AS bucket) GROUP BY t
       ) AS lost ON lost.t = noted.t
       WHERE noted.rows >= lost.rows
       SETTINGS async_insert = 0, max_partitions_per_insert_block = 1000`,
      { tier, buckets: t, lost: rows, first: Math.floor(Math.min(...t) / seconds) * seconds, last: Math.max(...t) },
    )
  }
}

/**
 * From the finest tier to the coarsest, each once nothing runs any more that read the finer one before it was clean: what is settled
 * from then on does not know the session. Then what is made of minutes. What a recomputation has ready to replace a tier with goes first.
 */
async function removeCells(store: Store, id: string): Promise<number> {
  const own = { id }
  const there = await store.query<{ name: string }>(
    'SELECT name FROM system.tables WHERE database = currentDatabase() AND name IN {names:Array(String)}',
    { names: SETTLED_TIERS.map(shadowOf) },
  )
  const shadows = new Set(there.map(({ name }) => name))
  let cells = 0
  for (const tier of SETTLED_TIERS) {
    if (shadows.has(shadowOf(tier))) {
      await remove(store, shadowOf(tier), 'session_id = {id:UUID}', own)
      await settlingsEnd(store)
    }
    cells += await removeOwn(store, TIERS[tier].table, own)
    await settlingsEnd(store)
  }
  await forgetMinutes(store, id)
  await remove(store, SPANS_TABLE, 'session_id = {id:UUID}', own)
  await settlingsEnd(store)
  return cells + (await removeOwn(store, SESSIONS_TABLE, own))
}

/** Rows without sessions cannot be cleaned of one: those of its minutes go, and are settled again from the cells of the others. */
async function forgetMinutes(store: Store, id: string): Promise<void> {
  const [span] = await store.query<{ first: number; last: number }>(
    `SELECT toUnixTimestamp(min(first)) AS first, toUnixTimestamp(max(last)) AS last
     FROM ${SPANS_TABLE} WHERE session_id = {id:UUID} HAVING count() > 0`,
    { id },
  )
  if (span) await forgetInCube(store, span.first, span.last)
}

async function removeOwn(store: Store, table: string, own: Params): Promise<number> {
  const [found] = await store.query<{ cells: number }>(
    `SELECT count() AS cells FROM ${table} FINAL WHERE session_id = {id:UUID}`,
    own,
  )
  await remove(store, table, 'session_id = {id:UUID}', own)
  return found?.cells ?? 0
}

async function remove(store: Store, table: string, where: string, params: Params): Promise<void> {
  const [found] = await store.query<{ any: number }>(
    `SELECT count() AS any FROM (SELECT 1 FROM ${table} WHERE ${where} LIMIT 1)`,
    params,
  )
  if (found?.any !== 1) return
  await store.command(`DELETE FROM ${table} WHERE ${where} SETTINGS lightweight_deletes_sync = 2`, params)
  await store.command(`ALTER TABLE ${table} APPLY DELETED MASK SETTINGS mutations_sync = 0`)
}
