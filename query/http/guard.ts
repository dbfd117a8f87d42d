/**
 * Who gets in below /v1, in this order: a key of ours (401), one that may do what the route does (403), not too often and not too
 * much at once (429). Each refusal says what to do. Limits are per key; its entry may say other ones than everybody's.
 */
import type { Context, MiddlewareHandler } from 'hono'
import { RateLimiterMemory, RateLimiterRes } from 'rate-limiter-flexible'
import { DEFAULTS, type Variables } from '../../ingest/runtime/variables.ts'
import { routeOf } from './access.ts'
import type { Caller, Keys } from './keys.ts'
import { problemAnswer, type RequestEnv } from './problems.ts'
import { mayDo, type Requirements } from './scopes.ts'
import { createStrangers } from './strangers.ts'
import type { QueryVitals } from './vitals.ts'

export interface CallLimits {
  /** On average over a window; a burst may take it all at once. */
  readonly requests_per_second: number
  readonly concurrent_requests: number
}
export const callLimitsOf = (variables: Variables): CallLimits => ({
  requests_per_second: variables.API_REQUESTS_PER_SECOND,
  concurrent_requests: variables.API_CONCURRENT_REQUESTS,
})
export const CALL_LIMITS = callLimitsOf(DEFAULTS)

const WINDOW_S = 10
/** Answers that are being written take no time worth naming: the next try may be at once. */
const CONCURRENCY_RETRY_S = 1

export interface GuardOptions {
  readonly keys: Keys
  readonly limits: CallLimits
  readonly vitals: QueryVitals
  /** Known once all routes are there. */
  readonly requirements: () => Requirements
}

export function guard({ keys, limits, vitals, requirements }: GuardOptions): MiddlewareHandler<RequestEnv> {
  const strangers = createStrangers()
  const accounts = new Map<string, Account>()
  const accountOf = (caller: Caller): Account => {
    const account = accounts.get(caller.id) ?? openAccount(caller, limits)
    accounts.set(caller.id, account)
    return account
  }
  const refused = (reason: string): void => vitals.refusals.inc({ reason })

  return async (c, next) => {
    const caller = keys.admit(c.req.header('authorization'))
    const wait_s = await strangers.wait(addressOf(c), caller?.id)
    if (wait_s !== undefined) {
      refused('strangers')
      return tooMany(c, wait_s, `too many attempts without a key of ours from this address; try again in ${wait_s} s`)
    }
    if (!caller) {
      refused('unauthorized')
      return problemAnswer(c, 'unauthorized', 'send a key: Authorization: Bearer …')
    }
    c.set('key_id', caller.id)
    const route = routeOf(c)
    const scope = route && requirements().get(`${route.method} ${route.path}`)
    if (scope !== undefined && !mayDo(caller.scopes, scope)) {
      refused('forbidden')
      return problemAnswer(c, 'forbidden', `this key lacks the scope ${scope}; ask for one that has it`)
    }

    const account = accountOf(caller)
    const { rate, per_second } = account
    const spent = await spend(rate, caller.id)
    const seconds = Math.max(1, Math.ceil(spent.msBeforeNext / 1_000))
    // As draft-ietf-httpapi-ratelimit-headers says since its 8th version.
    const headers = {
      'ratelimit-policy': `"key";q=${rate.points};w=${WINDOW_S}`,
      ratelimit: `"key";r=${spent.remainingPoints};t=${seconds}`,
    }
    for (const [name, value] of Object.entries(headers)) c.header(name, value)
    if (spent.consumedPoints > rate.points) {
      refused('rate')
      return tooMany(c, seconds, `this key may ask ${per_second} times a second on average; try again in ${seconds} s`)
    }
    if (account.running >= account.most) {
      refused('concurrency')
      return tooMany(c, CONCURRENCY_RETRY_S, `this key may have ${account.most} requests at once; wait for some to end`)
    }
    account.running++
    let counted = true
    const done = (): void => {
      if (counted) account.running--
      counted = false
    }
    try {
      await next()
    } catch (error) {
      done()
      throw error
    }
    if (isStreamed(c.res)) c.res = untilRead(c.res, done)
    else done()
  }
}

interface Account {
  readonly rate: RateLimiterMemory
  readonly per_second: number
  readonly most: number
  running: number
}

const openAccount = (caller: Caller, limits: CallLimits): Account => {
  const per_second = caller.requests_per_second ?? limits.requests_per_second
  return {
    rate: new RateLimiterMemory({ points: per_second * WINDOW_S, duration: WINDOW_S }),
    per_second,
    most: caller.concurrent_requests ?? limits.concurrent_requests,
    running: 0,
  }
}

/** The limiter says "too many" by rejecting. */
const spend = (rate: RateLimiterMemory, id: string): Promise<RateLimiterRes> =>
  rate.consume(id).catch(reason => {
    if (reason instanceof RateLimiterRes) return reason
    throw reason
  })

function tooMany(c: Context<RequestEnv>, retry_s: number, detail: string): Response {
  c.header('retry-after', String(retry_s))
  return problemAnswer(c, 'too_many_requests', detail)
}

/** Of the connection: what a proxy says about whom it speaks for is not believed. */
const addressOf = (c: Context<RequestEnv>): string => c.env?.incoming?.socket?.remoteAddress ?? 'unknown'

/** By its type first: to look at the body of an answer that is there makes a stream of it. */
const isStreamed = (response: Response): boolean =>
  !/json\b/.test(response.headers.get('content-type')?.replace('ndjson', '') ?? '') && response.body !== null

/** A streamed answer goes on after its handler has ended: `done` once it is read, or nobody reads it any more. */
function untilRead(response: Response, done: () => void): Response {
  const reader = response.body?.getReader()
  if (!reader) return response
  const body = new ReadableStream<Uint8Array>({
    async pull(controller) {
      try {
        const { value, done: ended } = await reader.read()
        if (!ended) return controller.enqueue(value)
        done()
        controller.close()
      } catch (error) {
        done()
        controller.error(error)
      }
    },
    cancel(reason) {
      done()
      return reader.cancel(reason)
    },
  })
  return new Response(body, response)
}
