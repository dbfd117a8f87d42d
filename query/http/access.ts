/**
 * What is noted of every request: how long it took, and one line in the log. The line says the route as declared, never what was put
 * into it: no parameter, no session, no address. Whose key it was stands there by its id.
 */
import type { Context, MiddlewareHandler } from 'hono'
import { matchedRoutes } from 'hono/route'
import type { Log } from '../../ingest/runtime/log.ts'
import type { RequestEnv } from './problems.ts'
import type { QueryVitals } from './vitals.ts'

/** Middleware matches by pattern; the route itself is what has none. A HEAD is answered by the route of GET. */
export const routeOf = (c: Context<RequestEnv>): { readonly method: string; readonly path: string } | undefined =>
  matchedRoutes(c).findLast(({ path }) => !path.endsWith('*'))

export const noted =
  (vitals: QueryVitals, log: Log): MiddlewareHandler<RequestEnv> =>
  async (c, next) => {
    const begun = performance.now()
    vitals.inFlight.inc()
    try {
      await next()
    } finally {
      vitals.inFlight.dec()
      const ms = performance.now() - begun
      const route = routeOf(c)?.path ?? 'none'
      const { status } = c.res
      vitals.requestSeconds.observe({ route, status }, ms / 1_000)
      // Probes and pages come all the time and tell nothing.
      const level = c.req.path.startsWith('/v1') ? 'info' : 'debug'
      const [key, request_id] = [c.get('key_id'), c.get('request_id')]
      log[level]({ method: methodOf(c), route, status, ms: Math.round(ms * 10) / 10, key, request_id }, 'request')
    }
  }

const METHODS = ['GET', 'HEAD', 'POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS']
const methodOf = (c: Context<RequestEnv>): string => METHODS.find(method => method === c.req.method) ?? 'other'
