/**
 * The typed client: `stream-quality/client`. Paths, parameters and answers are the routes' own types, so a route that changes is a
 * program that does not compile. An answer is its data; whatever else comes is thrown, as the problem document that the API sent.
 */
import { hc } from 'hono/client'
import type { Problem } from './http/problems.ts'
import type { Api } from './http/routes/all.ts'

export interface ClientOptions {
  /** Of the API: `http://127.0.0.1:18080`. */
  readonly url: string
  readonly key: string
  /** Default: 15 s, a little more than a question may take. A request that takes longer fails with a `TimeoutError`. */
  readonly timeout_ms?: number
  /** Instead of the global one: over a proxy, say. */
  readonly fetch?: typeof fetch
}

const TIMEOUT_MS = 15_000

export type Client = ReturnType<typeof hc<Api>>

/** What the API answered instead of data. */
export class ApiProblem extends Error {
  override readonly name = 'ApiProblem'
  readonly status: number
  /** From a closed list; undefined where it was not our API that answered, a proxy say. */
  readonly code: Problem['code'] | undefined
  /** The parameter at fault. */
  readonly parameter: string | undefined
  readonly request_id: string | undefined
  /** How long to wait before another try, where that may help. */
  readonly retry_after_s: number | undefined

  constructor(status: number, problem: Partial<Problem>, retry_after: string | null) {
    super(problem.detail ?? `the API answered ${status}`)
    this.status = status
    this.code = problem.code
    this.parameter = problem.parameter
    this.request_id = problem.request_id
    this.retry_after_s = retry_after === null ? undefined : Number(retry_after)
  }
}

/** `const api = createClient({ url, key })`; then `await answer(api.v1.metrics[':id'].$get({ param: { id: 'fps_avg' }, query: {} }))`. */
export function createClient({ url, key, timeout_ms = TIMEOUT_MS, ...options }: ClientOptions): Client {
  const send = options.fetch ?? fetch
  return hc<Api>(url, {
    headers: { authorization: `Bearer ${key}` },
    async fetch(input: string | URL | Request, init?: RequestInit) {
      const timeout = AbortSignal.timeout(timeout_ms)
      const signal = init?.signal ? AbortSignal.any([init.signal, timeout]) : timeout
      const response = await send(input, { ...init, signal })
      if (!response.ok) throw await problemOf(response)
      return response
    },
  })
}

async function problemOf(response: Response): Promise<ApiProblem> {
  const isProblem = response.headers.get('content-type')?.startsWith('application/problem+json') ?? false
  const problem = isProblem ? ((await response.json()) as Problem) : {}
  return new ApiProblem(response.status, problem, response.headers.get('retry-after'))
}

interface Answering<Data> {
  readonly status: number
  json(): Promise<Data>
}
type DataOf<Answer> = Extract<Answer, { readonly status: 200 | 201 | 202 }> extends Answering<infer Data> ? Data : never

/** The data of an answer. @throws ApiProblem */
export async function answer<Answer extends Answering<unknown>>(asked: Promise<Answer>): Promise<DataOf<Answer>> {
  const response = await asked
  return (await response.json()) as DataOf<Answer>
}
