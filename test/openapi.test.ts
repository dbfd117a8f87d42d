/**
 * The OpenAPI document: whole, sound, and the one that was committed. `npm run openapi` renews that one after a route has changed; the
 * difference is what a reviewer sees of it. And the page that draws it, which needs nothing from anywhere else.
 */

import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { openStore } from '../ingest/store/clickhouse.ts'
import { SCOPES } from '../query/http/scopes.ts'
import { createCheck, type Document, endpointsOf } from './fuzz/document.ts'
import { apiOver } from './support/app.ts'

/** Nothing here is asked of it. */
const store = openStore({ url: 'http://127.0.0.1:1', username: '', password: '', database: '' })
const app = apiOver(store, [])
afterAll(() => store.close())

const get = (path: string, headers: Record<string, string> = {}) => app.request(`http://localhost${path}`, { headers })

let document: Document & { readonly components: { readonly securitySchemes?: unknown } }
beforeAll(async () => {
  document = (await (await get('/openapi.json')).json()) as typeof document
})

describe('the document', () => {
  test('is the committed one', async () => {
    await expect(`${JSON.stringify(document, null, 2)}\n`).toMatchFileSnapshot(join('data', 'openapi.json'))
  })

  test('names every operation once, and says of each what it is for, which scope it needs and how it may be refused', () => {
    const endpoints = endpointsOf(document)
    expect(document.openapi).toBe('3.1.0')
    expect(document.components.securitySchemes).toMatchObject({ key: { type: 'http', scheme: 'bearer' } })
    expect(new Set(endpoints.map(({ operation }) => operation.operationId)).size).toBe(endpoints.length)
    for (const { method, path, operation } of endpoints) {
      const where = `${method} ${path}`
      expect(operation.operationId, where).toMatch(/^[a-z][A-Za-z0-9]+$/)
      expect(operation.summary?.length, where).toBeGreaterThan(10)
      expect(operation.security, where).toHaveLength(1)
      expect(SCOPES, where).toContain(operation.security?.[0]?.key?.[0])
      for (const status of ['400', '401', '403', '429', '503'])
        expect(operation.responses[status]?.content, `${where} ${status}`).toEqual({
          'application/problem+json': { schema: { $ref: '#/components/schemas/Problem' } },
        })
      const good = Object.keys(operation.responses).filter(status => status.startsWith('2'))
      expect(good.length, where).toBeGreaterThan(0)
      for (const { description } of Object.values(operation.responses))
        expect(description?.length, where).toBeGreaterThan(0)
      for (const { name, in: place } of operation.parameters ?? [])
        if (place === 'path') expect(path, where).toContain(`{${name}}`)
      for (const [, name] of path.matchAll(/{(.+?)}/g))
        expect(operation.parameters, where).toContainEqual(
          expect.objectContaining({ name, in: 'path', required: true }),
        )
    }
  })

  test('has a schema for every answer that a checker of JSON Schema can work with', () => {
    const check = createCheck(document)
    for (const endpoint of endpointsOf(document))
      for (const [status, { content = {} }] of Object.entries(endpoint.operation.responses))
        for (const type of Object.keys(content)) expect(() => check(endpoint, Number(status), type, '{}')).not.toThrow()
  })

  test('lists every route below /v1 that there is', () => {
    const routes = app.routes.filter(
      ({ method, path }) => path.startsWith('/v1') && !path.endsWith('*') && method !== 'ALL',
    )
    const documented = endpointsOf(document).map(
      ({ method, path }) => `${method} ${path.replaceAll(/{(.+?)}/g, ':$1')}`,
    )
    expect([...new Set(routes.map(({ method, path }) => `${method} ${path}`))].sort()).toEqual(documented.sort())
  })
})

describe('the reference page', () => {
  test('comes with all it refers to, and refers to nothing elsewhere', async () => {
    const page = await get('/docs')
    expect(page.status).toBe(200)
    expect(page.headers.get('content-type')).toBe('text/html; charset=utf-8')
    const html = await page.text()
    const references = [...html.matchAll(/(?:src|href)="([^"]*)"/g)].map(([, reference = '']) => reference)
    expect(references.length).toBeGreaterThan(3)
    const TYPES = { js: 'text/javascript', css: 'text/css', png: 'image/png', json: 'application/json' } as const
    for (const reference of references) {
      expect(reference).toMatch(/^\/[a-z]/)
      const response = await get(reference)
      expect(response.status, reference).toBe(200)
      const ending = reference.split('.').at(-1) as keyof typeof TYPES
      expect(response.headers.get('content-type'), reference).toContain(TYPES[ending])
      expect((await response.arrayBuffer()).byteLength, reference).toBeGreaterThan(50)
    }
    // No script and no style stands in the page itself, and its own script loads our document.
    expect(html).not.toMatch(/<script(?![^>]*src=)|<style|\son[a-z]+=|style=/)
    expect(await (await get('/docs/initializer.js')).text()).toContain("url: '/openapi.json'")
    expect(html + (await (await get('/docs/initializer.js')).text())).not.toMatch(/https?:|\/\/[a-z]/)
    const style = await (await get('/docs/swagger-ui.css')).text()
    for (const [, url = ''] of style.matchAll(/url\(["']?([^)"']*)/g)) expect(url).toMatch(/^data:/)
  })

  test('may load and ask nothing elsewhere', async () => {
    const policy = (await get('/docs')).headers.get('content-security-policy') ?? ''
    const rules = Object.fromEntries(policy.split('; ').map(rule => [rule.split(' ')[0], rule.split(' ').slice(1)]))
    expect(rules).toMatchObject({ 'default-src': ["'none'"], 'script-src': ["'self'"], 'connect-src': ["'self'"] })
    expect(policy).not.toMatch(/unsafe|https?:|\*/)
  })

  test('is loaded again only when it has changed', async () => {
    const first = await get('/docs/swagger-ui-bundle.js')
    expect(first.headers.get('cache-control')).toBe('no-cache')
    const again = await get('/docs/swagger-ui-bundle.js', { 'if-none-match': first.headers.get('etag') ?? '' })
    expect(again.status).toBe(304)
    expect(await again.text()).toBe('')
  })

  test('is a closed list: nothing else of the package, and no file by its path', async () => {
    for (const path of ['/docs/package.json', '/docs/swagger-ui.js', '/docs/..%2fpackage.json', '/docs/%2e%2e/main.ts'])
      expect((await get(path)).status, path).toBe(404)
    expect((await get('/docs/')).headers.get('location')).toBe('/docs')
  })
})
