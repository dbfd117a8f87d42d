/**
 * The OpenAPI 3.1 document: what the routes say of themselves, completed where they need not say it each. Made once, at the first
 * request for it; `test/openapi.test.ts` holds it against the committed one.
 */
import type { OpenAPIHono } from '@hono/zod-openapi'
import type { RequestEnv } from './problems.ts'
import { SCOPES } from './scopes.ts'

const DESCRIPTION = `Quality of game streams: how smooth, for whom, since when.

Every answer is \`{ data, meta }\`; \`meta\` says which range and tier it is about, what is behind it and how old it is. What has no value is null, with its reason. Errors are problem documents (RFC 9457) that name the parameter.

A key is needed below /v1: \`Authorization: Bearer …\`. Each route names the scope the key must have (${SCOPES.join(', ')}; admin implies all). Answers below /v1 carry RateLimit and RateLimit-Policy; with 429 and 503, Retry-After says when to try again.`

export function openApiOf(app: OpenAPIHono<RequestEnv>) {
  app.openAPIRegistry.registerComponent('securitySchemes', 'key', {
    type: 'http',
    scheme: 'bearer',
    description: `A key with the scope that the route names. Scopes: ${SCOPES.join(', ')}`,
  })
  const document = app.getOpenAPI31Document({
    openapi: '3.1.0',
    info: {
      title: 'Stream quality',
      version: '1',
      description: DESCRIPTION,
      license: { name: 'Apache-2.0', url: 'https://www.apache.org/licenses/LICENSE-2.0' },
    },
    servers: [{ url: '/' }],
  })
  for (const [path, item] of Object.entries(document.paths ?? {}))
    for (const method of METHODS) {
      const operation = item[method]
      if (operation) operation.operationId ??= operationId(method, path)
    }
  return document
}

const METHODS = ['get', 'post', 'put', 'patch', 'delete'] as const

/** `get /v1/metrics/{id}/breakdown` → `getMetricsByIdBreakdown`: what a generated client calls it. */
function operationId(method: string, path: string): string {
  const words = path
    .replace(/^\/v1/, '')
    .replaceAll(/{(.+?)}/g, 'by-$1')
    .split(/[^A-Za-z0-9]+/)
    .filter(word => word !== '')
  return method + words.map(word => word.charAt(0).toUpperCase() + word.slice(1)).join('')
}
