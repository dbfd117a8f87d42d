/**
 * The API as one function from request to response, without a socket. What every request meets, in order: an id, the Host check, the
 * clock, limits, the key, its route. Whatever throws on the way ends as a problem document.
 */
import { randomUUID } from 'node:crypto'
import { OpenAPIHono } from '@hono/zod-openapi'
import type { Context, MiddlewareHandler } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import { matchedRoutes } from 'hono/route'
import type { Log } from '../../ingest/runtime/log.ts'
import type { Store } from '../../ingest/store/clickhouse.ts'
import type { Retention } from '../../ingest/store/migrate.ts'
import { createAsk } from '../metrics/question.ts'
import type { Keys } from './keys.ts'
import { readMistake } from './parameters.ts'
import { problemAnswer, problemOf, type RequestEnv } from './problems.ts'
import { notReady } from './readiness.ts'
import { addAnnotationRoutes } from './routes/annotations.ts'
import { addCompareRoute } from './routes/compare.ts'
import { addInsightRoute } from './routes/insights.ts'
import { addMetricRoutes } from './routes/metrics.ts'
import { addPipelineRoute } from './routes/pipeline.ts'
import { addRejectRoutes } from './routes/rejects.ts'
import { addSessionRoutes } from './routes/sessions.ts'
import type { QueryVitals } from './vitals.ts'

export interface AppOptions {
  readonly store: Store
  readonly keys: Keys
  readonly retention: Retention
  readonly vitals: QueryVitals
  readonly log: Log
  /** Answer only requests that were sent to a loopback name: stops pages elsewhere from rebinding a name of theirs to us. */
  readonly loopback_only: boolean
  readonly now?: () => number
}

const URL_MAX = 8_192
const BODY_MAX = 64 * 1_024
const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/
const LOOPBACK_NAME = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/

export function createApp(options: AppOptions): OpenAPIHono<RequestEnv> {
  const { store, vitals, log } = options
  const ask = createAsk(store, (question, seconds, ok) =>
    vitals.questionSeconds.observe({ question, answered: String(ok) }, seconds),
  )
  const desk = { ask, retention: options.retention, now: options.now ?? Date.now }
  const app = new OpenAPIHono<RequestEnv>({
    defaultHook: result => {
      if (!result.success) throw readMistake(result.error.issues)
    },
  })
  app.onError((error, c) => problemOf(error, c, log))
  app.notFound(c => problemAnswer(c, 'unknown_route', 'there is nothing here; GET /openapi.json lists what there is'))

  app.use(identify)
  if (options.loopback_only) app.use(onlyLoopbackNames)
  app.use(measured(vitals))
  app.use('/v1/*', limited)
  app.use('/v1/*', bodyLimit({ maxSize: BODY_MAX, onError: c => tooLarge(c) }))
  app.use('/v1/*', admitted(options.keys))

  addMetricRoutes(app, desk)
  addCompareRoute(app, desk)
  addInsightRoute(app, desk)
  addAnnotationRoutes(app, desk, store)
  addPipelineRoute(app, desk, store)
  addSessionRoutes(app, desk)
  addRejectRoutes(app, desk)
  app.get('/livez', c => c.text('ok\n'))
  app.get('/readyz', async c => {
    const waiting = await notReady(ask)
    return waiting === undefined ? c.text('ready\n') : c.text(`${waiting}\n`, 503)
  })
  app.get('/metrics', async c =>
    c.text(await vitals.registry.metrics(), 200, { 'content-type': vitals.registry.contentType }),
  )
  document(app)
  return app
}

function document(app: OpenAPIHono<RequestEnv>): void {
  app.openAPIRegistry.registerComponent('securitySchemes', 'key', { type: 'http', scheme: 'bearer' })
  app.doc31('/openapi.json', {
    openapi: '3.1.0',
    info: {
      title: 'Stream quality',
      version: '1',
      description: 'Quality of game streams: how smooth, for whom, since when',
    },
    security: [{ key: [] }],
  })
}

const identify: MiddlewareHandler<RequestEnv> = async (c, next) => {
  const given = c.req.header('x-request-id')
  c.set('request_id', given !== undefined && REQUEST_ID.test(given) ? given : randomUUID())
  await next()
  c.header('x-request-id', c.get('request_id'))
  c.header('x-content-type-options', 'nosniff')
  c.header('cache-control', 'no-store')
}

const onlyLoopbackNames: MiddlewareHandler<RequestEnv> = async (c, next) => {
  const { hostname } = new URL(c.req.url)
  if (!LOOPBACK_NAME.test(hostname)) return problemAnswer(c, 'bad_host', 'this service answers to loopback names only')
  return next()
}

const measured =
  (vitals: QueryVitals): MiddlewareHandler<RequestEnv> =>
  async (c, next) => {
    const begun = performance.now()
    vitals.inFlight.inc()
    try {
      await next()
    } finally {
      vitals.inFlight.dec()
      // Middleware matches by pattern; the route itself is what has none.
      const route = matchedRoutes(c).findLast(({ path }) => !path.endsWith('*'))?.path ?? 'none'
      vitals.requestSeconds.observe({ route, status: c.res.status }, (performance.now() - begun) / 1_000)
    }
  }

const tooLarge = (c: Context<RequestEnv>): Response =>
  problemAnswer(
    c,
    'request_too_large',
    `a request has at most ${URL_MAX} characters of URL and ${BODY_MAX} bytes of body`,
  )

const limited: MiddlewareHandler<RequestEnv> = async (c, next) => (c.req.url.length > URL_MAX ? tooLarge(c) : next())

const admitted =
  (keys: Keys): MiddlewareHandler<RequestEnv> =>
  async (c, next) =>
    keys.admit(c.req.header('authorization'))
      ? next()
      : problemAnswer(c, 'unauthorized', 'send a key: Authorization: Bearer …')
