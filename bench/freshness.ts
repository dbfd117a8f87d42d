/**
 * How old is what can be asked, at shares of the most that comes? Raw: from the produce call to the row. Cells: from the produce call of a
 * bucket's last event to a cell table that has all of them. The load is made on the same cores, so the most is what comes when far more is
 * asked of its maker than these can do beside everything else.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { TIERS } from '../ingest/store/settle.ts'
import type { Finding, Table } from './finding.ts'
import { eventsOf } from './load.ts'
import { one } from './run.ts'
import { ended, onGround, percentile, produce, startIngesters, withStore } from './stage.ts'

export interface FreshnessSize {
  /** Events a second that are too many. */
  readonly too_many: number
  readonly shares: readonly number[]
  readonly seconds: number
}

/** The first seconds warm the code up. */
const WARM_UP_MS = 5_000
const RAW_POLL_MS = 50
const CELLS_POLL_MS = 300
/** When nothing has changed for so long and some events are in no cell, they never will be. */
const SETTLED_WITHIN_MS = 180_000

interface Fresh {
  readonly rate: number
  /** Less than asked for where the cores were too few for it. */
  readonly came: number
  readonly raw_ms: readonly number[]
  readonly cells_ms: readonly number[]
  readonly producer_cores: number
}

export async function freshness(
  { too_many, shares, seconds }: FreshnessSize,
  tell: (line: string) => void,
): Promise<Finding> {
  const rows: Record<string, Table[string]> = {}
  const measure = async (name: string, asked: number): Promise<number> => {
    const { rate, came, raw_ms, cells_ms, producer_cores } = await at(asked, seconds)
    const row = {
      'events/s, asked': Math.round(rate),
      'events/s, as they came': Math.round(came),
      'raw p50 s': percentile(raw_ms, 0.5) / 1_000,
      'raw p99 s': percentile(raw_ms, 0.99) / 1_000,
      'cells p50 s': percentile(cells_ms, 0.5) / 1_000,
      'cells p99 s': percentile(cells_ms, 0.99) / 1_000,
      buckets: cells_ms.length,
      'producer, cores': producer_cores,
    }
    rows[name] = row
    tell(JSON.stringify(row))
    return came
  }
  const most = await measure('all that comes', too_many)
  for (const share of shares) await measure(`${Math.round(share * 100)} %`, share * most)
  return {
    title: 'Freshness',
    ratios: {},
    tables: { [`From the produce call, at shares of ${Math.round(most)} events/s, ${seconds} s each`]: rows },
    notes: [
      'Of cells a value is a bucket of ten seconds: from the produce call of its last event until all events produced for it are in its cells. The producer works on the same cores: the whole is what comes where it is asked for more than it can make beside the rest.',
    ],
  }
}

const at = (rate: number, seconds: number): Promise<Fresh> =>
  onGround(ground =>
    withStore(ground, {}, async stage => {
      const store = openStore(stage.config.clickhouse)
      try {
        // As it is shipped: one is enough for what the producer can make here.
        await startIngesters(stage, 1)
        return await watched(store, stage.brokers, Math.max(1, Math.round(rate / 2)), seconds)
      } finally {
        await store.close()
      }
    }),
  )

async function watched(store: Store, brokers: string, sessions: number, seconds: number): Promise<Fresh> {
  const rate = eventsOf('live', sessions, 1)
  const calls: { readonly produced: number; readonly called_ms: number }[] = []
  const buckets: { readonly t: number; readonly events: number; readonly called_ms: number }[] = []
  let producer_cpu_s = 0
  let [first_ms, last_ms, last_produced] = [Number.NaN, 0, 0]
  let running = true
  const producing = ended(
    produce(brokers, sessions, seconds, rate, line => {
      const [first = '', ...rest] = line.split(' ')
      const [a = 0, b = 0, c = 0] = rest.map(Number)
      if (first === 'cpu') producer_cpu_s = a
      else if (first === 'bucket') buckets.push({ t: a, events: b, called_ms: c })
      else {
        calls.push({ produced: Number(first), called_ms: a })
        if (Number.isNaN(first_ms)) first_ms = a
        else [last_ms, last_produced] = [a, Number(first)]
      }
    }),
  ).finally(() => {
    running = false
  })
  const seen = new Map<number, { events: number; at_ms: number }[]>()
  const watchingRaw = rawAges(store, calls, () => running)
  const watchingCells = cellSightings(store, seen, () => running || !isComplete(buckets, seen))
  const [raw_ms] = await Promise.all([watchingRaw, watchingCells, producing])
  const cells_ms = buckets.map(({ t, events, called_ms }) => {
    const complete = seen.get(t)?.find(sighting => sighting.events >= events)
    return Math.max(0, (complete?.at_ms ?? Number.NaN) - called_ms)
  })
  const came = (last_produced * 1_000) / (last_ms - first_ms)
  return { rate, came, raw_ms, cells_ms, producer_cores: (producer_cpu_s * 1_000) / (last_ms - first_ms) }
}

/** A request is visible when as many rows are there as were produced by then. */
async function rawAges(
  store: Store,
  calls: { readonly produced: number; readonly called_ms: number }[],
  running: () => boolean,
): Promise<number[]> {
  const ages: number[] = []
  let begun_ms: number | undefined
  while (running() || calls.length > 0) {
    const { n = 0 } = await one(store, 'SELECT count() AS n FROM events_v1')
    const now = Date.now()
    begun_ms ??= calls[0]?.called_ms
    while (calls[0] && calls[0].produced <= n) {
      const call = calls.shift()
      if (call && begun_ms !== undefined && call.called_ms - begun_ms > WARM_UP_MS) ages.push(now - call.called_ms)
    }
    await sleep(RAW_POLL_MS)
  }
  return ages
}

async function cellSightings(
  store: Store,
  seen: Map<number, { events: number; at_ms: number }[]>,
  going: () => boolean,
): Promise<void> {
  let changed = performance.now()
  while (going()) {
    if (performance.now() - changed > SETTLED_WITHIN_MS) throw new Error('cells of some events never came')
    const rows = await store.query<{ start: number; n: number }>(
      `SELECT toUnixTimestamp(t) AS start, sum(events) AS n FROM ${TIERS['10s'].table} FINAL GROUP BY t`,
    )
    const at_ms = Date.now()
    for (const { start, n } of rows) {
      const sightings = seen.get(start) ?? []
      seen.set(start, sightings)
      if (sightings.at(-1)?.events === n) continue
      sightings.push({ events: n, at_ms })
      changed = performance.now()
    }
    await sleep(CELLS_POLL_MS)
  }
}

const isComplete = (
  buckets: readonly { readonly t: number; readonly events: number }[],
  seen: ReadonlyMap<number, readonly { readonly events: number }[]>,
): boolean => buckets.every(({ t, events }) => (seen.get(t)?.at(-1)?.events ?? 0) >= events)
