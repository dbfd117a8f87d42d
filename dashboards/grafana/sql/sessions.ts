/** Sessions: the list of the worst, and one of them second by second, from what the API's own questions read. */
import { METRICS, type MetricId } from '../../../query/metrics/catalogue.ts'
import { DIMENSIONS, type Dimension } from '../../../query/metrics/filter.ts'
import { metricsOf as listedMetrics, listQuestion } from '../../../query/sessions/list.ts'
import { secondsQuestion } from '../../../query/sessions/story.ts'
import type { Column, Target } from '../model.ts'
import { NAMES } from './metrics.ts'
import { printed } from './print.ts'
import { CHOSEN, SESSION_SQL } from './subject.ts'
import { DASHBOARD_RANGE, WHOLE, windowVariables } from './window.ts'

const LISTED_MAX = 50
/** Of a session's context what tells most about where to look. */
const TOLD: readonly Dimension[] = ['game', 'client_version', 'access', 'isp', 'region']

/** The worst by one metric first. Its first and last seconds are for the link to it. */
export function worstSessionsTarget(order: MetricId, subject = CHOSEN): Target {
  const wanted = { filters: [], from: { at_ms: 0 }, to: { at_ms: 0 }, where: [], order }
  const ids = listedMetrics(wanted)
  const { sql } = listQuestion(wanted, subject, LISTED_MAX)
  const columns = [
    'toString(session_id) AS session',
    ...TOLD.map(name => `context[${DIMENSIONS.indexOf(name) + 1}] AS ${name}`),
    ...ids.map((id, i) => `metrics[${i + 1}] AS ${id}`),
    'played_s',
    'toInt64(first_s) * 1000 AS first_ms',
    'toInt64(last_s) * 1000 + 60000 AS last_ms',
  ]
  return {
    sql: printed(`SELECT ${columns.join(', ')} FROM (${sql})`, {
      ...NAMES,
      ...windowVariables(WHOLE),
      limit: String(LISTED_MAX),
    }),
    format: 'table',
    columns: [
      { name: 'session', kind: 'text', title: 'Session' },
      ...TOLD.map((name): Column => ({ name, kind: 'text', title: name })),
      ...ids.map((metric): Column => ({ name: metric, kind: 'number', metric })),
      { name: 'played_s', kind: 'number', unit: 's', title: 'Played' },
      { name: 'first_ms', kind: 'number', unit: 'none', title: 'first_ms' },
      { name: 'last_ms', kind: 'number', unit: 'none', title: 'last_ms' },
    ],
  }
}

/** Raw events are read by whole ten seconds. */
const RAW = {
  id: SESSION_SQL,
  from: `intDiv(toUInt32(${DASHBOARD_RANGE.from}), 10) * 10`,
  to: `toUInt32(${DASHBOARD_RANGE.to})`,
}
const { sql: SECONDS } = secondsQuestion('', { from: 0, to: 0, tier: 'events', step_s: 1, now_ms: 0 })

/** What a second tells, and the metric that says the same of longer spans, where its title and unit are taken from. */
const FIGURES = {
  fps: 'fps_avg',
  frame_time_p95_us: 'frame_time_p95_us',
  frame_time_max_us: 'frame_time_max_us',
  bitrate_kbps: 'bitrate_avg_kbps',
  available_kbps: 'available_p50_kbps',
  rtt_us: 'rtt_p50_us',
  jitter_us: 'jitter_p50_us',
  packet_loss_pct: 'packet_loss_pct',
} as const satisfies Readonly<Record<string, MetricId>>
export type Figure = keyof typeof FIGURES

export function secondsTarget(figures: readonly Figure[]): Target {
  return {
    sql: printed(
      `SELECT toDateTime(s, 'UTC') AS time, ${figures.join(', ')} FROM (${SECONDS}) ORDER BY ${'time WITH FILL STEP toIntervalSecond(1)'}`,
      RAW,
    ),
    format: 'time_series',
    columns: [
      { name: 'time', kind: 'time' },
      ...figures.map((name): Column => {
        const { unit, title } = METRICS[FIGURES[name]]
        return { name, kind: 'number', unit, title: title.replace(/, (average|median)$/, '') }
      }),
    ],
  }
}

/** Fields of a happening, by their place in the tuple that `story.ts` reads. */
const AT_MS = 'tupleElement(happening, 1)'
const BAD = 'tupleElement(happening, 6)'
const [STATE, END_REASON] = ['tupleElement(happening, 9)', 'tupleElement(happening, 11)']
const moment = (ms: string): string => `fromUnixTimestamp64Milli(toInt64(${ms}), 'UTC')`
const each = `SELECT arrayJoin(happenings) AS happening FROM (${SECONDS})`

/** What the session said of itself, as marks. */
export const STATES_SQL = printed(
  `SELECT ${moment(AT_MS)} AS time, toString(${STATE}) AS title, toString(${END_REASON}) AS text, 'state' AS tags FROM (${each}) WHERE ${STATE} != '' ORDER BY time`,
  RAW,
)
/** Each freeze from its beginning to its end. */
export const FREEZES_SQL = printed(
  `SELECT ${moment('end_ms - frame_ms')} AS time, ${moment('end_ms')} AS timeEnd, 'freeze' AS title, concat(toString(round(frame_ms)), ' ms') AS text, 'freeze' AS tags FROM (SELECT ${AT_MS} + tupleElement(bad, 1) / 1000 AS end_ms, tupleElement(bad, 2) / 1000 AS frame_ms FROM (SELECT happening, arrayJoin(${BAD}) AS bad FROM (${each})) WHERE tupleElement(bad, 3)) ORDER BY time`,
  RAW,
)
