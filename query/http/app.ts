/**
 * The API as one function from request to response, without a socket. What every request meets, in order: an id, the Host check, the
 * clock, limits, the guard (key, scope, rate), its route. Whatever throws on the way ends as a problem document.
 */
import { randomUUID } from 'node:crypto'
import { OpenAPIHono } from '@hono/zod-openapi'
import type { Context, MiddlewareHandler } from 'hono'
import { bodyLimit } from 'hono/body-limit'
import type { Log } from '../../ingest/runtime/log.ts'
import { DEFAULTS } from '../../ingest/runtime/variables.ts'
import type { Store } from '../../ingest/store/clickhouse.ts'
import type { Retention } from '../../ingest/store/migrate.ts'
import { type Advisor, NO_PRIORS, nobody } from '../abr/advice.ts'
import { type DecisionBook, NO_BOOK } from '../abr/decisions.ts'
import { DEFAULT_LADDER } from '../abr/ladder.ts'
import type { Sharing } from '../metrics/sharing.ts'
import { noted } from './access.ts'
import { addConsole } from './console.ts'
import { ASKING_LIMITS, type AskingLimits, createAsking } from './desk.ts'
import { addDocs } from './docs.ts'
import { CALL_LIMITS, type CallLimits, guard } from './guard.ts'
import type { Keys } from './keys.ts'
import { openApiOf } from './openapi.ts'
import { readMistake } from './parameters.ts'
import { problemAnswer, problemOf, type RequestEnv } from './problems.ts'
import { notReady } from './readiness.ts'
import { addRoutes } from './routes/all.ts'
import { type Requirements, requirementsOf } from './scopes.ts'
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
  /** Per key, where its entry does not say other ones. */
  readonly limits?: Partial<CallLimits>
  /** Per question. */
  readonly asking?: Partial<AskingLimits>
  /** Of the built console, which is served at `/`. */
  readonly console_dir?: string
  /** How long the answer to a question is handed to others who ask the same; default 0: each request asks for itself. */
  readonly share_ms?: number
  /** Who is live and what is known of those like them. Default: nobody, nothing. */
  readonly abr?: Partial<Advisor>
  /** Where decisions are noted. Default: nowhere, there is no room. */
  readonly book?: DecisionBook
  /** Undefined: ready. Otherwise what is waited for, beside the store. */
  readonly waiting?: () => string | undefined
  /** Ends what has no end. */
  readonly stopping?: AbortSignal
}

const UNADVISED: Advisor = {
  ladder: DEFAULT_LADDER,
  stale_after_ms: DEFAULTS.ABR_STALE_AFTER_MS,
  sessions: nobody(),
  priors: NO_PRIORS,
}

const URL_MAX = 8_192
/** Answered from memory; regret is a question to the store. */
const FAST_PATH = /^\/v1\/abr\/(?!regret)/
const BODY_MAX = 64 * 1_024
const REQUEST_ID = /^[A-Za-z0-9._-]{1,64}$/
const LOOPBACK_NAME = /^(localhost|127(\.\d{1,3}){3}|\[::1\])$/

export function createApp(options: AppOptions): OpenAPIHono<RequestEnv> {
  const { store, vitals, log } = options
  const limits = { ...CALL_LIMITS, ...options.limits }
  const { direct, sharing, streamed } = createAsking(
    store,
    { ...ASKING_LIMITS, ...options.asking },
    options.share_ms ?? 0,
    vitals,
  )
  const desk = { ask: sharing.ask, retention: options.retention, now: options.now ?? Date.now }
  const app = new OpenAPIHono<RequestEnv>({
    defaultHook: result => {
      if (!result.success) throw readMistake(result.error.issues)
    },
  })
  app.onError((error, c) => problemOf(error, c, log))
  app.notFound(c => problemAnswer(c, 'unknown_route', 'there is nothing here; GET /openapi.json lists what there is'))

  app.use(identify)
  if (options.loopback_only) app.use(onlyLoopbackNames)
  app.use(noted(vitals, log))
  app.use('/v1/*', limited)
  app.use('/v1/*', bounded)
  let requirements: Requirements = new Map()
  app.use('/v1/*', guard({ keys: options.keys, limits, vitals, requirements: () => requirements }))
  app.use('/v1/*', together(sharing))

  addRoutes(app, {
    desk: { ...desk, askStreamed: streamed },
    store,
    log,
    advisor: { ...UNADVISED, ...options.abr },
    book: options.book ?? NO_BOOK,
    stopping: options.stopping ?? new AbortController().signal,
  })
  requirements = requirementsOf(app)

  addDocs(app)
  addConsole(app, options.console_dir)
  app.get('/livez', c => c.text('ok\n'))
  app.get('/readyz', async c => {
    const waiting = (await notReady(direct)) ?? options.waiting?.()
    return waiting === undefined ? c.text('ready\n') : c.text(`${waiting}\n`, 503)
  })
  app.get('/metrics', async c =>
    c.text(await vitals.registry.metrics(), 200, { 'content-type': vitals.registry.contentType }),
  )
  let document: ReturnType<typeof openApiOf> | undefined
  app.get('/openapi.json', c => {
    document ??= openApiOf(app)
    return c.json(document)
  })
  return app
}

const identify: MiddlewareHandler<RequestEnv> = async (c, next) => {
  const given = c.req.header('x-request-id')
  c.set('request_id', given !== undefined && REQUEST_ID.test(given) ? given : randomUUID())
  // Before there is an answer: to add to one that is there means making another, which costs as much as the fast path.
  c.header('x-request-id', c.get('request_id'))
  c.header('x-content-type-options', 'nosniff')
  c.header('cache-control', 'no-store')
  await next()
}

const onlyLoopbackNames: MiddlewareHandler<RequestEnv> = async (c, next) => {
  const { hostname } = new URL(c.req.url)
  if (!LOOPBACK_NAME.test(hostname)) return problemAnswer(c, 'bad_host', 'this service answers to loopback names only')
  return next()
}

/** Requests that begin in the same moment share what they ask; who comes after a write sees it. The fast path asks the store nothing, and writes nothing that anybody reads at once. */
const together =
  (sharing: Sharing): MiddlewareHandler<RequestEnv> =>
  async (c, next) => {
    if (FAST_PATH.test(c.req.path)) return next()
    if (isReading(c)) return sharing.together(next)
    await next()
    sharing.forget()
  }

const tooLarge = (c: Context<RequestEnv>): Response =>
  problemAnswer(
    c,
    'request_too_large',
    `a request has at most ${URL_MAX} characters of URL and ${BODY_MAX} bytes of body`,
  )

const isReading = ({ req }: Context<RequestEnv>): boolean => req.method === 'GET' || req.method === 'HEAD'
const bodyLimited = bodyLimit({ maxSize: BODY_MAX, onError: c => tooLarge(c) })
/** To ask a GET for its body makes the whole request anew. */
const bounded: MiddlewareHandler<RequestEnv> = (c, next) => (isReading(c) ? next() : bodyLimited(c, next))
const limited: MiddlewareHandler<RequestEnv> = async (c, next) => (c.req.url.length > URL_MAX ? tooLarge(c) : next())
