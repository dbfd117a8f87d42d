/** A metric per rung of the ladder, as the API breaks it down by rung. */
import { METRICS, type MetricId } from '../../../query/metrics/catalogue.ts'
import { RUNG, rungsQuestion } from '../../../query/metrics/rungs.ts'
import type { Target } from '../model.ts'
import { NAMES } from './metrics.ts'
import { printed } from './print.ts'
import { CHOSEN } from './subject.ts'
import { WHOLE, windowVariables } from './window.ts'

const RUNGS_MAX = 30

/** @throws Error for a metric of which nothing is known by rung */
export function rungsTarget(id: MetricId, subject = CHOSEN): Target {
  const { by_rung, better } = METRICS[id]
  if (by_rung === undefined) throw new Error(`${id} is not known by rung`)
  const order = by_rung.bad === undefined ? 'value' : 'impact'
  const { sql } = rungsQuestion(by_rung, better, subject, order, RUNGS_MAX)
  return {
    sql: printed(
      `SELECT if(labels[1] = '', '(none named)', labels[1]) AS rung, value AS ${id}, sessions, n FROM (${sql})`,
      { ...NAMES, ...windowVariables(WHOLE), limit: String(RUNGS_MAX) },
    ),
    format: 'table',
    columns: [
      { name: RUNG, kind: 'text', title: 'Rung' },
      { name: id, kind: 'number', metric: id },
      { name: 'sessions', kind: 'number', unit: 'short', title: 'Sessions' },
      { name: 'n', kind: 'number', unit: 'short', title: 'Behind it' },
    ],
    answers: 'breakdown',
    by: RUNG,
  }
}
