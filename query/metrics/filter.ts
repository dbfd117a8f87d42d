/**
 * Whom a question is about: `region:eu-west` (repeat it: same dimension = or, different = and; `!isp:examplenet` excludes).
 * The value is everything after the first colon, opaque, and only ever bound; the dimension comes from a closed list.
 */
import { CONTEXT_FIELDS, type ContextField, SESSION_ID } from '../../ingest/contract/events.ts'
import type { Params } from '../../ingest/store/clickhouse.ts'
import { Mistake } from './mistake.ts'

export const DIMENSIONS = CONTEXT_FIELDS
export type Dimension = ContextField
export const isDimension = (name: string): name is Dimension => (DIMENSIONS as readonly string[]).includes(name)

/** Filters know one dimension more: a session, by its id. */
const SESSION = 'session_id'

export interface Filter {
  readonly dimension: Dimension | typeof SESSION
  readonly value: string
  readonly exclude: boolean
}

/** @throws Mistake naming `filter` */
export function parseFilter(text: string): Filter {
  const colon = text.indexOf(':')
  if (colon < 0) throw new Mistake('bad_filter', 'filter', 'a filter is dimension:value')
  const exclude = text.startsWith('!')
  const dimension = text.slice(exclude ? 1 : 0, colon)
  const value = text.slice(colon + 1)
  if (dimension === SESSION) {
    if (!SESSION_ID.test(value)) throw new Mistake('bad_session_id', 'filter', 'a session id is a lower-case UUID')
    return { dimension, value, exclude }
  }
  if (!isDimension(dimension))
    throw new Mistake('unknown_dimension', 'filter', `a dimension is one of ${[...DIMENSIONS, SESSION].join(', ')}`)
  return { dimension, value, exclude }
}

export interface Condition {
  /** Over the columns of a cell; `1` where everybody is meant. */
  readonly sql: string
  /** The part of it about sessions, which holds for events as well. */
  readonly session_sql: string
  readonly params: Params
  /** Exactly one session is asked for: a percentile of few values is then what it is. */
  readonly one_session: boolean
  /** What is filtered by. */
  readonly dimensions: readonly Filter['dimension'][]
}

/** An empty value means unknown, which is '' in a cell. */
export function conditionOf(filters: readonly Filter[]): Condition {
  const terms: string[] = []
  const sessionTerms: string[] = []
  const params: Record<string, readonly string[]> = {}
  let one_session = false
  for (const exclude of [false, true]) {
    for (const dimension of [...DIMENSIONS, SESSION] as const) {
      const values = filters.filter(f => f.dimension === dimension && f.exclude === exclude).map(f => f.value)
      if (values.length === 0) continue
      const name = `${exclude ? 'not' : 'is'}_${dimension}`
      const type = dimension === SESSION ? 'UUID' : 'String'
      params[name] = values
      const term = `${dimension} ${exclude ? 'NOT IN' : 'IN'} {${name}:Array(${type})}`
      if (dimension === SESSION) sessionTerms.push(term)
      terms.push(term)
      if (dimension === SESSION && !exclude) one_session = new Set(values).size === 1
    }
  }
  return {
    sql: terms.join(' AND ') || '1',
    session_sql: sessionTerms.join(' AND ') || '1',
    params,
    one_session,
    dimensions: [...new Set(filters.map(({ dimension }) => dimension))],
  }
}
