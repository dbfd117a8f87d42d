/** The OpenAPI document as the fuzzer reads it: the operations, and for each answer whether it is one that the document allows. */
import { Ajv2020, type ValidateFunction } from 'ajv/dist/2020.js'

export interface Schema {
  readonly type?: string | readonly string[]
  readonly enum?: readonly unknown[]
  readonly const?: unknown
  readonly example?: unknown
  readonly default?: unknown
  readonly format?: string
  readonly minimum?: number
  readonly maximum?: number
  readonly items?: Schema
  readonly properties?: Readonly<Record<string, Schema>>
  readonly required?: readonly string[]
  readonly anyOf?: readonly Schema[]
  readonly oneOf?: readonly Schema[]
  readonly allOf?: readonly Schema[]
  readonly $ref?: string
}
export interface Parameter {
  readonly name: string
  readonly in: 'path' | 'query' | 'header' | 'cookie'
  readonly required?: boolean
  readonly schema: Schema
}
type Content = Readonly<Record<string, { readonly schema?: Schema }>>
interface Operation {
  readonly operationId: string
  readonly summary?: string
  readonly parameters?: readonly Parameter[]
  readonly requestBody?: { readonly content: Content }
  readonly responses: Readonly<Record<string, { readonly description?: string; readonly content?: Content }>>
  readonly security?: readonly Readonly<Record<string, readonly string[]>>[]
}
export interface Document {
  readonly openapi: string
  readonly paths: Readonly<Record<string, Readonly<Record<string, Operation>>>>
  readonly components?: { readonly schemas?: Readonly<Record<string, Schema>> }
}
export interface Endpoint {
  readonly method: string
  readonly path: string
  readonly operation: Operation
}

export const endpointsOf = ({ paths }: Document): Endpoint[] =>
  Object.entries(paths).flatMap(([path, item]) =>
    Object.entries(item).map(([method, operation]) => ({ method: method.toUpperCase(), path, operation })),
  )

export const resolved = (document: Document, schema: Schema): Schema => {
  const name = schema.$ref?.replace('#/components/schemas/', '')
  return name === undefined ? schema : (document.components?.schemas?.[name] ?? {})
}

const FORMATS: Readonly<Record<string, RegExp>> = {
  'date-time': /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})$/,
  uuid: /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/,
}

/** What was not said in the document may not stand in an answer: objects are closed. */
function closed(node: unknown, within_all_of = false): unknown {
  if (Array.isArray(node)) return node.map(one => closed(one, within_all_of))
  if (typeof node !== 'object' || node === null) return node
  const entries = Object.entries(node).map(([name, value]) => [name, closed(value, name === 'allOf')])
  const open = 'properties' in node && !('additionalProperties' in node) && !within_all_of
  return Object.fromEntries(open ? [...entries, ['additionalProperties', false]] : entries)
}

const pointer = (parts: readonly string[]): string =>
  parts.map(part => encodeURIComponent(part.replaceAll('~', '~0').replaceAll('/', '~1'))).join('/')

/** A check of one answer: undefined, or what is wrong with it. */
export type Check = (endpoint: Endpoint, status: number, type: string, body: string) => string | undefined

export function createCheck(document: Document): Check {
  const ajv = new Ajv2020({ strict: false, formats: FORMATS, allErrors: false })
  ajv.addSchema(closed(document) as object, 'document')
  const compiled = new Map<string, ValidateFunction>()
  const validatorOf = (at: string): ValidateFunction => {
    const known = compiled.get(at) ?? ajv.compile({ $ref: `document#/${at}` })
    compiled.set(at, known)
    return known
  }
  return ({ method, path, operation }, status, type, body) => {
    const response = operation.responses[status]
    if (!response) return `status ${status} is not documented`
    const media = type.split(';', 1)[0]?.trim() ?? ''
    if (response.content === undefined) return body === '' ? undefined : `${status} has a body that is not documented`
    if (response.content[media] === undefined) return `${status} as "${type}" is not documented`
    if (response.content[media].schema === undefined || !/json$/.test(media) || /ndjson/.test(media)) return undefined
    let value: unknown
    try {
      value = JSON.parse(body)
    } catch {
      return `${status} is no JSON`
    }
    const validate = validatorOf(
      pointer(['paths', path, method.toLowerCase(), 'responses', String(status), 'content', media, 'schema']),
    )
    return validate(value) ? undefined : `${status} does not fit: ${ajv.errorsText(validate.errors)}`
  }
}
