/**
 * The console over a real API with a fleet's last minutes in it, on a port, as a browser sees it. Time stands still in the API unless the
 * test moves it, so that the same question has the same answer.
 */
import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { createAdaptorServer } from '@hono/node-server'
import { buildConsole } from '../../dashboards/console/build.ts'
import type { QualityEvent } from '../../ingest/contract/events.ts'
import { generateEvents } from '../../local/fleet/generate.ts'
import type { AppOptions } from '../../query/http/app.ts'
import { AskedApi } from './ask.ts'
import type { SharedServices } from './services.ts'

export class ServedConsole {
  readonly api: AskedApi
  readonly url: string
  readonly #server: Server

  private constructor(api: AskedApi, server: Server) {
    this.api = api
    this.#server = server
    this.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  }

  static async start(
    { clickhouse, root }: SharedServices,
    name: string,
    now_ms: number,
    more: Partial<AppOptions> = {},
  ): Promise<ServedConsole> {
    const console_dir = join(root, name)
    await buildConsole(console_dir)
    const api = await AskedApi.start(clickhouse, name, now_ms, { console_dir, ...more })
    const server = createAdaptorServer({ fetch: api.app.fetch }) as Server
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    return new ServedConsole(api, server)
  }

  get key(): string {
    return this.api.authorization.replace('Bearer ', '')
  }

  /** With the key behind the #, as `npm start` prints it. */
  at(path: string): string {
    return `${this.url}${path}#key=${this.key}`
  }

  async close(): Promise<void> {
    await this.stopAnswering()
    await this.api.close()
  }

  /** As if the API's process were gone. */
  async stopAnswering(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise<void>(resolve => this.#server.close(() => resolve()))
  }
}

export interface FleetPart {
  readonly sessions: number
  readonly seconds: number
  readonly end_ms: number
  readonly seed?: number
}

/** What a simulated fleet says until `end_ms`. */
export function fleetEvents({ sessions, seconds, end_ms, seed = 7 }: FleetPart): QualityEvent[] {
  const start_ms = end_ms - seconds * 1_000
  const said = [...generateEvents({ sessions, seconds, seed, start_ms })]
  return said.flatMap(({ event }) => (event ? [event] : []))
}
