/** `/v1/abr/decisions`: what bitrate logic decided, into the ledger. Taken into memory and answered; Kafka has it a moment later. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { abrDecision } from '../../../ingest/contract/events.ts'
import type { DecisionBook } from '../../abr/decisions.ts'
import { meta, NO_META, PROBLEMS } from '../envelope.ts'
import { instant, nothing } from '../parameters.ts'
import type { RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'

const BATCH_MAX = 100
const AGE_MAX_MS = 3_600_000

const { session_id, decision_id, policy, policy_version, from_rung, to_rung, target_bitrate_kbps, reason } =
  abrDecision.shape
const decision = z
  .strictObject({
    session_id,
    decision_id: decision_id.describe('Chosen by whoever decides: said again, the decision still counts once'),
    policy,
    policy_version,
    from_rung,
    to_rung,
    target_bitrate_kbps,
    reason,
    as_of: instant.nullable().default(null).openapi({ description: '`as_of` of the answer it rests on' }),
    age_ms: z.int().min(0).max(AGE_MAX_MS).default(0).openapi({
      description: 'How long ago it was decided: nobody’s clock need be right',
    }),
  })
  .openapi('AbrDecision')

const decisionsRoute = createRoute({
  method: 'post',
  path: '/v1/abr/decisions',
  security: needs('abr:write'),
  summary: `Note up to ${BATCH_MAX} decisions in the ledger: all of them, or, where there is no room, none`,
  description: 'Of any session, known or not. `GET /v1/abr/regret` tells what became of them.',
  request: {
    query: nothing,
    body: {
      required: true,
      content: {
        'application/json': { schema: z.strictObject({ decisions: z.array(decision).min(1).max(BATCH_MAX) }) },
      },
    },
  },
  responses: {
    202: {
      description: 'They are taken, and on their way',
      content: { 'application/json': { schema: z.object({ data: z.array(z.object({ taken: z.int() })), meta }) } },
    },
    ...PROBLEMS,
  },
})

export const addDecisionRoute = (app: OpenAPIHono<RequestEnv>, book: DecisionBook, now: () => number) =>
  app.openapi(decisionsRoute, c => {
    const { decisions } = c.req.valid('json')
    const now_ms = Math.floor(now())
    book.note(
      decisions.map(({ as_of, age_ms, ...decision }) => ({
        ...decision,
        started_at_ms: now_ms - age_ms,
        ...(as_of === null ? {} : { as_of_ms: Date.parse(as_of) }),
      })),
    )
    return c.json({ data: [{ taken: decisions.length }], meta: NO_META }, 202)
  })
