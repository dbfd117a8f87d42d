/** Alerts on the pipeline itself: when the numbers can not be trusted, or do not come. */
import type { Retention } from '../../../ingest/store/migrate.ts'
import { DUE_10S, NOTED } from '../../../ingest/store/settle.ts'
import { METRICS } from '../../../query/metrics/catalogue.ts'
import { grouping, valueSql } from '../../../query/metrics/questions.ts'
import { groupedSql } from '../../../query/metrics/sql.ts'
import { UIDS } from '../dashboards/uids.ts'
import { OFFSETS_OFF_SQL, STORED_LAG_MS_SQL, STORED_SQL } from '../sql/pipeline.ts'
import { laidOut, printed, substituted } from '../sql/print.ts'
import { EVERYBODY } from '../sql/subject.ts'
import { lastSeconds } from '../sql/window.ts'
import type { Rule } from './rule.ts'

const [MINUTE_S, HOUR_S, DAY_S] = [60, 3_600, 86_400]
const TO = 'toUInt32(toUnixTimestamp64Milli($__toTime_ms) / 1000)'
const before = (seconds: number): string => `${TO} - ${seconds}`
const REFUSED_ABOVE_PCT = 1
const FRESH_WITHIN_MS = 10_000
const COMPLETE_PCT = 99
const SETTLED_WITHIN_S = 5 * MINUTE_S
/** What nobody sent is no alert: of fewer rows than these a share says nothing. */
const ROWS_MIN = 100

const completeness = (kept: Retention): string => {
  const window = lastSeconds(30 * MINUTE_S, kept)
  const values = { value: valueSql(METRICS.completeness_pct, false), events: 'events' }
  const cells = substituted(groupedSql({ ...grouping(EVERYBODY), keys: {}, values }), window.names)
  return laidOut(`${window.sql} SELECT 100 - value AS missing_pct FROM (${cells}) WHERE events >= ${ROWS_MIN}`)
}

export const pipelineRules = (kept: Retention): Rule[] =>
  [
    {
      uid: 'nothing-stored',
      shown: { title: 'Stored, by minute' },
      title: 'Nothing is stored any more',
      severity: 'page' as const,
      // What was settled is few rows to read, and a whole day of them: an alert that ends by itself says that all is well.
      sql: printed(
        `SELECT sum(rows) = 0 AS silent FROM (${STORED_SQL})
HAVING (SELECT sum(noted_rows) FROM (${NOTED} WHERE tier = '10s' AND t >= toDateTime(${before(DAY_S)}, 'UTC') GROUP BY t)) >= ${ROWS_MIN}`,
        { since: before(6 * MINUTE_S) },
      ),
      range_s: DAY_S,
      above: 0,
      for: '2m',
      summary: 'Within the last day rows were stored, and in the last five minutes none.',
    },
    {
      uid: 'not-fresh',
      shown: { title: 'From Kafka to the table' },
      title: 'Events are stored late',
      severity: 'ticket' as const,
      sql: printed(
        `SELECT quantile(0.99)(lag_ms) AS p99_ms FROM (${STORED_LAG_MS_SQL}) HAVING count() >= ${ROWS_MIN}`,
        {
          since: before(10 * MINUTE_S),
        },
      ),
      range_s: 10 * MINUTE_S,
      above: FRESH_WITHIN_MS,
      for: '5m',
      summary: 'One event in a hundred takes longer than ten seconds from Kafka to the table.',
    },
    {
      uid: 'refused',
      shown: { title: 'Refused messages by reason' },
      title: 'Messages are refused',
      severity: 'ticket' as const,
      sql: printed(
        `SELECT 100 * sum(rejected) / sum(rows) AS refused_pct FROM (${STORED_SQL}) HAVING sum(rows) >= ${ROWS_MIN}`,
        { since: before(15 * MINUTE_S) },
      ),
      range_s: 15 * MINUTE_S,
      above: REFUSED_ABOVE_PCT,
      for: '5m',
      summary: 'More than one message in a hundred does not fit the contract.',
    },
    {
      uid: 'offsets-off',
      shown: { title: 'Partitions' },
      title: 'Offsets are missing or doubled',
      severity: 'page' as const,
      sql: printed(OFFSETS_OFF_SQL, { since: before(HOUR_S) }),
      range_s: HOUR_S,
      above: 0,
      for: '5m',
      summary: 'Exactly once is broken: an offset that Kafka delivered has no row, or two.',
    },
    {
      uid: 'incomplete',
      shown: { metric: 'completeness_pct' as const },
      title: 'Events are lost before Kafka',
      severity: 'ticket' as const,
      sql: completeness(kept),
      range_s: 30 * MINUTE_S,
      above: 100 - COMPLETE_PCT,
      for: '10m',
      summary: 'More than one event in a hundred that sessions numbered did not arrive.',
    },
    {
      uid: 'not-settled',
      shown: { title: 'Stored, by minute' },
      title: 'Cells are not settled',
      severity: 'ticket' as const,
      sql: printed(`SELECT count() AS due_buckets FROM (${DUE_10S}) WHERE t < ${before(SETTLED_WITHIN_S)}`, {
        since: before(HOUR_S),
      }),
      range_s: HOUR_S,
      above: 0,
      for: '10m',
      summary: 'Buckets older than five minutes are not what their rows say: dashboards show less than there is.',
    },
  ].map(rule => ({ ...rule, shown: { ...rule.shown, dashboard: UIDS.pipeline } }))
