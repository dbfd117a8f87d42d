/** `/v1/abr/…`: what adaptive-bitrate logic asks while a game runs. Answered from memory; only a malformed request is refused. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import { streamSSE } from 'hono/streaming'
import { type Context, context as eventContext, SESSION_ID } from '../../../ingest/contract/events.ts'
import { type Advisor, type Asked, adviceOn, priorAdvice, STALE } from '../../abr/advice.ts'
import { type Ladder, parseLadder, rungNamed } from '../../abr/ladder.ts'
import { REASONS, type Standing } from '../../abr/state.ts'
import { watch } from '../../abr/watch.ts'
import { Mistake } from '../../metrics/mistake.ts'
import { PROBLEMS, time } from '../envelope.ts'
import { parsed, sessionPath } from '../parameters.ts'
import type { RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'

const BATCH_MAX = 500
const STREAM_MAX = 100
const LADDER_CHARS_MAX = 2_048
const UINT32 = 4_294_967_295

/** What the caller knows of a session; where we heard of it, what it says itself counts. */
const { game, device, access, isp, region } = eventContext.shape
const context = { game, device, access, isp, region }
const standing = {
  rung: z.string().min(1).max(32).optional().openapi({
    description: 'The step the session is at; default: the one its last bitrate event named',
    example: '1080p60-10m',
  }),
  since_ms: z.coerce.number().int().min(0).max(UINT32).optional().openapi({
    description: 'For how long; default: long enough',
  }),
  switches_last_minute: z.coerce.number().int().min(0).max(65_535).default(0),
}
const ladder = z
  .string()
  .max(LADDER_CHARS_MAX)
  .transform((text, issues): Ladder => {
    try {
      return parseLadder(text)
    } catch (error) {
      issues.addIssue({ code: 'custom', message: error instanceof RangeError ? error.message : 'no ladder' })
      return z.NEVER
    }
  })
  .optional()
  .openapi({
    type: 'string',
    example: '720p60-5m:5000,1080p60-10m:10000',
    description: 'Steps to choose from, `name:kbps` ascending; default: the configured ones',
  })

const figure = z.number().nullable()
const step = z.object({ rung: z.string(), target_bitrate_kbps: z.number().int() })
const state = z
  .object({
    bitrate_avg_kbps: figure,
    target_bitrate_kbps: figure,
    available_kbps: z
      .object({
        last: figure,
        harmonic_mean: figure,
        ewma_3s: figure,
        ewma_9s: figure,
        stdev: figure,
        error_max_5: figure.openapi({
          description:
            'Greatest relative error of the last five intervals, each foretold by the harmonic mean of up to five before it',
        }),
      })
      .openapi({ description: "The congestion controller's estimate over the window" }),
    rtt_p50_us: figure,
    jitter_p50_us: figure,
    packet_loss_pct: figure,
    fps_avg: figure,
    frame_time_p95_us: figure,
    late_frame_pct: figure,
    stutter_time_pct: figure,
    freeze_time_pct: figure,
    open_frame_us: figure.openapi({
      description:
        'How long the frame on screen has been there: at the last event, and since then too where the session is silent while others are heard',
    }),
    mos_avg: figure,
    rung: z.string().nullable(),
    samples: z.number().int(),
    completeness_pct: figure,
  })
  .openapi('AbrState', { description: "A session's last ten seconds" })
const levels = z.array(z.object({ level: z.string(), n: z.number().int() })).readonly()
const prior = z
  .object({
    p10_kbps: figure,
    p25_kbps: figure,
    p50_kbps: figure,
    p75_kbps: figure,
    p90_kbps: figure,
    rtt_p50_us: figure,
    packet_loss_pct: figure,
    start_bitrate_kbps: figure,
    cap_kbps: figure,
    level: z.string().openapi({ example: 'isp+region+access+device' }),
    levels: levels.openapi({ description: 'Sessions at each level of the back-off, from the narrowest' }),
  })
  .openapi('AbrPrior', { description: 'What sessions like this one sustained' })

const stamped = {
  as_of: time.nullable().openapi({ description: 'When Kafka appended the newest event behind it' }),
  age_ms: z.number().nullable(),
  stale: z.boolean().openapi({ description: 'Too old, or nothing is known: do what is safe' }),
  valid_for_ms: z.number(),
  samples: z.number().int(),
  completeness_pct: figure,
  safe_default: step.nullable().openapi({
    description: 'What to do when in doubt; null: nobody said on which rung the session is',
  }),
  recommendation: step.extend({ reason: z.enum([...REASONS, STALE]) }),
  prior: prior.nullable(),
}
const advice = z
  .object({
    session_id: z.string(),
    ...stamped,
    freeze_in_progress: z.boolean().nullable(),
    state: state.nullable(),
  })
  .openapi('AbrAdvice')

const answered = <Schema extends z.ZodType>(description: string, schema: Schema) => ({
  200: { description, content: { 'application/json': { schema } } },
  ...PROBLEMS,
})

