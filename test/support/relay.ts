/** Stands between a caller and the API, as TCP: passes bytes on, or does what broken servers and networks do to them. */

import type { AddressInfo } from 'node:net'
import { connect, createServer, type Server, type Socket } from 'node:net'

export type Mischief =
  | 'none'
  /** Takes the request and says nothing. */
  | 'hang'
  | 'reset'
  /** Says this instead of an answer. */
  | { readonly say: string }
  /** Passes the request on, and the answer only when told to. */
  | { readonly answer: Promise<unknown> }

export class Relay {
  readonly #server: Server
  readonly #sockets = new Set<Socket>()
  #mischief: Mischief = 'none'
  /** Requests that came. */
  requests = 0

  private constructor(target: URL) {
    this.#server = createServer(caller => {
      const api = connect(Number(target.port), target.hostname)
      for (const socket of [caller, api]) {
        this.#sockets.add(socket)
        socket.on('error', () => socket.destroy()).on('close', () => this.#sockets.delete(socket))
      }
      caller.on('data', asked => {
        if (/^(GET|POST) /.test(asked.toString('latin1'))) this.requests++
        const mischief = this.#mischief
        if (mischief === 'reset') caller.resetAndDestroy()
        else if (typeof mischief === 'object' && 'say' in mischief) caller.end(mischief.say)
        else if (mischief !== 'hang') api.write(asked)
      })
      api.on('data', async answer => {
        const mischief = this.#mischief
        if (typeof mischief === 'object' && 'answer' in mischief) await mischief.answer
        if (!caller.destroyed) caller.write(answer)
      })
      caller.on('close', () => api.destroy())
      api.on('close', () => caller.destroy())
    })
  }

  static async before(target: string): Promise<Relay> {
    const relay = new Relay(new URL(target))
    await new Promise<void>(resolve => relay.#server.listen(0, '127.0.0.1', resolve))
    return relay
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`
  }

  /** From the next request on; connections that are open are closed. */
  does(mischief: Mischief): void {
    this.#mischief = mischief
    this.requests = 0
    for (const socket of this.#sockets) socket.destroy()
  }

  async stop(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy()
    await new Promise(resolve => this.#server.close(resolve))
  }
}
