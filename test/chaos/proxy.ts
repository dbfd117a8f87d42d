/**
 * A proxy between the ingesters and ClickHouse that sees which step of an insert is under way, so that a kill can be aimed at it.
 * It knows the requests by their SQL; it changes nothing, but an aim may hold an answer back or cut the connection.
 */
import {
  type ClientRequest,
  createServer,
  type IncomingMessage,
  request,
  type Server,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'

/** The steps that can be aimed at. */
export const WINDOWS = [
  /** The whole insert is with ClickHouse, no answer yet. */
  'request_sent',
  /** ClickHouse has answered the insert; the ingester does not know yet. */
  'written_unanswered',
  /** The read-back was answered; offsets are not committed. */
  'answered_uncommitted',
  /** A claim has been made, the take is not finished. */
  'during_take',
  /** Cells are being written. */
  'during_settling',
] as const
export type Window = (typeof WINDOWS)[number]

export interface Aim {
  readonly window: Window
  /** Cut the ingester's connection instead of answering. */
  readonly cut: boolean
  /** Runs when the window is open; what is held goes on when it resolves. */
  readonly fire: () => Promise<void> | void
}

const KIND_OF_REQUEST = [
  { sql: /^INSERT INTO events_v1/, kind: 'insert' },
  { sql: /^SELECT kafka_partition, max\(kafka_offset \+ offsets\) AS next FROM events_v1/, kind: 'read_back' },
  { sql: /^INSERT INTO partition_owners_v1/, kind: 'claim' },
  { sql: /^INSERT INTO quality_per_/, kind: 'settle' },
] as const

/** For each kind of request: the window that opens when it is with ClickHouse, and the one that opens at its answer. */
const WINDOW_OF: Readonly<Record<string, { readonly sent?: Window; readonly answered?: Window }>> = {
  insert: { sent: 'request_sent', answered: 'written_unanswered' },
  read_back: { answered: 'answered_uncommitted' },
  claim: { answered: 'during_take' },
  settle: { sent: 'during_settling' },
}

export class ClickHouseProxy {
  readonly #target: URL
  readonly #server: Server
  #aim: Aim | undefined

  private constructor(target: URL) {
    this.#target = target
    this.#server = createServer((incoming, outgoing) => this.#forward(incoming, outgoing))
    this.#server.keepAliveTimeout = 60_000
  }

  static async start(target: string): Promise<ClickHouseProxy> {
    const proxy = new ClickHouseProxy(new URL(target))
    await new Promise<void>(resolve => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Fires at the next opening of the window, once. Returns a way to take the aim back: true if it had not fired. */
  aim(aim: Aim): () => boolean {
    this.#aim = aim
    return () => {
      if (this.#aim !== aim) return false
      this.#aim = undefined
      return true
    }
  }

  #forward(incoming: IncomingMessage, outgoing: ServerResponse): void {
    const upstream = request(
      {
        host: this.#target.hostname,
        port: this.#target.port,
        method: incoming.method,
        path: incoming.url,
        headers: { ...incoming.headers, host: this.#target.host },
      },
      answer => void this.#answer(answer, outgoing, sql),
    )
    upstream.on('error', () => outgoing.destroy())
    outgoing.on('close', () => {
      if (!outgoing.writableFinished) upstream.destroy()
    })
    let sql = new URL(incoming.url ?? '/', 'http://proxy').searchParams.get('query') ?? ''
    const inBody = sql === ''
    incoming.on('data', (chunk: Buffer) => {
      if (inBody && sql.length < 200) sql += chunk.toString('latin1')
    })
    incoming.pipe(upstream)
    incoming.on('end', () => void this.#sent(upstream, outgoing, sql))
    incoming.on('error', () => upstream.destroy())
  }

  async #sent(upstream: ClientRequest, outgoing: ServerResponse, sql: string): Promise<void> {
    const aim = this.#open(windowsOf(sql).sent)
    if (!aim) return
    // Let the request reach the engine first: the last byte is only on its way.
    await new Promise(resolve => setTimeout(resolve, 5))
    if (aim.cut) outgoing.destroy()
    await aim.fire()
    void upstream
  }

  async #answer(answer: IncomingMessage, outgoing: ServerResponse, sql: string): Promise<void> {
    const aim = this.#open(windowsOf(sql).answered)
    if (aim) {
      if (aim.cut) outgoing.destroy()
      await aim.fire()
    }
    if (outgoing.destroyed) return
    outgoing.writeHead(answer.statusCode ?? 502, answer.headers)
    answer.on('error', () => outgoing.destroy())
    answer.pipe(outgoing)
  }

  #open(window: Window | undefined): Aim | undefined {
    const aim = this.#aim
    if (!aim || aim.window !== window) return undefined
    this.#aim = undefined
    return aim
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise(resolve => this.#server.close(resolve))
  }
}

function windowsOf(sql: string): { readonly sent?: Window; readonly answered?: Window } {
  const text = sql.trimStart()
  const found = KIND_OF_REQUEST.find(entry => entry.sql.test(text))
  return (found && WINDOW_OF[found.kind]) ?? {}
}
