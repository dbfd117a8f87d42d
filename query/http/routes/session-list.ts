/** `/v1/sessions`: which sessions, the worst or the newest first. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import type { Desk } from '../../metrics/answer.ts'
import { METRIC_IDS, type MetricId } from '../../metrics/catalogue.ts'
import { DIMENSIONS, type Dimension } from '../../metrics/filter.ts'
import { parseMetricCondition } from '../../sessions/condition.ts'
import { listSessions, NEWEST } from '../../sessions/list.ts'
import { answeredWith, metaWith, time } from '../envelope.ts'
import { overallQuery, repeated } from '../parameters.ts'
import type { RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'

const CONDITIONS_MAX = 10
const CONDITION_CHARS_MAX = 100
const CURSOR_CHARS_MAX = 500
const PAGE = 50
const PAGE_MAX = 1_000

export const where = repeated(parseMetricCondition, CONDITION_CHARS_MAX, CONDITIONS_MAX).openapi({
  type: 'array',
  items: { type: 'string' },
  example: ['stutter_time_pct>1'],
  description: 'A metric, `>`, `>=`, `<` or `<=`, and a number; repeated: all must hold. What is unknown meets none',
})

const order = z
  .enum([NEWEST, ...METRIC_IDS])
  .default(NEWEST)
  .openapi({ description: '`newest`: last begun first; a metric: the worst first, unknown ones last' })

const figure = z.number().nullable().optional()
const unknownIsNull = z.string().nullable()

const listed = z
  .object({
    session_id: z.string(),
    context: z.object(
      Object.fromEntries(DIMENSIONS.map(name => [name, unknownIsNull])) as Record<Dimension, typeof unknownIsNull>,
    ),
    first_seen_at: time.openapi({ description: "Begin of the tier's first bucket in the range with an event of it" }),
    last_seen_at: time.openapi({ description: 'Begin of the last one' }),
    played_s: z.number().openapi({ description: 'Sum of its frame times in the range' }),
    metrics: z
      .object(Object.fromEntries(METRIC_IDS.map(id => [id, figure])) as Record<MetricId, typeof figure>)
      .openapi({ description: 'Over the range: a few of every session, and those it was chosen or ordered by' }),
  })
  .openapi('ListedSession')

const listRoute = createRoute({
  method: 'get',
  path: '/v1/sessions',
  security: needs('sessions:read'),
  summary: 'Sessions by filter and by their metrics, the worst or the newest first, page by page',
  request: {
    query: overallQuery.extend({
      where,
      order,
      limit: z.coerce
        .number()
        .int()
        .min(1)
        .max(PAGE_MAX)
        .default(PAGE)
        .openapi({ description: 'How many sessions a page has at most' }),
      cursor: z.string().min(1).max(CURSOR_CHARS_MAX).optional().openapi({
        description: '`next_cursor` of the page before, with everything else as it was: continues over the same range',
      }),
    }),
  },
  responses: answeredWith(
    'A page of sessions',
    listed,
    metaWith('SessionPageMeta', {
      next_cursor: z.string().nullable().openapi({ description: 'For the next page; null: this was the last' }),
    }),
  ),
})

export const addSessionListRoutes = (app: OpenAPIHono<RequestEnv>, desk: Desk) =>
  app.openapi(listRoute, async c => {
    const { filter, limit, cursor, ...asked } = c.req.valid('query')
    return c.json(await listSessions(desk, { ...asked, filters: filter }, limit, cursor), 200)
  })
