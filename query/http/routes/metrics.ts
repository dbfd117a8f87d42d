/** `/v1/metrics`: the catalogue, and a metric over a range, over time and by dimension. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { breakdown, type Desk, overall, timeseries } from '../../metrics/answer.ts'
import { ANSWER_TIERS, BETTER, COUNTED, METRIC_IDS, METRICS, UNITS } from '../../metrics/catalogue.ts'
import { DIMENSIONS } from '../../metrics/filter.ts'
import { gameClass, gameClassesQuestion } from '../../metrics/model.ts'
import { knownValuesQuestion } from '../../metrics/questions.ts'
import { RUNG, rungBreakdown } from '../../metrics/rungs.ts'
import { answered, labels, meta, NO_META, PROBLEMS, time, value } from '../envelope.ts'
import { breakdownQuery, metricPath, nothing, overallQuery, timeseriesQuery } from '../parameters.ts'
import type { RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'

const DAY_S = 86_400
const KNOWN_VALUES_MAX = 100

const catalogueEntry = z
  .object({
    id: z.enum(METRIC_IDS),
    title: z.string(),
    definition: z.string(),
    unit: z.enum(UNITS),
    better: z.enum(BETTER),
    definition_version: z.number().int(),
    tiers: z.array(z.enum(ANSWER_TIERS)),
    counted: z.enum(COUNTED),
    min_count: z.number().int(),
    has_share_of_bad: z.boolean(),
    by_rung: z.boolean().openapi({ description: 'Whether a breakdown by rung answers it' }),
  })
  .openapi('Metric')
const dimensionEntry = z
  .object({ id: z.enum(DIMENSIONS), values: z.array(z.string()) })
  .openapi('Dimension', { description: 'With the values most common in the last day' })

const catalogueRoute = createRoute({
  method: 'get',
  path: '/v1/metrics',
  security: needs('metrics:read'),
  summary: 'What can be asked: metrics, and dimensions with their known values',
  request: { query: nothing },
  responses: {
    200: {
      description: 'The catalogue',
      content: {
        'application/json': {
          schema: z.object({
            data: z.array(catalogueEntry),
            dimensions: z.array(dimensionEntry),
            game_classes: z.array(gameClass).openapi({
              description: 'What G.1072 takes a game for; a game that is not listed is high in both',
            }),
            meta: meta,
          }),
        },
      },
    },
    ...PROBLEMS,
  },
})

const overallRoute = createRoute({
  method: 'get',
  path: '/v1/metrics/{id}',
  security: needs('metrics:read'),
  summary: 'One number for a range',
  request: { params: metricPath, query: overallQuery },
  responses: answered('One value; none if nothing lies in the range', z.object(value)),
})

const timeseriesRoute = createRoute({
  method: 'get',
  path: '/v1/metrics/{id}/timeseries',
  security: needs('metrics:read'),
  summary: 'Per step, and per group',
  request: { params: metricPath, query: timeseriesQuery },
  responses: answered(
    'Every step of the range, null where it is empty; the series of several groups, named by their dimensions, one after the other',
    z.object({ t: time, ...labels, ...value }),
  ),
})

const breakdownRoute = createRoute({
  method: 'get',
  path: '/v1/metrics/{id}/breakdown',
  security: needs('metrics:read'),
  summary: 'Per value of one or two dimensions',
  request: { params: metricPath, query: breakdownQuery },
  responses: answered(
    'Groups, named by their dimensions (null is unknown). share_of_bad: the part, 0 to 1, of all that is bad in the range',
    z.object({
      ...labels,
      rung: z.string().nullable().optional(),
      ...value,
      sessions: z.number().int(),
      frames: z.number().int(),
      share_of_bad: z.number().nullable(),
    }),
  ),
})

export function addMetricRoutes(app: OpenAPIHono<RequestEnv>, desk: Desk) {
  const catalogue = METRIC_IDS.map(id => {
    const { title, definition, unit, better, definition_version, tiers, counted, min_count, bad, by_rung } = METRICS[id]
    return {
      ...{ id, title, definition, unit, better, definition_version, tiers: [...tiers], counted, min_count },
      has_share_of_bad: bad !== undefined,
      by_rung: by_rung !== undefined,
    }
  })
  return app
    .openapi(catalogueRoute, async c => {
      const now = Math.ceil(desk.now() / 1_000)
      const [[known], game_classes] = await Promise.all([
        desk.ask(knownValuesQuestion(now - DAY_S, now, KNOWN_VALUES_MAX)),
        desk.ask(gameClassesQuestion),
      ])
      const dimensions = DIMENSIONS.map(id => ({ id, values: known?.[`known_${id}`] ?? [] }))
      return c.json({ data: catalogue, dimensions, game_classes, meta: NO_META }, 200)
    })
    .openapi(overallRoute, async c => {
      const { id } = c.req.valid('param')
      const { filter, ...asked } = c.req.valid('query')
      return c.json(await overall(desk, { ...asked, metric: id, filters: filter }), 200)
    })
    .openapi(timeseriesRoute, async c => {
      const { id } = c.req.valid('param')
      const { filter, group_by = [], limit, ...asked } = c.req.valid('query')
      return c.json(await timeseries(desk, { ...asked, metric: id, filters: filter }, group_by, limit), 200)
    })
    .openapi(breakdownRoute, async c => {
      const { id } = c.req.valid('param')
      const { filter, by, order, limit, ...asked } = c.req.valid('query')
      const wanted = { ...asked, metric: id, filters: filter }
      if (by === RUNG) return c.json(await rungBreakdown(desk, wanted, order, limit), 200)
      return c.json(await breakdown(desk, wanted, by, order, limit), 200)
    })
}
