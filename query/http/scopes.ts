/**
 * What a key may do, and what each route asks of it. A route says so once, `security: needs('metrics:read')`: the guard reads it from
 * there and the OpenAPI document publishes it. A route under /v1 that says nothing is an error when the app is made, not an open door.
 */
import type { OpenAPIHono } from '@hono/zod-openapi'
import type { RequestEnv } from './problems.ts'

/** `admin` implies all others. */
export const SCOPES = ['metrics:read', 'sessions:read', 'abr:read', 'abr:write', 'admin'] as const
export type Scope = (typeof SCOPES)[number]

const isScope = (text: string | undefined): text is Scope => SCOPES.some(scope => scope === text)

/** The security requirement of a route. */
export const needs = (scope: Scope): { key: [Scope] }[] => [{ key: [scope] }]

export const mayDo = (scopes: ReadonlySet<Scope>, scope: Scope): boolean => scopes.has(scope) || scopes.has('admin')

/** By method and path as Hono names them: `GET /v1/metrics/:id`. */
export type Requirements = ReadonlyMap<string, Scope>

/** Of an app that has all its routes. @throws Error naming a route under /v1 that does not say what it needs */
export function requirementsOf(app: OpenAPIHono<RequestEnv>): Requirements {
  const requirements = new Map<string, Scope>()
  for (const definition of app.openAPIRegistry.definitions) {
    if (definition.type !== 'route') continue
    const { method, path, security } = definition.route
    const scope = security?.[0]?.key?.[0]
    if (isScope(scope)) requirements.set(`${method.toUpperCase()} ${path.replaceAll(/{(.+?)}/g, ':$1')}`, scope)
  }
  const guarded = app.routes.filter(
    ({ method, path }) => path.startsWith('/v1') && !(method === 'ALL' && isPattern(path)),
  )
  const silent = guarded.find(({ method, path }) => !requirements.has(`${method} ${path}`))
  if (silent)
    throw new Error(
      `${silent.method} ${silent.path} does not say which scope it needs: security: needs('…') in its createRoute`,
    )
  return requirements
}

const isPattern = (path: string): boolean => path.endsWith('*')
