/**
 * Refused messages as they were kept, and the note of which were sent again: each at most once, known by its offset.
 */
import type { Reason } from '../contract/refusal.ts'
import type { Store } from './clickhouse.ts'

export interface RejectedMessage {
  readonly log_id: string
  readonly kafka_partition: number
  readonly kafka_offset: number
  readonly reason: Reason
  readonly appended_at_ms: number
  readonly key: Buffer
  readonly bytes: Buffer
}

export interface Place {
  readonly log_id: string
  readonly kafka_partition: number
  readonly kafka_offset: number
}

export interface RejectedCount {
  readonly reason: Reason
  readonly messages: number
  /** Kept whole: only these can be sent again. */
  readonly whole: number
  readonly replayed: number
}

export const countRejected = (store: Store, reasons: readonly Reason[]): Promise<RejectedCount[]> =>
  store.query<RejectedCount>(
    `SELECT reason, count() AS messages, countIf(length(bytes) = bytes_total AND reason != 'tombstone') AS whole,
       countIf((log_id, kafka_partition, kafka_offset) IN (SELECT log_id, kafka_partition, kafka_offset FROM replays_v1)) AS replayed
     FROM events_v1 WHERE kind = 'rejected' AND reason IN {reasons:Array(String)}
     GROUP BY reason ORDER BY reason`,
    { reasons },
  )

/** The next messages behind `after` that were kept whole and never sent again, in the order of the log. */
export async function readRejected(
  store: Store,
  reasons: readonly Reason[],
  after: Place,
  limit: number,
): Promise<RejectedMessage[]> {
  const rows = await store.query<Omit<RejectedMessage, 'key' | 'bytes'> & { key64: string; bytes64: string }>(
    `SELECT log_id, kafka_partition, kafka_offset, reason, toUnixTimestamp64Milli(appended_at) AS appended_at_ms,
       base64Encode(kafka_key) AS key64, base64Encode(bytes) AS bytes64
     FROM events_v1
     WHERE kind = 'rejected' AND reason IN {reasons:Array(String)} AND reason != 'tombstone' AND length(bytes) = bytes_total
       AND (log_id, kafka_partition, kafka_offset) > ({log_id:String}, {kafka_partition:Int64}, {kafka_offset:Int64})
       AND (log_id, kafka_partition, kafka_offset) NOT IN (SELECT log_id, kafka_partition, kafka_offset FROM replays_v1)
     ORDER BY log_id, kafka_partition, kafka_offset
     LIMIT {limit:UInt32}`,
    { ...after, reasons, limit },
  )
  return rows.map(({ key64, bytes64, ...place }) => ({
    ...place,
    key: Buffer.from(key64, 'base64'),
    bytes: Buffer.from(bytes64, 'base64'),
  }))
}

/**
 * Notes that these are about to be sent.
 * @returns those that may be sent: noted by us and nobody else. Of two replays at once, at most one may send a message.
 */
export async function noteReplay(store: Store, replay_id: string, places: readonly Place[]): Promise<Set<string>> {
  const params = {
    replay_id,
    logs: places.map(place => place.log_id),
    partitions: places.map(place => place.kafka_partition),
    offsets: places.map(place => place.kafka_offset),
  }
  const zipped = 'arrayZip({logs:Array(String)}, {partitions:Array(UInt32)}, {offsets:Array(UInt64)})'
  await store.command(
    `INSERT INTO replays_v1 (log_id, kafka_partition, kafka_offset, replay_id, replayed_at)
     SELECT place.1, place.2, place.3, {replay_id:UUID}, now64(3) FROM (SELECT arrayJoin(${zipped}) AS place)
     SETTINGS async_insert = 0`,
    params,
  )
  const rows = await store.query<Place>(
    `SELECT log_id, kafka_partition, kafka_offset FROM replays_v1
     WHERE (log_id, kafka_partition, kafka_offset) IN (SELECT arrayJoin(${zipped}))
     GROUP BY log_id, kafka_partition, kafka_offset
     HAVING uniqExact(replay_id) = 1 AND any(replay_id) = {replay_id:UUID}`,
    params,
  )
  return new Set(rows.map(placeKey))
}

export const placeKey = ({ log_id, kafka_partition, kafka_offset }: Place): string =>
  `${log_id}/${kafka_partition}/${kafka_offset}`
