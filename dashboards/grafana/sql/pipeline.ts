/** Whether the numbers can be trusted: what was stored, how late, what was refused, what waits. No metric of the catalogue: of the pipeline itself. */
import { EVENT_KINDS } from '../../../ingest/store/cells.ts'
import { rangeQuestion } from '../../../query/annotations/annotations.ts'
import { minutesQuestion, positionsQuestion } from '../../../query/pipeline/health.ts'
import { reasonsQuestion, samplesQuestion } from '../../../query/pipeline/rejects.ts'
import type { Column, Target } from '../model.ts'
import { type Expressions, printed } from './print.ts'
import { DASHBOARD_RANGE, STEPPED, windowVariables } from './window.ts'

const SAMPLES = 5
const SAMPLE_BYTES = 256
const ANNOTATIONS_MAX = 200
const RAW_NO_WINDOW = { from: 0, to: 0, tier: 'events', step_s: undefined, now_ms: 0 } as const

const RANGE: Expressions = {
  from: `toUInt32(${DASHBOARD_RANGE.from})`,
  to: `toUInt32(ceil(${DASHBOARD_RANGE.to}))`,
  since: `toUInt32(${DASHBOARD_RANGE.from})`,
}
const time: Column = { name: 'time', kind: 'time' }
const count = (name: string, title: string): Column => ({ name, kind: 'number', unit: 'short', title })

/** By minute of their storing. */
export const storedTarget = (): Target => ({
  sql: printed(
    `SELECT toDateTime(t, 'UTC') AS time, toNullable(rows) AS rows, toNullable(events) AS events, toNullable(rejected) AS rejected FROM (${minutesQuestion(0).sql}) ORDER BY time WITH FILL STEP toIntervalSecond(60)`,
    RANGE,
  ),
  format: 'time_series',
  columns: [time, count('rows', 'Rows stored'), count('events', 'Events'), count('rejected', 'Refused')],
})

const LAG_MS = `SELECT t10, dateDiff('millisecond', appended_at, ingested_at) AS lag_ms FROM events_v1 WHERE kind IN ${EVENT_KINDS}`
/** Of every event of a range. */
const LAG_MS_SQL = `${LAG_MS} AND t10 >= toDateTime({from:UInt32}, 'UTC') AND t10 < toDateTime({to:UInt32}, 'UTC')`
/** Of every event stored since, whenever it was: of what is an hour behind, nothing lies within the last ten minutes of its own time. */
export const STORED_LAG_MS_SQL = `${LAG_MS} AND ingested_at >= toDateTime({since:UInt32}, 'UTC')`
const STEP_OF_EVENT = `toDateTime(intDiv(toUnixTimestamp(t10), {step_s:UInt32}) * {step_s:UInt32}, 'UTC')`

/** From Kafka's append to stored. */
export const freshnessTarget = (): Target => ({
  sql: printed(
    `SELECT ${STEP_OF_EVENT} AS time, quantile(0.5)(lag_ms) AS median_ms, quantile(0.99)(lag_ms) AS p99_ms FROM (${LAG_MS_SQL}) GROUP BY time ORDER BY time`,
    windowVariables(STEPPED),
  ),
  format: 'time_series',
  columns: [
    time,
    { name: 'median_ms', kind: 'number', unit: 'ms', title: 'Median' },
    { name: 'p99_ms', kind: 'number', unit: 'ms', title: '99th percentile' },
  ],
})

export const rejectReasonsTarget = (): Target => ({
  sql: printed(
    `SELECT toString(reason) AS reason, refused, fromUnixTimestamp64Milli(first_ms, 'UTC') AS first, fromUnixTimestamp64Milli(last_ms, 'UTC') AS last FROM (${reasonsQuestion(RAW_NO_WINDOW).sql})`,
    RANGE,
  ),
  format: 'table',
  columns: [
    { name: 'reason', kind: 'text', title: 'Reason' },
    count('refused', 'Refused'),
    { name: 'first', kind: 'time', title: 'First' },
    { name: 'last', kind: 'time', title: 'Last' },
  ],
})

export const rejectSamplesTarget = (): Target => ({
  sql: printed(
    `SELECT fromUnixTimestamp64Milli(appended_ms, 'UTC') AS appended_at, toString(reason) AS reason, detail, log_id, kafka_partition, kafka_offset, unhex(key_hex) AS key, bytes_total FROM (${samplesQuestion(RAW_NO_WINDOW).sql})`,
    { ...RANGE, samples: String(SAMPLES), bytes: String(SAMPLE_BYTES) },
  ),
  format: 'table',
  columns: [
    { name: 'appended_at', kind: 'time', title: 'Appended' },
    { name: 'reason', kind: 'text', title: 'Reason' },
    { name: 'detail', kind: 'text', title: 'What does not fit' },
    { name: 'log_id', kind: 'text', title: 'Log' },
    { name: 'kafka_partition', kind: 'number', unit: 'none', title: 'Partition' },
    { name: 'kafka_offset', kind: 'number', unit: 'none', title: 'Offset' },
    { name: 'key', kind: 'text', title: 'Key' },
    { name: 'bytes_total', kind: 'number', unit: 'bytes', title: 'Size' },
  ],
})

/** Every offset between the first and the last of a partition that no row covers, or two do. Both must be 0. */
const AUDITED = `SELECT *, toInt64(next_offset) - toInt64(first_offset) - toInt64(covered) AS uncovered FROM (${positionsQuestion(0).sql})`

export const auditTarget = (): Target => ({
  sql: printed(
    `SELECT log_id, kafka_partition, rows, first_offset, next_offset, greatest(uncovered, 0) AS missing, greatest(-uncovered, 0) AS doubled, expired, dateDiff('second', fromUnixTimestamp64Milli(appended_ms, 'UTC'), now()) AS newest_age_s FROM (${AUDITED})`,
    RANGE,
  ),
  format: 'table',
  columns: [
    { name: 'log_id', kind: 'text', title: 'Log' },
    { name: 'kafka_partition', kind: 'number', unit: 'none', title: 'Partition' },
    count('rows', 'Rows'),
    { name: 'first_offset', kind: 'number', unit: 'none', title: 'First offset' },
    { name: 'next_offset', kind: 'number', unit: 'none', title: 'Next offset' },
    count('missing', 'Missing'),
    count('doubled', 'Doubled'),
    count('expired', 'Expired'),
    { name: 'newest_age_s', kind: 'number', unit: 's', title: 'Age of the newest record' },
  ],
})

/** For alerts, over any range. */
export const OFFSETS_OFF_SQL = `SELECT sum(abs(uncovered)) AS offsets_off FROM (${AUDITED})`
export const STORED_SQL = minutesQuestion(0).sql

/** Deploys, incidents and notes that reach into the range. */
export const ANNOTATIONS_SQL = printed(
  `SELECT fromUnixTimestamp64Milli(at_ms, 'UTC') AS time, fromUnixTimestamp64Milli(ifNull(until_ms, at_ms), 'UTC') AS timeEnd, title, text, kind AS tags FROM (${rangeQuestion(0, 0, ANNOTATIONS_MAX).sql}) ORDER BY time`,
  { ...RANGE, limit: String(ANNOTATIONS_MAX) },
)
