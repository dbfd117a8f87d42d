/**
 * What a request asks, read from its URL and headers as ClickHouse's HTTP interface reads them: `query`, `database`,
 * `default_format`, `query_id`, `param_x`; any other URL parameter is a setting of this query. Pure; no body here.
 */
import { randomUUID } from 'node:crypto'
import type { IncomingHttpHeaders } from 'node:http'
import { Failure } from './failure.ts'
import { mayNotSet } from './policy.ts'

export interface Asked {
  readonly query: string
  readonly query_id: string
  /** Whether the client chose `query_id`. */
  readonly chosen: boolean
  readonly database: string
  readonly default_format: string
  readonly settings: ReadonlyMap<string, string>
  readonly params: ReadonlyMap<string, string>
  readonly gzip_answer: boolean
  /** Which form of Native the client reads; 0 where it does not say. */
  readonly protocol_version: number
}

export interface Credentials {
  readonly user: string
  readonly password: string
}

/** Parameters of the interface that say nothing to the engine. */
const FRONT_ONLY = new Set(
  `query query_id database default_format user password role quota_key session_id session_timeout session_check close_session
  enable_http_compression http_zlib_compression_level wait_end_of_query buffer_size send_progress_in_http_headers
  http_headers_progress_interval_ms add_http_cors_header cancel_http_readonly_queries_on_client_close stacktrace
  http_write_exception_in_output_format http_response_buffer_size client_protocol_version compress decompress`.split(
    /\s+/,
  ),
)

const NAME = /^[A-Za-z_][A-Za-z0-9_]*$/
const ON = /^(1|true)$/i
const one = (value: string | string[] | undefined): string | undefined => (Array.isArray(value) ? value[0] : value)

/** @throws Failure for a parameter that is no setting, or one that nobody may set */
export function readAsked(url: URLSearchParams, headers: IncomingHttpHeaders): Asked {
  if (ON.test(url.get('compress') ?? '') || ON.test(url.get('decompress') ?? ''))
    throw Failure.of(48, "ClickHouse's own compressed framing (compress, decompress) is not supported here; use gzip.")
  const settings = new Map<string, string>()
  const params = new Map<string, string>()
  for (const [name, value] of url) {
    if (name.startsWith('param_')) params.set(name.slice('param_'.length), value)
    else if (!FRONT_ONLY.has(name)) settings.set(name, value)
  }
  for (const name of [...settings.keys(), ...params.keys()])
    if (!NAME.test(name)) throw Failure.of(115, `Unknown setting '${name.slice(0, 100)}'.`)
  for (const name of settings.keys())
    if (mayNotSet(name))
      throw Failure.of(497, `Not enough privileges. Setting ${name} is not available on this server.`)
  const chosen = url.get('query_id') ?? one(headers['x-clickhouse-query-id'])
  return {
    query: url.get('query') ?? '',
    query_id: chosen || randomUUID(),
    chosen: Boolean(chosen),
    database: url.get('database') || one(headers['x-clickhouse-database']) || 'default',
    default_format: url.get('default_format') || one(headers['x-clickhouse-format']) || 'TabSeparated',
    settings,
    params,
    gzip_answer:
      ON.test(url.get('enable_http_compression') ?? '') && /\bgzip\b/.test(one(headers['accept-encoding']) ?? ''),
    protocol_version: Number(/^\d{1,6}$/.exec(url.get('client_protocol_version') ?? '')?.[0] ?? 0),
  }
}

/** Headers first, then Basic, then the URL; nothing given is the default user with no password. */
export function readCredentials(url: URLSearchParams, headers: IncomingHttpHeaders): Credentials {
  const user = one(headers['x-clickhouse-user'])
  const key = one(headers['x-clickhouse-key'])
  if (user !== undefined || key !== undefined) return { user: user ?? 'default', password: key ?? '' }
  const basic = /^Basic ([A-Za-z0-9+/=]+)$/i.exec(headers.authorization ?? '')?.[1]
  if (basic !== undefined) {
    const pair = Buffer.from(basic, 'base64').toString('utf8')
    const colon = pair.indexOf(':')
    return { user: pair.slice(0, colon < 0 ? pair.length : colon), password: colon < 0 ? '' : pair.slice(colon + 1) }
  }
  return { user: url.get('user') ?? 'default', password: url.get('password') ?? '' }
}

/** A page in a browser may resolve its own name to this machine; then the Host it sends is that name. */
export function hostIsLoopback(host: string | undefined): boolean {
  return /^(127\.0\.0\.1|localhost|\[::1\])(:\d{1,5})?$/i.test(host ?? '')
}
