/**
 * A request's body: unpacked, divided into statement and data. Text is kept in memory and bounded; data go straight to
 * the spool, however many they are.
 */
import type { IncomingMessage } from 'node:http'
import { createBrotliDecompress, createGunzip, createInflate } from 'node:zlib'
import { Failure } from './failure.ts'
import { refuse } from './policy.ts'
import { type Asked, readAsked } from './request.ts'
import type { Spool, Spooled } from './spool.ts'
import { type Statement, understand } from './statement.ts'

/** A statement is within this much; what lies behind it can only be an INSERT's data. */
const MAX_STATEMENT_BYTES = 2 ** 20
/** Text that follows a statement given in the URL, or a form. */
const MAX_TEXT_BYTES = 16 * 2 ** 20

export interface Received {
  readonly asked: Asked
  readonly statement: Statement
  readonly spooled: Spooled | undefined
}

/** @throws Failure; the request's own error when the client goes away while sending */
export async function receive(request: IncomingMessage, url: URLSearchParams, spool: Spool): Promise<Received> {
  const asked = readAsked(url, request.headers)
  const readonly = request.method !== 'POST'
  if (readonly) return understood(asked, asked.query, true)
  const body = unpacked(request)
  const form = request.headers['content-type']
  if (form?.startsWith('multipart/form-data')) return receiveForm(url, request, await readText(body), form)
  if (asked.query !== '') {
    const head = Buffer.from(asked.query)
    const early = tryData(asked.query)
    if (early) return receiveData(asked, early, head, body, spool)
    const rest = await readText(body)
    return understood(asked, rest.length > 0 ? `${asked.query}\n${rest.toString('utf8')}` : asked.query, false)
  }
  const chunks = body[Symbol.asyncIterator]()
  const { head, ended } = await readHead(chunks)
  const statement = understand(head.toString('utf8'))
  if (statement.data) return receiveData(asked, statement, head, rest(chunks), spool, head)
  if (!ended) throw Failure.of(307, `A statement longer than ${MAX_STATEMENT_BYTES} bytes.`)
  refuse(statement, false)
  return { asked, statement, spooled: undefined }
}

function understood(asked: Asked, text: string, readonly: boolean): Received {
  const statement = understand(text)
  refuse(statement, readonly)
  return { asked, statement, spooled: undefined }
}

/** The statement in the URL, if the body is its data. One that continues in the body may not be readable yet. */
function tryData(query: string): Statement | undefined {
  try {
    const statement = understand(query)
    return statement.data ? statement : undefined
  } catch {
    return undefined
  }
}

/** @param source the bytes the statement was read from; what lies behind it there are the first of the data */
async function receiveData(
  asked: Asked,
  statement: Statement,
  source: Buffer,
  body: AsyncIterable<Uint8Array>,
  spool: Spool,
  inBody?: Buffer,
): Promise<Received> {
  refuse(statement, false)
  const offset = Buffer.byteLength(source.toString('utf8').slice(0, statement.data?.offset ?? 0))
  const head = source.subarray(offset)
  // Between the URL's part and the body ClickHouse sees a line break.
  const first = inBody || head.length === 0 ? head : Buffer.concat([head, Buffer.from('\n')])
  return { asked, statement, spooled: await spool.write(first, body) }
}

/** Fields of a form are the parameters of the URL by other means. */
async function receiveForm(
  url: URLSearchParams,
  _request: IncomingMessage,
  body: Buffer,
  contentType: string,
): Promise<Received> {
  const form = await new Response(new Uint8Array(body), { headers: { 'content-type': contentType } }).formData()
  const all = new URLSearchParams(url)
  for (const [name, value] of form) {
    if (typeof value !== 'string') throw Failure.of(48, 'External tables in a form are not supported here.')
    all.append(name, value)
  }
  const asked = readAsked(all, {})
  return understood(asked, asked.query, false)
}

function unpacked(request: IncomingMessage): AsyncIterable<Uint8Array> {
  const encoding = request.headers['content-encoding'] ?? ''
  if (encoding === '' || encoding === 'identity') return request
  const unpack = { gzip: createGunzip, deflate: createInflate, br: createBrotliDecompress }[encoding]
  if (unpack === undefined)
    throw Failure.of(48, `Content-Encoding ${encoding.slice(0, 40)} is not supported here; use gzip.`)
  const plain = unpack({ chunkSize: 256 * 1024 })
  request.on('error', error => plain.destroy(error))
  request.on('aborted', () => plain.destroy(new Error('aborted')))
  return request.pipe(plain)
}

async function readText(body: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  let bytes = 0
  for await (const chunk of body) {
    bytes += chunk.length
    if (bytes > MAX_TEXT_BYTES) throw Failure.of(307, `More than ${MAX_TEXT_BYTES} bytes of text.`)
    chunks.push(chunk)
  }
  return Buffer.concat(chunks)
}

async function readHead(chunks: AsyncIterator<Uint8Array>): Promise<{ head: Buffer; ended: boolean }> {
  const head: Uint8Array[] = []
  for (let bytes = 0; bytes < MAX_STATEMENT_BYTES; ) {
    const { value, done } = await chunks.next()
    if (done) return { head: Buffer.concat(head), ended: true }
    head.push(value)
    bytes += value.length
  }
  return { head: Buffer.concat(head), ended: false }
}

async function* rest(chunks: AsyncIterator<Uint8Array>): AsyncGenerator<Uint8Array> {
  for (let item = await chunks.next(); !item.done; item = await chunks.next()) yield item.value
}
