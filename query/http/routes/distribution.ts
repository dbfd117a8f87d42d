/** Distributions: of a metric over a range and over time, and the share of frames beyond a threshold. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { FRAME_TIME_MAX_US } from '../../../ingest/contract/events.ts'
import type { Desk } from '../../metrics/answer.ts'
import { distribution, heatmap, WEIGHTS } from '../../metrics/histogram.ts'
import { slowerThan, THRESHOLD_MIN_US } from '../../metrics/slower.ts'
import { answeredWith, labels, metaWith, time } from '../envelope.ts'
import { breakdownQuery, dimensions, metricPath, overallQuery, timeseriesQuery } from '../parameters.ts'
import type { RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'

const BUCKETS_MIN = 10
const BUCKETS_MAX = 200
const HEATMAP_BUCKETS = 50

const most = z.coerce.number().int().min(BUCKETS_MIN).max(BUCKETS_MAX)
const MOST = `At most so many buckets, ${BUCKETS_MIN} to ${BUCKETS_MAX}: neighbours are put together`

const weighed = metaWith('DistributionMeta', {
  weight: z.enum(WEIGHTS).openapi({
    description: 'What is counted: frames, intervals, or milliseconds of the intervals whose value lies in the bucket',
  }),
})

const bar = z
  .object({
    from: z.number().openapi({ description: "In the metric's unit, inclusive" }),
    to: z.number().openapi({ description: 'Exclusive' }),
    count: z.number().int(),
  })
  .openapi('Bucket')

const distributionRoute = createRoute({
  method: 'get',
  path: '/v1/metrics/{id}/distribution',
  security: needs('metrics:read'),
  summary: 'How often which value: of the metrics that are read from a distribution',
  request: {
    params: metricPath,
    query: overallQuery.extend({
      buckets: most.optional().openapi({ description: `${MOST}; without it every one there is, each 2 % wide` }),
    }),
  },
  responses: answeredWith('Buckets that hold something, in ascending order', bar, weighed),
})

const heatmapRoute = createRoute({
  method: 'get',
  path: '/v1/metrics/{id}/heatmap',
  security: needs('metrics:read'),
  summary: 'The distribution per step',
  request: {
    params: metricPath,
    query: timeseriesQuery
      .omit({ group_by: true, limit: true })
      .extend({ buckets: most.default(HEATMAP_BUCKETS).openapi({ description: MOST }) }),
  },
  responses: answeredWith(
    'Every step of the range, with the buckets that hold something; their edges are the same in every step',
    z.object({ t: time, buckets: z.array(bar) }),
    weighed,
  ),
})

const slowerRoute = createRoute({
  method: 'get',
  path: '/v1/frames/slower-than',
  security: needs('metrics:read'),
  summary: 'The share of frames over a threshold, in all or per value of one or two dimensions',
  request: {
    query: breakdownQuery.omit({ by: true, order: true }).extend({
      threshold_us: z.coerce
        .number()
        .int()
        .min(THRESHOLD_MIN_US)
        .max(FRAME_TIME_MAX_US)
        .openapi({ example: 33_333, description: 'Frames that took longer are counted' }),
      by: dimensions.optional(),
    }),
  },
  responses: answeredWith(
    'One value, or one per group, the worst first; none if nothing lies in the range',
    z.object({
      ...labels,
      value: z.number().nullable().openapi({ description: 'Percent of frames; null where there are none' }),
      n: z.number().int().openapi({ description: 'Frames' }),
    }),
    metaWith('SlowerThanMeta', {
      threshold_us: z.number().openapi({
        description:
          'The threshold that was used: as given from events, else the nearest edge of a bucket, at most 1 % away',
      }),
      threshold_exact: z.boolean(),
    }),
  ),
})

export const addDistributionRoutes = (app: OpenAPIHono<RequestEnv>, desk: Desk) =>
  app
    .openapi(distributionRoute, async c => {
      const { id } = c.req.valid('param')
      const { filter, buckets, ...asked } = c.req.valid('query')
      return c.json(await distribution(desk, { ...asked, metric: id, filters: filter }, buckets), 200)
    })
    .openapi(heatmapRoute, async c => {
      const { id } = c.req.valid('param')
      const { filter, buckets, ...asked } = c.req.valid('query')
      return c.json(await heatmap(desk, { ...asked, metric: id, filters: filter }, buckets), 200)
    })
    .openapi(slowerRoute, async c => {
      const { filter, threshold_us, by = [], limit, ...asked } = c.req.valid('query')
      return c.json(await slowerThan(desk, { ...asked, filters: filter }, threshold_us, by, limit), 200)
    })
