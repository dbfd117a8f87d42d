/** The API without a socket, as tests want it: over a store of theirs, with keys they know, and nothing printed. */
import { createLog } from '../../ingest/runtime/log.ts'
import type { Store } from '../../ingest/store/clickhouse.ts'
import { type AppOptions, createApp } from '../../query/http/app.ts'
import { keysOf } from '../../query/http/keys.ts'
import { createQueryVitals } from '../../query/http/vitals.ts'
import { RETENTION } from './seed.ts'

export type App = ReturnType<typeof createApp>

/** @param hashes of the keys, which may do everything */
export const apiOver = (store: Store, hashes: readonly Buffer[], more: Partial<AppOptions> = {}): App =>
  createApp({
    store,
    keys: keysOf(hashes),
    retention: RETENTION,
    vitals: createQueryVitals(),
    log: createLog('test', 'silent'),
    loopback_only: true,
    ...more,
  })
