/**
 * A metric per cohort with its 95 % interval over sessions, for ratios of sums: the numerator and the denominator are read off the
 * catalogue's SQL as comparisons do, summed per session, and the standard error of the ratio follows by linearisation.
 */
import { shapeOf } from '../../../query/comparisons/shape.ts'
import { METRICS, type MetricId } from '../../../query/metrics/catalogue.ts'
import { grouping } from '../../../query/metrics/questions.ts'
import { groupedSql } from '../../../query/metrics/sql.ts'
import type { Target } from '../model.ts'
import { BY, NAMES, ofCohort } from './metrics.ts'
import { printed } from './print.ts'
import { CHOSEN } from './subject.ts'
import { WHOLE, windowVariables } from './window.ts'

/** From so many sessions on the interval is worth showing. */
const SESSIONS_MIN = 30
/** Normal, two-sided, 95 %. */
const Z = 1.959964
const ROWS_MAX = 50

/** @throws Error for a metric that is no ratio of sums */
export function intervalsTarget(id: MetricId, subject = CHOSEN): Target {
  const shape = shapeOf(METRICS[id])
  if (shape?.kind !== 'ratio') throw new Error(`${id} is no ratio of sums`)
  const { keys, label, text } = ofCohort
  const sums = { above: shape.numerator, below: shape.denominator }
  const bySession = groupedSql({ ...grouping(subject), keys: { ...keys, session_id: 'session_id' }, values: sums })
  const moments = `SELECT ${label} AS cohort, countIf(below > 0) AS n, sum(toFloat64(above)) AS x, sum(toFloat64(below)) AS y,
    sum(pow(toFloat64(above), 2)) AS xx, sum(toFloat64(above) * below) AS xy, sum(pow(toFloat64(below), 2)) AS yy
    FROM (${text(bySession)}) GROUP BY cohort`
  const ratios = `SELECT cohort, n, ${shape.factor} * x / nullIf(y, 0) AS ratio,
    ${shape.factor} / y * sqrt(n / (n - 1) * greatest(0, xx - 2 * x / y * xy + pow(x / y, 2) * yy)) AS error FROM (${text(moments)})`
  const limit = (sign: '+' | '-'): string => `if(n >= ${SESSIONS_MIN}, greatest(0, ratio ${sign} ${Z} * error), NULL)`
  return {
    sql: printed(
      `SELECT if(cohort = '', '(unknown)', cohort) AS cohort, ratio AS ${id}, ${limit('-')} AS low, ${limit('+')} AS high, n AS sessions FROM (${ratios}) ORDER BY sessions DESC, cohort LIMIT ${ROWS_MAX}`,
      { ...NAMES, ...windowVariables(WHOLE) },
    ),
    format: 'table',
    columns: [
      { name: 'cohort', kind: 'text', title: '${by}' },
      { name: id, kind: 'number', metric: id },
      { name: 'low', kind: 'number', unit: METRICS[id].unit, title: 'from' },
      { name: 'high', kind: 'number', unit: METRICS[id].unit, title: 'to' },
      { name: 'sessions', kind: 'number', unit: 'short', title: 'Sessions' },
    ],
    answers: 'breakdown',
    by: BY,
  }
}
