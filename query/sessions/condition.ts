/**
 * Conditions on what a session's metrics are: `stutter_time_pct>1`. The metric comes from the catalogue, the operator from a closed
 * list, the number is only ever bound. What is unknown of a session meets no condition.
 */
import { METRIC_IDS, type MetricId } from '../metrics/catalogue.ts'
import { Mistake } from '../metrics/mistake.ts'

const OPERATORS = ['>=', '<=', '>', '<'] as const

export interface MetricCondition {
  readonly metric: MetricId
  readonly operator: (typeof OPERATORS)[number]
  readonly value: number
}

const FORM = /^([a-z0-9_]{1,64})(>=|<=|>|<)(-?\d{1,15}(?:\.\d{1,15})?)$/
const isOperator = (text: string | undefined): text is MetricCondition['operator'] =>
  OPERATORS.some(one => one === text)

/** @throws Mistake naming `where` */
export function parseMetricCondition(text: string): MetricCondition {
  const [, id, operator, number] = FORM.exec(text) ?? []
  if (!isOperator(operator))
    throw new Mistake('bad_condition', 'where', `a condition is a metric, one of ${OPERATORS.join(' ')}, and a number`)
  const metric = METRIC_IDS.find(known => known === id)
  if (metric === undefined)
    throw new Mistake('unknown_metric', 'where', 'a condition is on a metric; GET /v1/metrics lists them')
  return { metric, operator, value: Number(number) }
}
