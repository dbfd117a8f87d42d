/**
 * Whatever is asked of the API, its answer is one that its OpenAPI document allows. The requests are made from the document, so a new
 * route is asked as soon as it is there; `npm run fuzz` asks longer.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { Store } from '../ingest/store/clickhouse.ts'
import { createCheck, type Document, type Endpoint, endpointsOf } from './fuzz/document.ts'
import { type FuzzReport, fuzz } from './fuzz/run.ts'
import { seededTarget } from './fuzz/seeded.ts'
import { ownDatabase } from './support/services.ts'

const REQUESTS = 600
const SEED = 1

let store: Store
let document: Document
let report: FuzzReport
beforeAll(async () => {
  const { store: opened, ...target } = await seededTarget(ownDatabase('fuzz'))
  store = opened
  document = (await (await target.send('/openapi.json', {})).json()) as Document
  report = await fuzz({ ...target, requests: REQUESTS, seed: SEED })
})
afterAll(() => store?.close())

describe('the API, asked anything', () => {
  test('never answers with a 5xx, nor with what its document does not allow', () => {
    expect(report.fault).toBeUndefined()
  })

  test('was asked about every operation, and answered many', () => {
    expect(Object.keys(report.answers).sort()).toEqual(
      endpointsOf(document)
        .map(({ operation }) => operation.operationId)
        .sort(),
    )
    const sum = (status: string): number => Object.values(report.answers).reduce((n, row) => n + (row[status] ?? 0), 0)
    expect(sum('200')).toBeGreaterThan(REQUESTS / 3)
    for (const status of ['400', '403', '404']) expect(sum(status), status).toBeGreaterThan(0)
  })
})

describe('the check of an answer', () => {
  const endpoint = (): Endpoint => {
    const found = endpointsOf(document).find(({ path }) => path === '/v1/metrics/{id}')
    if (!found) throw new Error('no such route')
    return found
  }
  const check = (status: number, type: string, body: unknown) =>
    createCheck(document)(endpoint(), status, type, typeof body === 'string' ? body : JSON.stringify(body))

  test('finds what the document does not know', () => {
    const problem = { type: 'urn:x', title: 'x', status: 400, code: 'bad_time', detail: 'x', request_id: 'x' }
    expect(check(400, 'application/problem+json', problem)).toBeUndefined()
    expect(check(418, 'application/problem+json', problem)).toMatch(/not documented/)
    expect(check(400, 'text/html', problem)).toMatch(/not documented/)
    expect(check(400, 'application/problem+json', '{')).toMatch(/no JSON/)
    expect(check(400, 'application/problem+json', { ...problem, sql: 'SELECT' })).toMatch(/additional properties/)
    expect(check(400, 'application/problem+json', { ...problem, code: 'oops' })).toMatch(/allowed values/)
    expect(check(200, 'application/json', { data: [{ value: '1' }], meta: {} })).toMatch(/does not fit/)
  })
})