const stateRoute = createRoute({
  method: 'get',
  path: '/v1/abr/sessions/{id}',
  security: needs('abr:read'),
  summary: "A session's last ten seconds, how old that is, and what to do",
  description: 'From memory: an unknown session is 200 too, with what sessions like it sustained and `samples: 0`.',
  request: { params: sessionPath, query: z.strictObject({ ...standing, ...context, ladder }) },
  responses: answered('What is known', advice),
})

const batchRoute = createRoute({
  method: 'post',
  path: '/v1/abr/sessions:batch',
  security: needs('abr:read'),
  summary: `The same of up to ${BATCH_MAX} sessions`,
  request: {
    query: z.strictObject({}),
    body: {
      required: true,
      content: {
        'application/json': {
          schema: z.strictObject({
            sessions: z
              .array(z.strictObject({ session_id: z.string().regex(SESSION_ID), ...standing, ...context }))
              .max(BATCH_MAX),
            ladder,
          }),
        },
      },
    },
  },
  responses: answered('What is known of each, in their order', z.object({ data: z.array(advice) })),
})

const priorRoute = createRoute({
  method: 'get',
  path: '/v1/abr/prior',
  security: needs('abr:read'),
  summary: 'What sessions like this one sustained: where to begin, and what to stay below',
  request: { query: z.strictObject({ ...context, ladder }) },
  responses: answered('What is known', z.object(stamped).openapi('AbrPriorAnswer')),
})

const sessionIds = (text: string): string[] | undefined => {
  const ids = text.split(',')
  return ids.length <= STREAM_MAX && ids.every(id => SESSION_ID.test(id)) ? [...new Set(ids)] : undefined
}
const streamRoute = createRoute({
  method: 'get',
  path: '/v1/abr/stream',
  security: needs('abr:read'),
  summary: `Server-sent events: what is known of up to ${STREAM_MAX} sessions, again whenever it changed materially`,
  description: '`event: state` with the answer of `/v1/abr/sessions/{id}`; `event: heartbeat` when nothing happened.',
  request: {
    query: z.strictObject({
      sessions: parsed(
        sessionIds,
        `1 to ${STREAM_MAX} session ids with commas between`,
        'bad_session_id',
        STREAM_MAX * 37,
      ).openapi({ type: 'string', description: `1 to ${STREAM_MAX} session ids with commas between` }),
      ladder,
    }),
  },
  responses: {
    200: { description: 'Events without end', content: { 'text/event-stream': { schema: z.string() } } },
    ...PROBLEMS,
  },
})

type Given = Context & { readonly [name in keyof Standing]?: Standing[name] | undefined }

/** @throws Mistake where the rung is none of the ladder */
function askedOf(session_id: string, given: Given, ladder: Ladder, at = ''): Asked {
  const { rung, since_ms = Number.POSITIVE_INFINITY, switches_last_minute = 0, ...context } = given
  if (rung === undefined) return { session_id, context }
  if (!rungNamed(ladder, rung))
    throw new Mistake('unknown_rung', `${at}rung`, `is none of ${ladder.map(({ name }) => name).join(', ')}`)
  return { session_id, context, standing: { rung, since_ms, switches_last_minute } }
}

export const addAbrRoutes = (
  app: OpenAPIHono<RequestEnv>,
  advisor: Advisor,
  now: () => number,
  stopping: AbortSignal,
) =>
  app
    .openapi(stateRoute, async c => {
      const { ladder = advisor.ladder, ...given } = c.req.valid('query')
      const asked = askedOf(c.req.valid('param').id, given, ladder)
      return c.json(adviceOn({ ...advisor, ladder }, asked, now()), 200)
    })
    .openapi(batchRoute, async c => {
      const { ladder = advisor.ladder, sessions } = c.req.valid('json')
      const asked = sessions.map(({ session_id, ...given }, i) => askedOf(session_id, given, ladder, `sessions.${i}.`))
      return c.json({ data: asked.map(one => adviceOn({ ...advisor, ladder }, one, now())) }, 200)
    })
    .openapi(priorRoute, async c => {
      const { ladder = advisor.ladder, ...context } = c.req.valid('query')
      return c.json(priorAdvice({ ...advisor, ladder }, context, now()), 200)
    })
    .openapi(streamRoute, async c => {
      const { ladder = advisor.ladder, sessions } = c.req.valid('query')
      const asked = sessions.map(session_id => ({ session_id, context: {} }))
      return streamSSE(c, async stream => {
        const gone = new AbortController()
        stream.onAbort(() => gone.abort())
        const signal = AbortSignal.any([gone.signal, stopping])
        for await (const told of watch({ ...advisor, ladder }, asked, now, signal)) {
          if (stream.aborted) return
          if (told === 'heartbeat') await stream.writeSSE({ event: 'heartbeat', data: '' })
          else await stream.writeSSE({ event: 'state', data: JSON.stringify(told) })
        }
      })
    })
