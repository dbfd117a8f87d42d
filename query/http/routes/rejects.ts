/** `/v1/rejects`: what was refused, and why. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { REASONS } from '../../../ingest/contract/refusal.ts'
import type { Desk } from '../../metrics/answer.ts'
import { rejects } from '../../pipeline/rejects.ts'
import { answered, time } from '../envelope.ts'
import { rangeQuery } from '../parameters.ts'
import type { RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'

const sample = z.object({
  log_id: z.string(),
  kafka_partition: z.number().int(),
  kafka_offset: z.number().int(),
  appended_at: time,
  detail: z.string(),
  key: z.string(),
  bytes: z.string().openapi({ description: 'The first bytes: printable ASCII as it is, all else as \\xNN' }),
  bytes_total: z.number().int(),
})

const rejectsRoute = createRoute({
  method: 'get',
  path: '/v1/rejects',
  security: needs('metrics:read'),
  summary: 'Refused messages by reason, the most frequent first, with the newest of each',
  request: { query: rangeQuery },
  responses: answered(
    'One entry per reason; the range is of Kafka append times',
    z.object({
      reason: z.enum(REASONS),
      count: z.number().int(),
      first_at: time,
      last_at: time,
      samples: z.array(sample),
    }),
  ),
})

export const addRejectRoutes = (app: OpenAPIHono<RequestEnv>, desk: Desk) =>
  app.openapi(rejectsRoute, async c => c.json(await rejects(desk, c.req.valid('query')), 200))
