/** `/v1/insights`: which segments got worse, beyond their own past and beyond everybody else. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { INSIGHT_METRICS, insights } from '../../comparisons/insights.ts'
import type { Desk } from '../../metrics/answer.ts'
import { DIMENSIONS } from '../../metrics/filter.ts'
import { meta, PROBLEMS, time } from '../envelope.ts'
import { filter, limit, moment, momentOf } from '../parameters.ts'
import type { RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'
import { baselineOf } from './compare.ts'

const insightsQuery = z.strictObject({
  from: moment('now-30m'),
  to: moment('now'),
  baseline_from: momentOf('begin of what is compared with').optional(),
  baseline_to: momentOf('its end').optional(),
  filter,
  limit: limit(20, 100),
})

const insight = z
  .object({
    metric: z.enum(INSIGHT_METRICS),
    unit: z.string(),
    segment: z.partialRecord(z.enum(DIMENSIONS), z.string()),
    value_now: z.number(),
    value_before: z.number(),
    rest_now: z.number(),
    rest_before: z.number(),
    excess: z.number().openapi({
      description:
        'value_now over what is expected of it: value_before changed as the rest changed, added or multiplied, whichever is more',
    }),
    excess_low: z.number().openapi({ description: 'Lower end of the 95 % interval of the excess' }),
    excess_high: z.number(),
    sessions: z.number().int().openapi({ description: 'Sessions of the segment now' }),
    share_of_bad: z.number().openapi({ description: 'The part, 0 to 1, of all that is bad now' }),
    p: z.number(),
    q: z
      .number()
      .openapi({ description: 'False discovery rate (Benjamini and Hochberg) at which this is still found' }),
    sentence: z.string(),
  })
  .openapi('Insight')

const search = z.object({
  baseline_from: time,
  baseline_to: time,
  metrics: z.array(z.enum(INSIGHT_METRICS)),
  tested: z.number().int().openapi({ description: 'Segments times metrics' }),
  sessions_now: z.number().int(),
  sessions_before: z.number().int(),
  sampled: z.boolean().openapi({ description: 'Whether only some of the sessions were looked at, drawn by lot' }),
  false_discovery_rate: z.number(),
})

const insightsRoute = createRoute({
  method: 'get',
  path: '/v1/insights',
  security: needs('metrics:read'),
  summary: 'The segments that got worse, against their own past and against everybody else; most harm first',
  description:
    'Single values of a dimension and pairs. Without a baseline the past is four times as long as the window and ends where that begins.',
  request: { query: insightsQuery },
  responses: {
    200: {
      description: 'What was found, none if nothing stands out; and how it was searched',
      content: { 'application/json': { schema: z.object({ data: z.array(insight), meta, search }) } },
    },
    ...PROBLEMS,
  },
})

export const addInsightRoute = (app: OpenAPIHono<RequestEnv>, desk: Desk) =>
  app.openapi(insightsRoute, async c => {
    const { filter: filters, baseline_from, baseline_to, ...asked } = c.req.valid('query')
    const { search: how, ...answer } = await insights(desk, {
      ...asked,
      filters,
      baseline: baselineOf(baseline_from, baseline_to),
    })
    return c.json({ ...answer, search: { ...how, metrics: [...INSIGHT_METRICS] } }, 200)
  })
