/**
 * The central promise as SQL: every offset that Kafka delivered is one row, none twice, none missing. An offset whose row was erased
 * (`erasures_v1`) counts as one, whether its row is gone already or not.
 */
import type { Store } from './clickhouse.ts'

export interface PartitionAudit {
  readonly log_id: string
  readonly kafka_partition: number
  readonly first: number
  readonly next: number
  /** Offsets between first and next that no row covers and no erasure. Must be 0. */
  readonly missing: number
  /** Offsets covered more than once. Must be 0. */
  readonly doubled: number
  /** Offsets that Kafka had deleted before we read them. Must stay 0. */
  readonly expired: number
}

const POSITION = 'log_id, kafka_partition, kafka_offset'

/** Reads every position of the log: for tests, the demo's end and the audit of a partition, not for a dashboard's refresh. */
const AUDIT = `
SELECT log_id, kafka_partition, min(kafka_offset) AS first, max(kafka_offset + offsets) AS next,
  sum(if(after_row AND kafka_offset > previous_next, kafka_offset - assumeNotNull(previous_next), 0)) AS missing,
  sum(if(kafka_offset < ifNull(previous_next, 0), least(assumeNotNull(previous_next), kafka_offset + offsets) - kafka_offset, 0)) AS doubled,
  sumIf(offsets, kind = 'gap' AND reason = 'expired') AS expired
FROM (
  SELECT log_id, kafka_partition, kafka_offset, offsets, kind, reason,
    max(toNullable(kafka_offset + offsets)) OVER (
      PARTITION BY log_id, kafka_partition ORDER BY kafka_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ) AS previous_next,
    -- What is erased is remembered longer than rows are kept: before the first row there is nothing to miss.
    ifNull(max(toNullable(kind != 'erased')) OVER (
      PARTITION BY log_id, kafka_partition ORDER BY kafka_offset ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING
    ), 0) AS after_row
  FROM (
    SELECT ${POSITION}, offsets, toString(kind) AS kind, reason FROM events_v1
    WHERE (${POSITION}) NOT IN (SELECT ${POSITION} FROM erasures_v1)
    UNION ALL
    SELECT DISTINCT ${POSITION}, 1, 'erased', '' FROM erasures_v1
  )
)
GROUP BY log_id, kafka_partition
ORDER BY log_id, kafka_partition`

export const auditPartitions = (store: Store): Promise<PartitionAudit[]> => store.query<PartitionAudit>(AUDIT)

/** Rows are marked by the clocks of those who inserted them, and a partition goes from one to another: so far these may be apart. */
const SKEW_S = 600

/**
 * What is covered, as a SELECT: a row for each partition of a batch, whose offsets follow each other; then one more for each position that
 * was erased, and one less where its row is still there: looked for only in batches that something was erased of. `where` is on `ingested_at`.
 */
const coveredSql = (where: string): string => `
    SELECT log_id, kafka_partition, ingested_at, min(kafka_offset) AS first, max(kafka_offset + offsets) AS next,
      toInt64(sum(offsets)) AS positions, toInt64(count()) AS stored,
      sumIf(offsets, kind = 'gap' AND reason = 'expired') AS expired_positions, maxOrNullIf(appended_at, kind != 'gap') AS last_appended_at
    FROM events_v1 WHERE ${where} GROUP BY log_id, kafka_partition, ingested_at
    UNION ALL
    SELECT DISTINCT log_id, kafka_partition, ingested_at, kafka_offset, kafka_offset + 1, 1, 0, 0, NULL FROM erasures_v1 WHERE ${where}
    UNION ALL
    SELECT log_id, kafka_partition, ingested_at, kafka_offset, kafka_offset + 1, -1, -1, 0, NULL FROM events_v1
    WHERE ${where} AND ingested_at IN (SELECT ingested_at FROM erasures_v1 WHERE ${where})
      AND (${POSITION}) IN (SELECT ${POSITION} FROM erasures_v1 WHERE ${where})`

/**
 * Of each partition, from the first offset on that was ingested at or after `since` (SQL): every later position, whenever it was marked. It
 * is whole if `next_offset - first_offset = covered`; more is doubled, less missing. Reads the rows of that time and of `SKEW_S` before it.
 */
export const recentSql = (since: string): string => `
SELECT log_id, kafka_partition, min(greatest(first, begin)) AS first_offset, max(next) AS next_offset,
  sum(if(first >= begin, positions, least(positions, toInt64(next - begin)))) AS covered,
  sum(expired_positions) AS expired, sum(stored) AS rows,
  toUnixTimestamp64Milli(max(last_appended_at)) AS appended_ms, toUnixTimestamp64Milli(max(ingested_at)) AS ingested_ms
FROM (
  SELECT *, minOrNullIf(first, stored > 0 AND ingested_at >= ${since}) OVER (PARTITION BY log_id, kafka_partition) AS begin
  FROM (${coveredSql(`ingested_at >= ${since} - INTERVAL ${SKEW_S} SECOND`)})
)
WHERE next > begin
GROUP BY log_id, kafka_partition`

const OFF = `SELECT sum(abs(toInt64(next_offset) - toInt64(first_offset) - toInt64(covered))) AS off
FROM (${recentSql("fromUnixTimestamp64Milli({since:Int64}, 'UTC')")})`

/** The same promise over the rows since then, for every minute: how many offsets are not covered, or twice. */
export async function auditRecent(store: Store, since_ms: number): Promise<number> {
  const [row] = await store.query<{ off: number }>(OFF, { since: since_ms })
  return row?.off ?? 0
}
