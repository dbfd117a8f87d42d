/** `DELETE /v1/sessions/{id}`: a player's session is erased, whatever it is in. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import type { Store } from '../../../ingest/store/clickhouse.ts'
import { type Erased, eraseSession } from '../../../ingest/store/erase.ts'
import { StoreFailure } from '../../metrics/question.ts'
import { meta, NO_META, PROBLEMS } from '../envelope.ts'
import { nothing, sessionPath } from '../parameters.ts'
import type { RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'

/** Who spoke this recently may still be speaking, or have events on their way. */
const SPEAKING_MS = 60_000

const erased = z
  .object({
    session_id: z.string(),
    rows: z.number().int().openapi({ description: "Kafka's messages whose rows are gone, refused ones included" }),
    cells: z.number().int().openapi({ description: 'Cells of all tiers that are gone, the session itself included' }),
    still_speaking: z.boolean().openapi({
      description: 'Its newest event is so recent that more may arrive: these are stored like any others; ask again',
    }),
  })
  .openapi('Erasure')
const answer = (description: string) => ({
  description,
  content: { 'application/json': { schema: z.object({ data: z.array(erased), meta }) } },
})

const erasureRoute = createRoute({
  method: 'delete',
  path: '/v1/sessions/{id}',
  security: needs('admin'),
  summary: 'Erase a session: its events, its cells in every tier, what was refused of it. May be repeated',
  request: { params: sessionPath, query: nothing },
  responses: {
    200: answer('Nothing of the session is left, whether or not there was anything'),
    202: answer('Nothing of it is left, but more may arrive: ask again'),
    ...PROBLEMS,
  },
})

export const addErasureRoutes = (app: OpenAPIHono<RequestEnv>, store: Store, now: () => number) =>
  app.openapi(erasureRoute, async c => {
    const { id } = c.req.valid('param')
    const { rows, cells, last_appended_at_ms } = await erase(store, id)
    const still_speaking = last_appended_at_ms !== undefined && now() - last_appended_at_ms < SPEAKING_MS
    const body = { data: [{ session_id: id, rows, cells, still_speaking }], meta: NO_META }
    return still_speaking ? c.json(body, 202) : c.json(body, 200)
  })

/** What the store said is for the log. What was begun is finished by asking again. */
async function erase(store: Store, id: string): Promise<Erased> {
  try {
    return await eraseSession(store, id)
  } catch (error) {
    throw new StoreFailure('erase_session', error)
  }
}
