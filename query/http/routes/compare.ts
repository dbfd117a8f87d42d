/** `/v1/metrics/{id}/compare`: two cohorts, or two windows, of one metric. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { compare, SESSIONS_MIN, VERDICTS } from '../../comparisons/compare.ts'
import type { Desk } from '../../metrics/answer.ts'
import { Mistake } from '../../metrics/mistake.ts'
import type { Moment } from '../../metrics/range.ts'
import { answered, time, value } from '../envelope.ts'
import { filter, metricPath, momentOf, selection } from '../parameters.ts'
import type { RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'

const compareQuery = z.strictObject({
  ...selection,
  a: filter,
  b: filter,
  baseline_from: momentOf('begin of what is compared with').optional(),
  baseline_to: momentOf('its end').optional(),
})

const side = z
  .object({
    from: time.nullable(),
    to: time.nullable(),
    tier: z.string().nullable(),
    ...value,
    sessions: z.number().int(),
    frames: z.number().int(),
    completeness_pct: z.number().nullable(),
  })
  .openapi('ComparedSide')
export const measured = z
  .object({ value: z.number(), low: z.number().nullable(), high: z.number().nullable() })
  .openapi('MeasuredWithInterval', { description: 'low and high: the 95 % interval; null where there is none' })
const comparison = z.object({
  a: side,
  b: side,
  difference: measured.nullable().openapi({ description: 'a − b; null where a side has no value' }),
  ratio: measured.nullable().openapi({ description: 'a / b; null where a side has no value or b is 0' }),
  verdict: z.enum(VERDICTS).openapi({
    description: `a, seen from b; too_few: under ${SESSIONS_MIN} sessions on a side, or no value`,
  }),
  rounds: z.number().int().openapi({ description: 'How often sessions were drawn again for the interval' }),
})

const compareRoute = createRoute({
  method: 'get',
  path: '/v1/metrics/{id}/compare',
  security: needs('metrics:read'),
  summary:
    'Two cohorts (a, b) or two windows (from to, baseline_from baseline_to): difference, ratio, interval, verdict',
  description:
    'Intervals are of a Poisson bootstrap over sessions, the same for the same question. `filter` holds for both sides. For ratios of sums and percentiles; meta is of side a.',
  request: { params: metricPath, query: compareQuery },
  responses: answered('One comparison', comparison),
})

export const addCompareRoute = (app: OpenAPIHono<RequestEnv>, desk: Desk) =>
  app.openapi(compareRoute, async c => {
    const { id } = c.req.valid('param')
    const { filter: filters, baseline_from, baseline_to, ...asked } = c.req.valid('query')
    const baseline = baselineOf(baseline_from, baseline_to)
    return c.json(await compare(desk, { ...asked, metric: id, filters, baseline }), 200)
  })

/** @throws Mistake where only one end is given */
export function baselineOf(from: Moment | undefined, to: Moment | undefined) {
  if (from === undefined && to === undefined) return undefined
  if (from !== undefined && to !== undefined) return { from, to }
  const missing = from === undefined ? 'baseline_from' : 'baseline_to'
  throw new Mistake('bad_range', missing, 'a baseline has two ends: baseline_from and baseline_to')
}
