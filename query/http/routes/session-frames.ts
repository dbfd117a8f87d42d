/** `/v1/sessions/{id}/frames`: each frame of a session, sent while it is read. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import type { Log } from '../../../ingest/runtime/log.ts'
import { iso } from '../../metrics/range.ts'
import { FRAMES_SPAN_MAX_S, type FrameRow, framesOf } from '../../sessions/frames.ts'
import { LAST_S } from '../../sessions/part.ts'
import { PROBLEMS } from '../envelope.ts'
import type { ExportDesk } from '../export.ts'
import { momentOf, sessionPath } from '../parameters.ts'
import type { RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'
import { CONTENT_TYPES, streamOf } from '../table.ts'

const MINUTES = FRAMES_SPAN_MAX_S / 60
/** As any text: the name of a type with json in it has a typed response, which a stream is not. */
const NDJSON: string = 'application/x-ndjson'

const header = (description: string) => ({ description, schema: { type: 'string' as const } })

const framesRoute = createRoute({
  method: 'get',
  path: '/v1/sessions/{id}/frames',
  security: needs('sessions:read'),
  summary: `Each frame of up to ${MINUTES} minutes of a session, as NDJSON`,
  request: {
    params: sessionPath,
    query: z.strictObject({
      from: momentOf(`default: ${LAST_S / 60} minutes before \`to\`, or its beginning`).optional(),
      to: momentOf('default: its end').optional(),
    }),
  },
  responses: {
    200: {
      description: `A line per event that has frames, in the order of their begin, resends left out: \`at\`, \`source\`, \`target_fps\`, \`frame_time_us\` (one after the other, the first begins at \`at\`), \`stutters\` and \`freezes\` (places in \`frame_time_us\`, from 0). Events are kept for less long than what is made of them: then there is no line. If the store fails on the way the connection ends before the body does`,
      headers: {
        'x-from': header('What the range was snapped to'),
        'x-to': header('Its end, exclusive'),
      },
      content: { [NDJSON]: { schema: z.string() } },
    },
    ...PROBLEMS,
  },
})

async function* linesOf(rows: AsyncIterable<FrameRow[]>): AsyncGenerator<string, void, undefined> {
  for await (const some of rows)
    yield some.map(({ at_ms, ...row }) => `${JSON.stringify({ at: iso(at_ms), ...row })}\n`).join('')
}

export const addSessionFrameRoutes = (app: OpenAPIHono<RequestEnv>, desk: ExportDesk, log: Log) =>
  app.openapi(framesRoute, async c => {
    const { question, window } = await framesOf(desk, c.req.valid('param').id, c.req.valid('query'))
    const rows = desk.askStreamed(question)
    // What can fail fails before the first byte: from here on only the connection can.
    const first = await rows.next()
    async function* all(): AsyncGenerator<FrameRow[], void, undefined> {
      if (!first.done) yield first.value
      yield* rows
    }
    const close = async () => {
      await rows.return()
    }
    const request_id = c.get('request_id')
    const cut = (error: unknown) => log.error({ request_id, error: String(error) }, 'frames_cut')
    return c.body(streamOf(linesOf(all()), close, cut), 200, {
      'content-type': CONTENT_TYPES.ndjson,
      'x-from': iso(window.from * 1_000),
      'x-to': iso(window.to * 1_000),
    })
  })
