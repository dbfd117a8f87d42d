/**
 * Many requests made from the OpenAPI document, each answer held against it. What must never be: a 5xx, a status, media type or field
 * the document does not know, a word of ClickHouse's. A request at fault is made smaller before it is told.
 */
import fc from 'fast-check'
import { createCheck, type Document } from './document.ts'
import { type FuzzRequest, requests } from './values.ts'

export interface FuzzOptions {
  readonly send: (path: string, init: RequestInit) => Response | Promise<Response>
  /** One that may do everything, and one that may do next to nothing. */
  readonly keys: { readonly all: string; readonly few: string }
  /** Beside the document's own: ids and values that are in the store. */
  readonly words: readonly string[]
  readonly requests: number
  readonly seed: number
  readonly progress?: (done: number) => void
}

export interface FuzzReport {
  /** By operation, by status: how often. */
  readonly answers: Readonly<Record<string, Readonly<Record<string, number>>>>
  /** Undefined: none. Otherwise the smallest request found, and what was wrong. */
  readonly fault: string | undefined
}

const INSIDE = /DB::|Code: \d|ECONNREFUSED|quality_per_|events_v1|settled_v1|ClickHouse/

export async function fuzz(options: FuzzOptions): Promise<FuzzReport> {
  const document = (await (await options.send('/openapi.json', {})).json()) as Document
  const check = createCheck(document)
  const answers: Record<string, Record<string, number>> = {}
  let done = 0

  async function faultOf({ endpoint, target, body, allowed }: FuzzRequest): Promise<string | undefined> {
    const headers: Record<string, string> = { authorization: `Bearer ${allowed ? options.keys.all : options.keys.few}` }
    if (body !== undefined) headers['content-type'] = 'application/json'
    const response = await options.send(target, {
      method: endpoint.method,
      headers,
      ...(body === undefined ? {} : { body }),
    })
    const { status } = response
    const row = answers[endpoint.operation.operationId] ?? {}
    row[status] = (row[status] ?? 0) + 1
    answers[endpoint.operation.operationId] = row
    options.progress?.(++done)
    const type = response.headers.get('content-type') ?? ''
    // A stream of events has no end.
    const endless = type.startsWith('text/event-stream')
    if (endless) await response.body?.cancel()
    const text = endless ? '' : await response.text()
    if (status >= 500) return `${status}: ${text.slice(0, 300)}`
    if (!response.headers.has('x-request-id')) return 'the answer has no request id'
    if (status >= 400 && INSIDE.test(text)) return `the answer says too much: ${text.slice(0, 300)}`
    return endless ? undefined : check(endpoint, status, type, text)
  }

  const property = fc.asyncProperty(requests(document, options.words), async request => {
    const fault = await faultOf(request)
    if (fault !== undefined) throw new Error(fault)
  })
  const result = await fc.check(property, { numRuns: options.requests, seed: options.seed })
  const [request] = result.counterexample ?? []
  const said = result.errorInstance instanceof Error ? result.errorInstance.message : String(result.errorInstance)
  const fault = request ? `${request.endpoint.method} ${request.target} ${request.body ?? ''}\n  ${said}` : undefined
  return { answers, fault: result.failed ? (fault ?? 'failed') : undefined }
}
