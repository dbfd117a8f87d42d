/** `/v1/sessions/{id}/timeline`: one session over time. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { END_REASONS, SESSION_STATES } from '../../../ingest/contract/events.ts'
import type { Desk } from '../../metrics/answer.ts'
import { EPISODE_GAP_US } from '../../sessions/episodes.ts'
import { LAST_S } from '../../sessions/part.ts'
import { FIGURES, type Figure, RAW_SPAN_MAX_S, timeline } from '../../sessions/timeline.ts'
import { answered, time } from '../envelope.ts'
import { momentOf, sessionPath } from '../parameters.ts'
import type { RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'

const figure = z.number().nullable()
const RAW_MINUTES = RAW_SPAN_MAX_S / 60

const point = z.object({
  t: time,
  ...(Object.fromEntries(FIGURES.map(name => [name, figure])) as Record<Figure, typeof figure>),
  rung: z.string().nullable(),
})
const episode = z.object({
  kind: z.enum(['stutter', 'freeze']).openapi({ description: 'The worst in it' }),
  from: time,
  to: time.nullable().openapi({ description: 'Null: its last frame was still on the screen at the end of the range' }),
  longest_frame_us: z.number().int(),
  frames: z.number().int().openapi({ description: 'Bad ones' }),
})
const mark = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('rung'), at: time, before: z.string(), rung: z.string() }),
  z.object({
    kind: z.literal('state'),
    at: time,
    state: z.enum(SESSION_STATES),
    startup_ms: z.number().int().nullable(),
    end_reason: z.enum(END_REASONS).nullable(),
  }),
])

const timelineRoute = createRoute({
  method: 'get',
  path: '/v1/sessions/{id}/timeline',
  security: needs('sessions:read'),
  summary: 'One session over time: points, stutters and freezes as episodes, changes of rung and state',
  request: {
    params: sessionPath,
    query: z.strictObject({
      from: momentOf(`default: ${LAST_S / 60} minutes before \`to\`, or its beginning`).optional(),
      to: momentOf('default: its end').optional(),
    }),
  },
  responses: answered(
    `One timeline. Up to ${RAW_MINUTES} minutes come from its events (meta.tier is \`events\`): a point a second. Longer ones, and those whose events are gone, come from its cells: points of meta.step_s, episodes and marks null, as they are not known`,
    z
      .object({
        points: z.array(point),
        episodes: z
          .array(episode)
          .nullable()
          .openapi({
            description: `Bad frames with at most ${EPISODE_GAP_US / 1_000} ms between them are one episode`,
          }),
        marks: z.array(mark).nullable(),
      })
      .openapi('Timeline'),
  ),
})

export const addSessionTimelineRoutes = (app: OpenAPIHono<RequestEnv>, desk: Desk) =>
  app.openapi(timelineRoute, async c =>
    c.json(await timeline(desk, c.req.valid('param').id, c.req.valid('query')), 200),
  )
