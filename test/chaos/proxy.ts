/**
 * A proxy between one ingester and ClickHouse that sees which step is under way, so that a kill can be aimed at it.
 * It knows the requests by their SQL and changes nothing; it may hold one back while something dies, or cut the connection.
 */
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** The steps that can be aimed at. */
export const WINDOWS = [
  /** The ingester has sent an insert; it is still on its way and arrives only after the kill. */
  'insert_on_its_way',
  /** The whole insert is with ClickHouse, which has not answered. */
  'insert_sent',
  /** The rows are written; the ingester does not know yet. */
  'written_unanswered',
  /** The rows were read back; offsets are not committed. */
  'read_back_uncommitted',
  /** A claim was made; the take is not finished. */
  'during_take',
  /** Cells are being written. */
  'during_settling',
] as const
export type Window = (typeof WINDOWS)[number]

export interface Aim {
  readonly window: Window
  /** Cut the ingester's connection when the window opens. */
  readonly cut: boolean
  /** Runs when the window opens; what is held goes on when it resolves. */
  readonly fire: () => Promise<void>
}

type Step = 'arrives' | 'sent' | 'answered'

/** Which window opens at which step of which request. */
const OPENINGS: readonly { readonly sql: RegExp; readonly step: Step; readonly window: Window }[] = [
  { sql: /^INSERT INTO events_v1/, step: 'arrives', window: 'insert_on_its_way' },
  { sql: /^INSERT INTO events_v1/, step: 'sent', window: 'insert_sent' },
  { sql: /^INSERT INTO events_v1/, step: 'answered', window: 'written_unanswered' },
  {
    sql: /^SELECT kafka_partition, max\(kafka_offset \+ offsets\)[^;]*ingested_at = /,
    step: 'answered',
    window: 'read_back_uncommitted',
  },
  { sql: /^INSERT INTO partition_owners_v1/, step: 'answered', window: 'during_take' },
  { sql: /^INSERT INTO quality_per_/, step: 'sent', window: 'during_settling' },
]

export class ClickHouseProxy {
  readonly #target: URL
  readonly #server: Server
  #aim: Aim | undefined

  private constructor(target: URL) {
    this.#target = target
    this.#server = createServer((incoming, outgoing) => {
      this.#forward(incoming, outgoing).catch(() => outgoing.destroy())
    })
  }

  static async start(target: string): Promise<ClickHouseProxy> {
    const proxy = new ClickHouseProxy(new URL(target))
    await new Promise<void>(resolve => proxy.#server.listen(0, '127.0.0.1', resolve))
    return proxy
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** Fires at the next opening of the window, once. */
  aim(aim: Aim): void {
    this.#aim = aim
  }

  /** @returns whether it had fired */
  lower(): boolean {
    const fired = this.#aim === undefined
    this.#aim = undefined
    return fired
  }

  async #forward(incoming: IncomingMessage, outgoing: ServerResponse): Promise<void> {
    const chunks: Buffer[] = []
    for await (const chunk of incoming) chunks.push(chunk as Buffer)
    const body = Buffer.concat(chunks)
    const inUrl = new URL(incoming.url ?? '/', 'http://proxy').searchParams.get('query')
    const sql = (inUrl ?? body.toString('utf8')).trimStart()

    // A request that is on its way arrives even if its sender is dead by then.
    await this.#open(sql, 'arrives', outgoing)
    const answer = new Promise<IncomingMessage>((resolve, reject) => {
      const upstream = request(
        {
          host: this.#target.hostname,
          port: this.#target.port,
          method: incoming.method,
          path: incoming.url,
          headers: { ...incoming.headers, host: this.#target.host },
        },
        resolve,
      )
      upstream.on('error', reject)
      upstream.end(body)
    })
    let answering = false
    const noteAnswer = (): void => {
      answering = true
    }
    answer.then(noteAnswer, noteAnswer)
    await this.#open(sql, 'sent', outgoing, () => answering)
    const answered = await answer
    const content: Buffer[] = []
    for await (const chunk of answered) content.push(chunk as Buffer)
    await this.#open(sql, 'answered', outgoing)
    if (outgoing.destroyed) return
    outgoing.writeHead(answered.statusCode ?? 502, answered.headers)
    outgoing.end(Buffer.concat(content))
  }

  async #open(sql: string, step: Step, outgoing: ServerResponse, over = () => false): Promise<void> {
    const aim = this.#aim
    if (
      !aim ||
      !OPENINGS.some(opening => opening.window === aim.window && opening.step === step && opening.sql.test(sql))
    )
      return
    // The last bytes must have reached the engine before something dies "during" the request.
    if (step === 'sent') await new Promise(resolve => setTimeout(resolve, 3))
    // Too late, or another request was first: the next opening will do.
    if (over() || this.#aim !== aim) return
    this.#aim = undefined
    if (aim.cut) outgoing.destroy()
    await aim.fire()
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise(resolve => this.#server.close(resolve))
  }
}
