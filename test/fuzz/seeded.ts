/** A database with something in it, and the API over it, for the fuzzer to ask. */
import { createLog } from '../../ingest/runtime/log.ts'
import { openStore, type Store, type StoreConfig } from '../../ingest/store/clickhouse.ts'
import { migrate } from '../../ingest/store/migrate.ts'
import { createApp } from '../../query/http/app.ts'
import { entryOf, keysOf } from '../../query/http/keys.ts'
import { createQueryVitals } from '../../query/http/vitals.ts'
import { eventOf, sessionId } from '../support/events.ts'
import { RETENTION, type RefusedMessage, Seed, settleAll } from '../support/seed.ts'
import type { FuzzOptions } from './run.ts'

const MINUTE_MS = 60_000
const SESSIONS = 6
const MINUTES = 5

type Target = Pick<FuzzOptions, 'send' | 'keys' | 'words'> & { readonly store: Store }

export async function seededTarget(config: StoreConfig): Promise<Target> {
  await migrate(config, RETENTION)
  const store = openStore(config)
  const start = Math.floor(Date.now() / MINUTE_MS) * MINUTE_MS - 2 * MINUTES * MINUTE_MS
  const seed = new Seed(store, 'fuzz#1')
  const events = Array.from({ length: SESSIONS }, (_, n) =>
    Array.from({ length: MINUTES * 120 }, (_, seq) => eventOf(n, seq, start)),
  ).flat()
  const refused: RefusedMessage = {
    refusal: { reason: 'bad_shape', detail: 'v: expected 1' },
    key: 'k',
    bytes: Buffer.from('{"v":2}'),
    appended_at_ms: start,
  }
  await seed.insert([...events, refused])
  await settleAll(store, start / 1_000 - 3_600)
  const keys = { all: 'all'.repeat(20), few: 'few'.repeat(20) }
  const app = createApp({
    store,
    keys: keysOf([entryOf('all', keys.all, ['admin']), entryOf('few', keys.few, ['abr:read'])]),
    retention: RETENTION,
    vitals: createQueryVitals(),
    log: createLog('fuzz', 'silent'),
    loopback_only: true,
    limits: { requests_per_second: 1_000_000 },
    share_ms: 1_000,
  })
  const words = [
    ...Array.from({ length: SESSIONS }, (_, n) => sessionId(n)),
    'region:eu-west',
    '!isp:isp-1',
    'game',
    'isp',
  ]
  return { store, keys, words, send: (path, init) => app.request(`http://localhost${path}`, init) }
}
