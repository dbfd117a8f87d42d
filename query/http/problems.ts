/**
 * What a caller is told when there is no answer: RFC 9457 problem documents, with a code from one closed list, the parameter at
 * fault and the request's id. Whatever else is known of a failure goes into the log under that id, never to the caller.
 */
import { z } from '@hono/zod-openapi'
import type { Context } from 'hono'
import { HTTPException } from 'hono/http-exception'
import type { ContentfulStatusCode } from 'hono/utils/http-status'
import type { Log } from '../../ingest/runtime/log.ts'
import { worthRetrying } from '../../ingest/store/clickhouse.ts'
import { NoRoom } from '../abr/decisions.ts'
import { Busy } from '../metrics/lanes.ts'
import { MISTAKES, Mistake, type MistakeCode } from '../metrics/mistake.ts'
import { StoreFailure } from '../metrics/question.ts'

const FAULTS = [
  'unauthorized',
  'forbidden',
  'too_many_requests',
  'bad_host',
  'unknown_route',
  'request_too_large',
  'store_unavailable',
  'busy',
  'internal',
] as const
const PROBLEM_CODES = [...MISTAKES, ...FAULTS] as const
export type ProblemCode = (typeof PROBLEM_CODES)[number]

const OF_MISTAKES: Partial<Record<MistakeCode, ContentfulStatusCode>> = {
  unknown_metric: 404,
  unknown_session: 404,
  too_expensive: 422,
  already_exists: 409,
}
const OF_FAULTS: Record<(typeof FAULTS)[number], ContentfulStatusCode> = {
  unauthorized: 401,
  forbidden: 403,
  too_many_requests: 429,
  bad_host: 421,
  unknown_route: 404,
  request_too_large: 413,
  store_unavailable: 503,
  busy: 503,
  internal: 500,
}
const STATUS: Readonly<Partial<Record<ProblemCode, ContentfulStatusCode>>> = { ...OF_MISTAKES, ...OF_FAULTS }

export const problem = z
  .object({
    type: z.string(),
    title: z.string(),
    status: z.number().int(),
    code: z.enum(PROBLEM_CODES),
    detail: z.string(),
    parameter: z.string().optional(),
    request_id: z.string(),
  })
  .openapi('Problem')
export type Problem = z.infer<typeof problem>

export interface RequestEnv {
  Variables: { request_id: string; key_id?: string }
  /** Of @hono/node-server; not there where there is no socket. */
  Bindings: { incoming?: { socket?: { remoteAddress?: string | undefined } } }
}

const RETRY_AFTER_S = 5

export function problemAnswer(
  c: Context<RequestEnv>,
  code: ProblemCode,
  detail: string,
  parameter?: string | undefined,
): Response {
  const status = STATUS[code] ?? 400
  const document: Problem = {
    type: `urn:stream-quality:problem:${code}`,
    title: code.replaceAll('_', ' '),
    status,
    code,
    detail,
    ...(parameter === undefined ? {} : { parameter }),
    request_id: c.get('request_id'),
  }
  const headers: Record<string, string> = { 'content-type': 'application/problem+json' }
  if (status === 503) headers['retry-after'] = String(RETRY_AFTER_S)
  if (status === 401) headers['www-authenticate'] = 'Bearer'
  return c.body(JSON.stringify(document), status, headers)
}

/** ClickHouse's codes for a question that took too much: too many rows, too long, too slow, memory, too many bytes, too large an answer. */
const TOO_MUCH = new Set([158, 159, 160, 241, 307, 396])
/** Its codes for tables that are not there yet, and for a password that is not (the embedded store makes one when it first starts). */
const NOT_READY = new Set([60, 81, 516])

/** Classifies by code, never by message. */
export function problemOf(error: unknown, c: Context<RequestEnv>, log: Log): Response {
  if (error instanceof Mistake) return problemAnswer(c, error.code, error.message, error.parameter)
  if (error instanceof Busy) return problemAnswer(c, 'busy', 'too many others are asking right now; try again')
  if (error instanceof NoRoom)
    return problemAnswer(c, 'busy', 'the ledger is full, as Kafka takes nothing now; try again')
  if (error instanceof StoreFailure) return storeProblem(error, c, log)
  // What hono throws of a body that is no JSON.
  if (error instanceof HTTPException && error.status < 500) return problemAnswer(c, 'bad_body', 'the body is no JSON')
  log.error({ request_id: c.get('request_id'), error: said(error) }, 'request_failed')
  return problemAnswer(c, 'internal', 'this is our fault; the log knows it by the request id')
}

function storeProblem({ question, code, cause }: StoreFailure, c: Context<RequestEnv>, log: Log): Response {
  const fields = { request_id: c.get('request_id'), question, clickhouse_code: code, error: said(cause) }
  if (code !== undefined && TOO_MUCH.has(code)) {
    log.warn(fields, 'question_too_expensive')
    return problemAnswer(c, 'too_expensive', 'the answer takes too much time or memory: narrow the range or the groups')
  }
  if ((code !== undefined && NOT_READY.has(code)) || worthRetrying(cause)) {
    log.warn(fields, 'store_unavailable')
    return problemAnswer(c, 'store_unavailable', 'the store does not answer now; try again')
  }
  log.error(fields, 'question_failed')
  return problemAnswer(c, 'internal', 'this is our fault; the log knows it by the request id')
}

const LOGGED_MAX = 500
const said = (error: unknown): string => (error instanceof Error ? error.message : String(error)).slice(0, LOGGED_MAX)
