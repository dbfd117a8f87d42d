/**
 * Requests that cannot hurt who makes them: each ends within a second, is tried again a little later with jitter, and none is made while
 * the other side is down (circuit breaker) or while too many are under way. What the caller did wrong is neither tried again nor held
 * against the other side.
 */
import {
  BrokenCircuitError,
  BulkheadRejectedError,
  bulkhead,
  ConsecutiveBreaker,
  circuitBreaker,
  ExponentialBackoff,
  handleWhen,
  retry,
  TaskCancelledError,
  TimeoutStrategy,
  timeout,
  wrap,
} from 'cockatiel'
import { ApiProblem } from '../client.ts'

/** After so long nobody has a use for the answer. */
const ANSWER_WITHIN_MS = 1_000
const AT_ONCE_MAX = 512
const TRIES_AGAIN = 2
const AGAIN_AFTER = { initialDelay: 100, maxDelay: 1_000 }
const FAILURES_IN_A_ROW = 5
/** First look after the circuit broke, and the longest wait between looks: how late a recovery is noticed at most. */
const LOOK_AFTER = { initialDelay: 250, maxDelay: 2_000 }

const isRefusal = (error: Error): boolean =>
  error instanceof ApiProblem && error.status >= 400 && error.status < 500 && error.status !== 429
const isOurs = (error: Error): boolean => error instanceof BrokenCircuitError || error instanceof BulkheadRejectedError

export type Guarded = <Answer>(ask: (signal: AbortSignal) => Promise<Answer>) => Promise<Answer>

/** @param closed ends everything under way */
export function guarded(closed: AbortSignal): Guarded {
  const again = retry(
    handleWhen(error => !isRefusal(error) && !isOurs(error)),
    { maxAttempts: TRIES_AGAIN, backoff: new ExponentialBackoff(AGAIN_AFTER) },
  ).dangerouslyUnref()
  const breaker = circuitBreaker(
    handleWhen(error => !isRefusal(error)),
    { breaker: new ConsecutiveBreaker(FAILURES_IN_A_ROW), halfOpenAfter: new ExponentialBackoff(LOOK_AFTER) },
  )
  const ends = timeout(ANSWER_WITHIN_MS, { strategy: TimeoutStrategy.Aggressive, abortOnReturn: false })
  const policy = wrap(bulkhead(AT_ONCE_MAX), again, breaker, ends)
  return ask => policy.execute(({ signal }) => ask(signal), closed)
}

/** In few words, for a log: why there was no answer. */
export function reasonOf(error: unknown): string {
  if (error instanceof ApiProblem) return `${error.status} ${error.message}`
  if (error instanceof BrokenCircuitError) return 'not asked: it did not answer lately'
  if (error instanceof BulkheadRejectedError) return 'not asked: too many questions are under way'
  if (error instanceof TaskCancelledError) return `no answer within ${ANSWER_WITHIN_MS} ms`
  const { cause, message } = error instanceof Error ? error : { cause: undefined, message: String(error) }
  return cause instanceof Error ? `${message}: ${cause.message}` : message
}
