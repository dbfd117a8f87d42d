/**
 * Metrics as panels want them: over the range, over time, per group, as a histogram over time. The inner text is what the API asks;
 * around it only names, a column of time, and the order that Grafana needs.
 */

import { orderOf } from '../../../query/metrics/answer.ts'
import { METRICS, type MetricId } from '../../../query/metrics/catalogue.ts'
import type { Dimension } from '../../../query/metrics/filter.ts'
import {
  breakdownQuestion,
  grouping,
  labelsSql,
  STEP,
  STEP_COVERED_S,
  type Subject,
  timeseriesQuestion,
  valueSql,
} from '../../../query/metrics/questions.ts'
import { groupedSql } from '../../../query/metrics/sql.ts'
import type { Column, Target } from '../model.ts'
import { type Expressions, printed } from './print.ts'
import { CHOSEN, CHOSEN_SQL, SESSION_SQL } from './subject.ts'
import { STEPPED, WHOLE, windowVariables } from './window.ts'

/** More lines than these nobody tells apart. */
const GROUPS_MAX = 10
const ROWS_MAX = 100
const UNKNOWN = '(unknown)'

export const NAMES: Expressions = { chosen: CHOSEN_SQL, id: SESSION_SQL }
const WHOLE_NAMES: Expressions = { ...NAMES, ...windowVariables(WHOLE) }
const STEP_NAMES: Expressions = { ...NAMES, ...windowVariables(STEPPED) }

/** The variable that names a dimension. Questions take one of the catalogue's; this one stands in for it until they are text. */
export const BY = '${by:raw}'
const STAND_IN: Dimension = 'host_version'
const byVariable = (sql: string): string => sql.replaceAll(new RegExp(`\\b${STAND_IN}\\b`, 'g'), BY)

/** Cohorts, told apart by that variable. */
export const ofCohort = { keys: { [STAND_IN]: STAND_IN }, label: `toString(${STAND_IN})`, text: byVariable }

const time: Column = { name: 'time', kind: 'time' }
const numberOf = (metric: MetricId): Column => ({ name: metric, kind: 'number', metric })
const known = (label: string): string => `if(${label} = '', '${UNKNOWN}', ${label})`
/** An alias must not be the name of a column of cells, which some metrics are called after. */
const values = (ids: readonly MetricId[], { condition }: Subject) =>
  Object.fromEntries(ids.map(id => [`value_${id}`, valueSql(METRICS[id], condition.one_session)]))
const renamed = (ids: readonly MetricId[]): string => ids.map(id => `value_${id} AS ${id}`).join(', ')

/** One row with the metrics of the range. */
export function overallTarget(ids: readonly MetricId[], subject = CHOSEN): Target {
  const inner = groupedSql({ ...grouping(subject), keys: {}, values: values(ids, subject) })
  return {
    sql: printed(`SELECT ${renamed(ids)} FROM (${inner})`, WHOLE_NAMES),
    format: 'table',
    columns: ids.map(numberOf),
    answers: 'overall',
  }
}

/** Lines break where a step is missing. */
const FILLED = 'time WITH FILL STEP toIntervalSecond({step_s:UInt32})'

/** A row per step, a column per metric. */
export function stepsTarget(ids: readonly MetricId[], subject = CHOSEN): Target {
  const inner = groupedSql({
    ...grouping(subject),
    keys: { t: STEP },
    values: values(ids, subject),
    covered_s: STEP_COVERED_S,
  })
  return {
    sql: printed(`SELECT toDateTime(t, 'UTC') AS time, ${renamed(ids)} FROM (${inner}) ORDER BY ${FILLED}`, STEP_NAMES),
    format: 'time_series',
    columns: [time, ...ids.map(numberOf)],
    answers: 'timeseries',
  }
}

/** A row per step and group, of the groups with the most frames. */
export function groupedStepsTarget(id: MetricId, by: Dimension | typeof BY, subject = CHOSEN): Target {
  const dimension = by === BY ? STAND_IN : by
  const { sql } = timeseriesQuestion(METRICS[id], subject, 0, [dimension], GROUPS_MAX)
  const label = by === BY ? 'cohort' : by
  const lines = `SELECT toDateTime(t, 'UTC') AS time, ${known('labels[1]')} AS ${label}, value AS ${id} FROM (${by === BY ? byVariable(sql) : sql})`
  return {
    sql: printed(`SELECT * FROM (${lines} ORDER BY ${label}, ${FILLED}) ORDER BY time, ${label}`, {
      ...STEP_NAMES,
      groups: String(GROUPS_MAX),
    }),
    format: 'time_series',
    columns: [time, { name: label, kind: 'label' }, numberOf(id)],
    answers: 'timeseries',
    by,
  }
}

/** A row per group, worst first or by its share of all that is bad. */
export function groupsTarget(id: MetricId, by: Dimension | typeof BY, subject = CHOSEN): Target {
  const dimension = by === BY ? STAND_IN : by
  const label = by === BY ? 'cohort' : by
  const { sql } = breakdownQuestion(METRICS[id], subject, [dimension], orderOf(id, undefined), ROWS_MAX)
  const share = METRICS[id].bad === undefined ? '' : ', share_of_bad'
  return {
    sql: printed(
      `SELECT ${known('labels[1]')} AS ${label}, value AS ${id}${share}, sessions, n FROM (${by === BY ? byVariable(sql) : sql})`,
      { ...WHOLE_NAMES, limit: String(ROWS_MAX) },
    ),
    format: 'table',
    columns: [
      { name: label, kind: 'text', title: by === BY ? '${by}' : by },
      numberOf(id),
      ...(share
        ? [{ name: 'share_of_bad', kind: 'number', unit: 'percentunit', title: 'Share of all that is bad' } as const]
        : []),
      { name: 'sessions', kind: 'number', unit: 'short', title: 'Sessions' },
      { name: 'n', kind: 'number', unit: 'short', title: `Behind it (${METRICS[id].counted.replaceAll('_', ' ')})` },
    ],
    answers: 'breakdown',
    by,
  }
}

/** Several metrics per group in one reading, the groups with the most frames first. */
export function cohortsTarget(ids: readonly MetricId[], subject = CHOSEN): Target {
  const inner = groupedSql({
    ...grouping(subject),
    keys: { [STAND_IN]: STAND_IN },
    values: { ...values(ids, subject), sessions: 'sessions', frames: 'frames' },
  })
  const sql = byVariable(`SELECT ${labelsSql([STAND_IN])}, * FROM (${inner})`)
  return {
    sql: printed(
      `SELECT ${known('labels[1]')} AS cohort, sessions, ${renamed(ids)} FROM (${sql}) ORDER BY frames DESC, cohort LIMIT ${ROWS_MAX}`,
      WHOLE_NAMES,
    ),
    format: 'table',
    columns: [
      { name: 'cohort', kind: 'text', title: '${by}' },
      { name: 'sessions', kind: 'number', unit: 'short', title: 'Sessions' },
      ...ids.map(numberOf),
    ],
    answers: 'breakdown',
    by: BY,
  }
}
