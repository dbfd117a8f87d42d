/** An API of a test's own: a database, what is stored and settled in it, and questions over HTTP's own functions, without a socket. */

import { expect } from 'vitest'
import type { QualityEvent } from '../../ingest/contract/events.ts'
import { openStore, type Store, type StoreConfig } from '../../ingest/store/clickhouse.ts'
import { migrate } from '../../ingest/store/migrate.ts'
import type { AppOptions } from '../../query/http/app.ts'
import { type App, apiOver } from './app.ts'
import { keyFor, RETENTION, Seed, settleAll } from './seed.ts'
import type { ClickHouseAccess } from './services.ts'

export interface Body<Row = Record<string, unknown>> {
  readonly data: Row[]
  readonly meta: Record<string, unknown>
}
export type Query = Readonly<Record<string, string | number | readonly string[]>>

export class AskedApi {
  readonly store: Store
  readonly database: string
  readonly app: App
  readonly authorization: string
  readonly #seed: Seed
  #ahead_ms = 0

  private constructor(config: StoreConfig, now_ms: number, more: Partial<AppOptions>) {
    const { database } = config
    const { key, hash } = keyFor(database)
    this.database = database
    this.authorization = `Bearer ${key}`
    this.store = openStore(config)
    this.#seed = new Seed(this.store, `${database}#1`)
    this.app = apiOver(this.store, [hash], { now: () => now_ms + this.#ahead_ms, ...more })
  }

  static async start(
    clickhouse: ClickHouseAccess,
    database: string,
    now_ms: number,
    more: Partial<AppOptions> = {},
  ): Promise<AskedApi> {
    const config = { ...clickhouse, database }
    await migrate(config, RETENTION)
    return new AskedApi(config, now_ms, more)
  }

  /** Moves its clock on. */
  advance(ms: number): void {
    this.#ahead_ms += ms
  }

  /** Stores the events, and settles whatever is due since their first. */
  async insert(events: readonly QualityEvent[]): Promise<void> {
    await this.#seed.insert(events)
    await settleAll(
      this.store,
      Math.floor(events.reduce((t, e) => Math.min(t, e.started_at_ms), Infinity) / 1_000) - 60,
    )
  }

  request(path: string, query: Query = {}): Response | Promise<Response> {
    const search = new URLSearchParams()
    for (const [name, value] of Object.entries(query))
      for (const one of [value].flat()) search.append(name, String(one))
    return this.app.request(`${path}?${search}`, { headers: { authorization: this.authorization } })
  }

  /** `Row`: what the test takes an entry of the data for. */
  async get<Row = Record<string, unknown>>(path: string, query: Query = {}): Promise<Body<Row>> {
    const response = await this.request(path, query)
    expect(response.status, await response.clone().text()).toBe(200)
    return (await response.json()) as Body<Row>
  }

  async refused(path: string, query: Query = {}): Promise<Record<string, unknown>> {
    const response = await this.request(path, query)
    expect(response.headers.get('content-type'), await response.clone().text()).toBe('application/problem+json')
    return (await response.json()) as Record<string, unknown>
  }

  close = (): Promise<void> => this.store.close()
}

/** Texts that would do harm if anything but a parameter carried them. */
export const HARMFUL = [
  "'; DROP TABLE events_v1; --",
  "1' OR '1'='1",
  '{from:UInt32}',
  '\\',
  '1 UNION ALL SELECT 1',
  '%27',
  '$__all',
  '\u0000',
  '☃',
] as const
