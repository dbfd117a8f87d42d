/** `/v1/abr/regret`: what became of the ledger's decisions, by policy and version; and whether one policy is better than another. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { regret } from '../../abr/regret.ts'
import { REGRET_IDS, REGRET_METRICS, type RegretId } from '../../abr/regret-metrics.ts'
import type { Whose } from '../../abr/regret-questions.ts'
import { SESSIONS_MIN, VERDICTS } from '../../comparisons/compare.ts'
import type { Desk } from '../../metrics/answer.ts'
import { BETTER, UNITS } from '../../metrics/catalogue.ts'
import { Mistake } from '../../metrics/mistake.ts'
import { meta, PROBLEMS } from '../envelope.ts'
import { limit, parsed, range } from '../parameters.ts'
import type { RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'
import { measured } from './compare.ts'

const whose = (text: string): Whose | undefined => {
  const colon = text.indexOf(':')
  return colon > 0 && colon + 1 < text.length
    ? { policy: text.slice(0, colon), policy_version: text.slice(colon + 1) }
    : undefined
}
const policy = parsed(whose, 'policy:version', 'bad_parameter').optional().openapi({
  type: 'string',
  example: 'aimd:3',
  description: '`policy:version`; a and b: to compare the two',
})

const ofEach = <Schema extends z.ZodType>(of: (id: RegretId) => Schema) =>
  z.object(Object.fromEntries(REGRET_IDS.map(id => [id, of(id)])) as Record<RegretId, Schema>)

const policyRegret = z
  .object({
    policy: z.string(),
    policy_version: z.string(),
    sessions: z.number().int(),
    decisions: z.number().int().openapi({ description: 'Distinct ones, by their decision_id' }),
    regret: ofEach(id => z.number().nullable().openapi({ description: REGRET_METRICS[id].definition })),
  })
  .openapi('AbrRegret')
const difference = z.object({
  difference: measured.nullable().openapi({ description: 'a − b; null where a side has no value' }),
  ratio: measured.nullable().openapi({ description: 'a / b; null where a side has no value or b is 0' }),
  verdict: z.enum(VERDICTS).openapi({
    description: `a, seen from b; too_few: under ${SESSIONS_MIN} sessions on a side, or no value`,
  }),
})
const comparison = z
  .object({
    /** Null: no decision of it in the range. As a union: `nullable` of what is named elsewhere becomes an object and a null at once. */
    a: z.union([policyRegret, z.null()]),
    b: z.union([policyRegret, z.null()]),
    regret: ofEach(() => difference),
    rounds: z.number().int().openapi({ description: 'How often sessions were drawn again for the intervals' }),
  })
  .openapi('AbrRegretComparison')
const definition = z
  .object({
    id: z.enum(REGRET_IDS),
    title: z.string(),
    definition: z.string(),
    unit: z.enum(UNITS),
    better: z.enum(BETTER),
    definition_version: z.number().int(),
  })
  .openapi('AbrRegretDefinition')

const regretRoute = createRoute({
  method: 'get',
  path: '/v1/abr/regret',
  security: needs('metrics:read'),
  summary:
    'What became of decisions, by policy and version: too high, too low, oscillation, data; two compared with a and b',
  description:
    'Decisions of the range, up to those whose ten seconds have passed. Intervals are of a Poisson bootstrap over sessions, the same for the same question.',
  request: { query: z.strictObject({ ...range, a: policy, b: policy, limit: limit(50, 1_000) }) },
  responses: {
    200: {
      description: 'Policies, those with the most decisions first',
      content: {
        'application/json': {
          schema: z.object({
            data: z.array(policyRegret),
            comparison: comparison.nullable(),
            definitions: z.array(definition),
            meta,
          }),
        },
      },
    },
    ...PROBLEMS,
  },
})

const DEFINITIONS = REGRET_IDS.map(id => {
  const { title, definition, unit, better, definition_version } = REGRET_METRICS[id]
  return { id, title, definition, unit, better, definition_version }
})

export const addRegretRoute = (app: OpenAPIHono<RequestEnv>, desk: Desk) =>
  app.openapi(regretRoute, async c => {
    const { a, b, ...asked } = c.req.valid('query')
    return c.json({ ...(await regret(desk, { ...asked, between: pair(a, b) })), definitions: DEFINITIONS }, 200)
  })

/** @throws Mistake where only one is named */
function pair(a: Whose | undefined, b: Whose | undefined): readonly [Whose, Whose] | undefined {
  if (a === undefined && b === undefined) return undefined
  if (a !== undefined && b !== undefined) return [a, b]
  throw new Mistake('bad_parameter', a === undefined ? 'a' : 'b', 'to compare, name two: a and b')
}
