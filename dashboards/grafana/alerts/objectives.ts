/**
 * Objectives, and alerts on how fast their error budget burns: over a long window, so that it matters, and over a short one, so that it
 * still goes on. A page at 14.4 (2 % of a 30-day budget in an hour) and at 6 (5 % in six hours), a ticket at 1 (as much as there is).
 */
import type { Retention } from '../../../ingest/store/migrate.ts'
import { METRICS, type MetricId } from '../../../query/metrics/catalogue.ts'
import { grouping, valueSql } from '../../../query/metrics/questions.ts'
import { groupedSql } from '../../../query/metrics/sql.ts'
import { UIDS } from '../dashboards/uids.ts'
import { laidOut, substituted } from '../sql/print.ts'
import { EVERYBODY } from '../sql/subject.ts'
import { lastSeconds } from '../sql/window.ts'
import type { Rule } from './rule.ts'

interface Objective {
  readonly uid: string
  readonly metric: MetricId
  /** Share that must be good. */
  readonly objective: number
  readonly summary: string
  readonly dashboard: string
}

export const OBJECTIVES: readonly Objective[] = [
  {
    uid: 'freeze-budget',
    metric: 'freeze_time_pct',
    objective: 0.999,
    summary: 'Pictures stand still for more of the time than the objective allows.',
    dashboard: UIDS.frames,
  },
  {
    uid: 'stutter-budget',
    metric: 'stutter_time_pct',
    objective: 0.99,
    summary: 'Streams stutter for more of the time than the objective allows.',
    dashboard: UIDS.frames,
  },
  {
    uid: 'start-budget',
    metric: 'start_failure_pct',
    objective: 0.99,
    summary: 'More sessions fail to start than the objective allows.',
    dashboard: UIDS.experience,
  },
  {
    uid: 'good-session-budget',
    metric: 'good_session_pct',
    objective: 0.95,
    summary: 'More sessions are bad as a whole than the objective allows.',
    dashboard: UIDS.experience,
  },
]

const [MINUTE_S, HOUR_S] = [60, 3_600]
export const BURNS = [
  { suffix: 'fast', severity: 'page', above: 14.4, long_s: HOUR_S, short_s: 5 * MINUTE_S, for: '2m' },
  { suffix: 'slow', severity: 'page', above: 6, long_s: 6 * HOUR_S, short_s: 30 * MINUTE_S, for: '5m' },
  { suffix: 'ticket', severity: 'ticket', above: 1, long_s: 72 * HOUR_S, short_s: 6 * HOUR_S, for: '30m' },
] as const

/** In the short window. Of fewer one bad session is a burnt budget. */
export const SESSIONS_MIN = 20

/** How many times faster than allowed, and over how many sessions; nothing where nobody played. */
function burnSql({ metric, objective }: Objective, range_s: number, kept: Retention): string {
  const { better, unit } = METRICS[metric]
  if (unit !== 'pct' || better === 'neither') throw new Error(`${metric} is no share that could be good or bad`)
  const bad = better === 'higher' ? '100 - value' : 'value'
  const window = lastSeconds(range_s, kept)
  const values = { value: valueSql(METRICS[metric], false), sessions: 'sessions' }
  const cells = substituted(groupedSql({ ...grouping(EVERYBODY), keys: {}, values }), window.names)
  return `${window.sql} SELECT (${bad}) / 100 / ${Number((1 - objective).toFixed(6))} AS burn, sessions FROM (${cells})`
}

export const objectiveRules = (kept: Retention): Rule[] =>
  OBJECTIVES.flatMap(objective =>
    BURNS.map(({ suffix, severity, above, long_s, short_s, for: lasting }) => ({
      uid: `${objective.uid}-${suffix}`,
      title: `${METRICS[objective.metric].title}: ${above}× of what ${100 * objective.objective} % allows, over ${long_s / HOUR_S} h`,
      severity,
      sql: laidOut(
        `SELECT least(short.burn, long.burn) AS burn FROM (${burnSql(objective, short_s, kept)}) AS short CROSS JOIN (${burnSql(objective, long_s, kept)}) AS long WHERE short.sessions >= ${SESSIONS_MIN} AND isNotNull(burn)`,
      ),
      range_s: long_s,
      above,
      for: lasting,
      summary: objective.summary,
      most: 1 / (1 - objective.objective),
      shown: { dashboard: objective.dashboard, metric: objective.metric },
    })),
  )
