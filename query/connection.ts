/**
 * A store that need not be there yet. The embedded ClickHouse makes its password when it first starts, which may be after us: until
 * the store is ready the configuration is read again, and the connection follows it.
 */
import type { Store, StoreConfig } from '../ingest/store/clickhouse.ts'
import { openStore } from '../ingest/store/clickhouse.ts'
import { QUERY_SECONDS_MAX } from './metrics/question.ts'

/** Longer than ClickHouse lets a question run. */
const TIMEOUT_MS = (QUERY_SECONDS_MAX + 2) * 1_000

export interface Connection {
  readonly store: Store
  /** Connects anew if the configuration has changed. */
  follow(config: StoreConfig): Promise<void>
}

export function connect(first: StoreConfig): Connection {
  const open = (config: StoreConfig): Store => openStore(config, { timeout_ms: TIMEOUT_MS })
  let config = first
  let current = open(first)
  return {
    store: {
      query: (sql, params, settings) => current.query(sql, params, settings),
      stream: (sql, params, settings) => current.stream(sql, params, settings),
      command: (sql, params, settings) => current.command(sql, params, settings),
      insertNative: (sql, block, params, settings) => current.insertNative(sql, block, params, settings),
      ping: () => current.ping(),
      close: () => current.close(),
    },
    async follow(wanted) {
      if (wanted.url === config.url && wanted.username === config.username && wanted.password === config.password)
        return
      const before = current
      current = open(wanted)
      config = wanted
      await before.close()
    },
  }
}
