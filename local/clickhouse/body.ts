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
  if (request.method !== 'POST') return understood(asked, asked.query, true)
  const body = unpacked(request)
  const contentType = request.headers['content-type'] ?? ''
  if (contentType.startsWith('multipart/form-data')) return receiveForm(url, await readText(body), contentType)
  return asked.query === '' ? receiveBody(asked, body, spool) : receiveBoth(asked, body, spool)
}

/** The statement is in the URL, at least its beginning; between it and the body ClickHouse sees a line break. */
async function receiveBoth(asked: Asked, body: AsyncIterable<Uint8Array>, spool: Spool): Promise<Received> {
  const statement = tryData(asked.query)
  if (statement?.data) {
    refuse(statement, false)
    const begun = asked.query.slice(statement.data.offset)
    return { asked, statement, spooled: await spool.write(Buffer.from(begun && `${begun}\n`), body) }
  }
  const rest = await readText(body)
  return understood(asked, rest.length > 0 ? `${asked.query}\n${rest.toString('utf8')}` : asked.query, false)
}

/** The body is the statement, and for an INSERT perhaps its data, which may be binary. */
async function receiveBody(asked: Asked, body: AsyncIterable<Uint8Array>, spool: Spool): Promise<Received> {
  const chunks = body[Symbol.asyncIterator]()
  const { head, ended } = await readHead(chunks)
  const source = head.toString('utf8')
  const statement = understand(source)
  refuse(statement, false)
  if (statement.data) {
    const begun = head.subarray(Buffer.byteLength(source.slice(0, statement.data.offset)))
    return { asked, statement, spooled: await spool.write(begun, rest(chunks)) }
  }
  if (!ended) throw Failure.of(307, `A statement longer than ${MAX_STATEMENT_BYTES} bytes.`)
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

/** Fields of a form are the parameters of the URL by other means. */
async function receiveForm(url: URLSearchParams, body: Buffer, contentType: string): Promise<Received> {
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
