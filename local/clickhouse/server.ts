/**
 * The HTTP front: ClickHouse's interface as far as `@clickhouse/client`, Go's client (Grafana's plugin) and curl use it, on the loopback only.
 * Every answer has ClickHouse's headers; every fault its code, name and status. Nothing is logged per query.
 */
import { createHash, timingSafeEqual } from 'node:crypto'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { promisify } from 'node:util'
import { gzip } from 'node:zlib'
import { receive } from './body.ts'
import type { Answer } from './engine.ts'
import type { Executor } from './execute.ts'
import { Failure } from './failure.ts'
import { nativeForVersion } from './native.ts'
import { type Asked, type Credentials, hostIsLoopback, readCredentials } from './request.ts'
import type { Spool } from './spool.ts'
import type { Statement } from './statement.ts'

const compress = promisify(gzip)
/** The stock client puts an insert's statement and its parameters into the URL. */
const MAX_HEADER_BYTES = 2 ** 20
/** Longer than the idle time after which the stock client drops a socket of its own accord (2.5 s). */
const KEEP_ALIVE_MS = 30_000
const GZIP_LEVEL = 3

export interface Front {
  readonly credentials: Credentials
  readonly executor: Executor
  readonly spool: Spool
}

export function createFront(front: Front): Server {
  const server = createServer(
    { maxHeaderSize: MAX_HEADER_BYTES, requestTimeout: 0, keepAliveTimeout: KEEP_ALIVE_MS },
    (request, response) => {
      // While shutting down, connections that are still open bring no new work.
      if (server.listening) handle(front, request, response).catch(() => response.destroy())
      else fail(response.setHeader('Connection', 'close'), Failure.of(236, 'The server is shutting down.'))
    },
  )
  return server
}

async function handle(front: Front, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (!hostIsLoopback(request.headers.host)) return plain(response, 403, 'Host is not the loopback.\n')
  const { pathname, searchParams } = new URL(request.url ?? '/', 'http://localhost')
  if (pathname === '/ping') return plain(response, 200, 'Ok.\n')
  try {
    authenticate(front.credentials, readCredentials(searchParams, request.headers))
    if (pathname !== '/') return plain(response, 404, `There is no handle ${pathname}\n`)
    if (!['GET', 'POST', 'HEAD'].includes(request.method ?? '')) return plain(response, 405, 'Use GET or POST.\n')
    if (request.method !== 'POST' && searchParams.get('query') === null) return plain(response, 200, 'Ok.\n')
    await answer(front, request, response, searchParams)
  } catch (error) {
    await drain(request)
    if (!response.headersSent && !response.destroyed)
      fail(response, error instanceof Failure ? error : Failure.of(1002, String(error)))
  }
}

async function answer(
  front: Front,
  request: IncomingMessage,
  response: ServerResponse,
  url: URLSearchParams,
): Promise<void> {
  const { asked, statement, spooled } = await receive(request, url, front.spool)
  try {
    const result = await front.executor.execute(
      statement,
      asked,
      spooled,
      () => response.destroyed || request.socket.destroyed,
    )
    await send(response, asked, statement, result)
  } catch (error) {
    response.setHeader('X-ClickHouse-Query-Id', headerValue(asked.query_id))
    throw error
  } finally {
    if (spooled) await front.spool.remove(spooled)
  }
}

async function send(response: ServerResponse, asked: Asked, statement: Statement, result: Answer): Promise<void> {
  const format = statement.format ?? asked.default_format
  const bytes = format === 'Native' ? nativeForVersion(result.bytes, asked.protocol_version) : result.bytes
  const body = asked.gzip_answer ? await compress(bytes, { level: GZIP_LEVEL }) : bytes
  response.writeHead(200, {
    ...commonHeaders(),
    'Content-Type': contentType(format),
    'Content-Length': body.length,
    'X-ClickHouse-Format': headerValue(format),
    'X-ClickHouse-Query-Id': headerValue(asked.query_id),
    'X-ClickHouse-Summary': summary(statement, result),
    ...(asked.gzip_answer ? { 'Content-Encoding': 'gzip' } : {}),
  })
  response.end(body)
}

/** The engine counts the rows of a result, and those of an INSERT's data; of INSERT … SELECT nothing, so it is not said. */
function summary(statement: Statement, { rows, size, elapsed_s }: Answer): string {
  const inserted = statement.verb === 'INSERT'
  const counted = !inserted || (statement.data && statement.data.inputs.length === 0)
  const counts = {
    ...(counted ? { read_rows: rows, read_bytes: size } : {}),
    ...(counted ? { written_rows: inserted ? rows : 0, written_bytes: inserted ? size : 0 } : {}),
    ...(inserted ? {} : { result_rows: rows, result_bytes: size }),
    elapsed_ns: Math.round(elapsed_s * 1e9),
  }
  return JSON.stringify(Object.fromEntries(Object.entries(counts).map(([name, value]) => [name, String(value)])))
}

const commonHeaders = () => ({ 'X-ClickHouse-Server-Display-Name': 'local', 'X-ClickHouse-Timezone': 'UTC' })
/** What came from outside goes into a header without what a header cannot hold. */
const headerValue = (text: string): string => text.replace(/[^\x20-\x7e]/g, '?').slice(0, 1000)

function contentType(format: string): string {
  if (/^(JSONEachRow|JSONLines|NDJSON|JSON\w*EachRow\w*)$/.test(format)) return 'application/x-ndjson; charset=UTF-8'
  if (/^JSON/.test(format)) return 'application/json; charset=UTF-8'
  if (/^CSV/.test(format)) return 'text/csv; charset=UTF-8; header=absent'
  if (/^(TabSeparated|TSV)/.test(format)) return 'text/tab-separated-values; charset=UTF-8'
  if (/^(Native|RowBinary|Arrow|Parquet|ORC|Avro|MsgPack|Protobuf|BSON)/.test(format)) return 'application/octet-stream'
  return 'text/plain; charset=UTF-8'
}

function fail(response: ServerResponse, failure: Failure): void {
  response.writeHead(failure.status, {
    ...commonHeaders(),
    'Content-Type': 'text/plain; charset=UTF-8',
    'Content-Length': Buffer.byteLength(failure.body),
    'X-ClickHouse-Exception-Code': failure.code,
    ...(failure.status === 401 ? { 'WWW-Authenticate': 'Basic realm="ClickHouse server HTTP API"' } : {}),
  })
  response.end(failure.body)
}

function plain(response: ServerResponse, status: number, body: string): void {
  response.writeHead(status, { 'Content-Type': 'text/html; charset=UTF-8', 'Content-Length': Buffer.byteLength(body) })
  response.end(body)
}

/** A client still sending reads no answer: let it finish first. */
async function drain(request: IncomingMessage): Promise<void> {
  try {
    if (!request.readableEnded) for await (const _ of request);
  } catch {
    // It left.
  }
}

/** In constant time, and the same for an unknown user as for a wrong password. @throws Failure 516 */
function authenticate(right: Credentials, given: Credentials): void {
  const digest = ({ user, password }: Credentials) =>
    createHash('sha256')
      .update(JSON.stringify([user, password]))
      .digest()
  if (timingSafeEqual(digest(right), digest(given))) return
  const user = given.user.slice(0, 100)
  throw Failure.of(516, `${user}: Authentication failed: password is incorrect, or there is no user with such name.`)
}
