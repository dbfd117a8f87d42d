/**
 * The store as the rest of the project sees it: questions, statements and Native blocks over HTTP, wherever ClickHouse runs.
 * The only file that knows `@clickhouse/client`. Errors are classified by ClickHouse's code, never by a message's text.
 */
import { Readable } from 'node:stream'
import { type ClickHouseClient, ClickHouseError, ClickHouseLogLevel, createClient } from '@clickhouse/client'

export interface StoreConfig {
  readonly url: string
  readonly username: string
  readonly password: string
  readonly database: string
}

export type Params = Readonly<Record<string, unknown>>
export type Settings = Readonly<Record<string, string | number>>

export interface Store {
  /** Rows of a SELECT, as JSON objects (64-bit integers as numbers: ours stay below 2^53). */
  query<Row>(sql: string, params?: Params, settings?: Settings): Promise<Row[]>
  /** The same rows, a few at a time, no faster than they are taken. Whoever stops taking them closes the connection. */
  stream<Row>(sql: string, params?: Params, settings?: Settings): AsyncGenerator<Row[], void, undefined>
  /** A statement without rows. */
  command(sql: string, params?: Params, settings?: Settings): Promise<void>
  /** An INSERT whose data is one Native block. Resolves once ClickHouse has answered OK. */
  insertNative(sql: string, block: readonly Uint8Array[], params?: Params, settings?: Settings): Promise<void>
  ping(): Promise<boolean>
  close(): Promise<void>
}

/**
 * Passes of ClickHouse's analyzer that find nothing in what we say, and take half of the time to read a long statement. Off.
 */
export const FRUITLESS_PASSES = { optimize_syntax_fuse_functions: 0, optimize_and_compare_chain: 0 } as const

export function openStore(config: StoreConfig, options: { readonly timeout_ms?: number } = {}): Store {
  const client: ClickHouseClient = createClient({
    url: config.url,
    username: config.username,
    password: config.password,
    database: config.database,
    request_timeout: options.timeout_ms ?? 60_000,
    max_open_connections: 16,
    // Its errors reach whoever asked; printed here they would say a statement's parameters.
    log: { level: ClickHouseLogLevel.OFF },
    clickhouse_settings: { output_format_json_quote_64bit_integers: 0, ...FRUITLESS_PASSES },
  })
  const request = (sql: string, params: Params, settings: Settings) => ({
    query: sql,
    query_params: { ...params },
    clickhouse_settings: { ...settings },
  })
  return {
    async query<Row>(sql: string, params: Params = {}, settings: Settings = {}) {
      const answer = await client.query({ ...request(sql, params, settings), format: 'JSONEachRow' })
      return answer.json<Row>()
    },
    async *stream<Row>(sql: string, params: Params = {}, settings: Settings = {}) {
      const answer = await client.query({ ...request(sql, params, settings), format: 'JSONEachRow' })
      for await (const rows of answer.stream<Row>()) yield rows.map(row => row.json())
    },
    async command(sql, params = {}, settings = {}) {
      await client.command(request(sql, params, settings))
    },
    async insertNative(sql, block, params = {}, settings = {}) {
      const values = Readable.from(block, { objectMode: false })
      const { stream } = await client.exec({ ...request(sql, params, settings), values })
      stream.resume()
    },
    async ping() {
      return (await client.ping()).success
    },
    close: () => client.close(),
  }
}

/**
 * ClickHouse's codes that another try may cure: unexpected end, too many queries, timeouts, network, memory, too many parts,
 * read-only replica, disk full, keeper, killed. Anything else is a fault of ours or of the set-up.
 */
const WORTH_RETRYING = new Set([3, 107, 159, 164, 202, 203, 209, 210, 236, 241, 242, 243, 252, 285, 319, 394, 425, 999])
export const DISK_FULL = 243

/** ClickHouse's error code, or undefined where the fault lay on the way to it. */
export function errorCode(error: unknown): number | undefined {
  return error instanceof ClickHouseError ? Number(error.code) : undefined
}

/** Whether to try on with back-off (the network, or one of the codes above) or to stop the process. */
export function worthRetrying(error: unknown): boolean {
  const code = errorCode(error)
  if (code !== undefined) return WORTH_RETRYING.has(code)
  return error instanceof Error && !(error instanceof TypeError || error instanceof RangeError)
}
