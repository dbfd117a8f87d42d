/** `/v1/pipeline`: whether the numbers can be trusted now. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { REASONS } from '../../../ingest/contract/refusal.ts'
import type { Store } from '../../../ingest/store/clickhouse.ts'
import type { Desk } from '../../metrics/answer.ts'
import { health, RECENT_S } from '../../pipeline/health.ts'
import { answered, time } from '../envelope.ts'
import { nothing } from '../parameters.ts'
import type { RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'

const count = z.number().int()
const mustBe0 = (what: string) => count.openapi({ description: `${what}. Must be 0` })
const offsets = {
  offsets_missing: mustBe0('Offsets that no row covers, less those covered more than once'),
  offsets_doubled: mustBe0('Offsets covered more than once, less those that no row covers'),
  offsets_expired: mustBe0('Offsets that Kafka deleted before they were read'),
}
const backlog = z.object({ due_buckets: count, oldest_due_at: time.nullable() })

const partition = z.object({
  log_id: z.string(),
  kafka_partition: count,
  first_offset: count.nullable().openapi({ description: 'Of the recent span; null if nothing arrived in it' }),
  next_offset: count,
  rows: count,
  ...offsets,
  last_appended_at: time.nullable().openapi({ description: "Kafka's append time of the newest record stored" }),
  last_ingested_at: time.nullable(),
})

const pipeline = z
  .object({
    rows: count,
    rows_per_minute: z.number(),
    events: count,
    per_minute: z.array(z.object({ t: time, rows: count, rejected: count })),
    rejected: count,
    rejected_pct: z.number().nullable().openapi({ description: 'Null if nothing arrived' }),
    rejects: z.array(z.object({ reason: z.enum(REASONS), count, share: z.number() })),
    resent_pct: z.number().nullable().openapi({ description: 'The metric, of the span' }),
    completeness_pct: z.number().nullable().openapi({ description: 'The metric, of the span' }),
    ...offsets,
    settling: z.object({ '10s': backlog, minute: backlog, hour: backlog }).openapi({
      description: 'Buckets that changed since they were settled; one or two always do while events arrive',
    }),
    partitions: z.array(partition),
  })
  .openapi('Pipeline')

const pipelineRoute = createRoute({
  method: 'get',
  path: '/v1/pipeline',
  security: needs('metrics:read'),
  summary:
    'Whether the numbers can be trusted now: freshness, refusals, completeness, settling, every offset accounted for',
  description: `Of what was stored in the last ${RECENT_S / 60} minutes. How far Kafka's log is ahead is not known to the API; see ingest_lag_records of the ingester.`,
  request: { query: nothing },
  responses: answered('One entry', pipeline),
})

export const addPipelineRoute = (app: OpenAPIHono<RequestEnv>, desk: Desk, store: Store) =>
  app.openapi(pipelineRoute, async c => c.json(await health(desk, store), 200))
