/** `/v1/sessions/{id}`: one session. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { END_REASONS, SESSION_STATES } from '../../../ingest/contract/events.ts'
import type { Desk } from '../../metrics/answer.ts'
import { METRIC_IDS, type MetricId } from '../../metrics/catalogue.ts'
import { DIMENSIONS, type Dimension } from '../../metrics/filter.ts'
import { FLAGS, summarise } from '../../sessions/summary.ts'
import { answered, time } from '../envelope.ts'
import { nothing, sessionPath } from '../parameters.ts'
import type { RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'

const unknownIsNull = z.string().nullable()
const figure = z.number().nullable()

const summary = z.object({
  session_id: z.string(),
  context: z.object(
    Object.fromEntries(DIMENSIONS.map(name => [name, unknownIsNull])) as Record<Dimension, typeof unknownIsNull>,
  ),
  started_at: time,
  last_seen_at: time,
  state: z.enum(SESSION_STATES).nullable(),
  end_reason: z.enum(END_REASONS).nullable(),
  startup_ms: z.number().int().nullable(),
  metrics: z.object(Object.fromEntries(METRIC_IDS.map(id => [id, figure])) as Record<MetricId, typeof figure>),
  flags: z.array(z.enum(FLAGS)),
})

const summaryRoute = createRoute({
  method: 'get',
  path: '/v1/sessions/{id}',
  security: needs('sessions:read'),
  summary: 'One session: context, begin and end, every metric over all of it, flags',
  request: { params: sessionPath, query: nothing },
  responses: answered('The session', summary.openapi('Session')),
})

export const addSessionRoutes = (app: OpenAPIHono<RequestEnv>, desk: Desk) =>
  app.openapi(summaryRoute, async c => c.json(await summarise(desk, c.req.valid('param').id), 200))
