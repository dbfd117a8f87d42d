/**
 * What the trust panel is told: the counts that the rows give, nothing hidden, and nulls where nothing is known. On the real
 * ClickHouse, over HTTP's own functions.
 */

import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { auditPartitions } from '../ingest/store/audit.ts'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { migrate } from '../ingest/store/migrate.ts'
import { noteProgress } from '../ingest/store/owner.ts'
import { type App, apiOver } from './support/app.ts'
import { eventOf } from './support/events.ts'
import { keyFor, RETENTION, Seed, settleAll } from './support/seed.ts'
import { sharedServices, unique } from './support/services.ts'

const { key, hash } = keyFor('pipeline tests')
const START = Math.floor(Date.now() / 60_000) * 60_000 - 5 * 60_000

type Json = Record<string, unknown>
interface Pipeline extends Json {
  partitions: Json[]
  per_minute: { rows: number; rejected: number }[]
}

async function opened(name: string): Promise<{ store: Store; app: App }> {
  const config = { ...sharedServices().clickhouse, database: unique(name) }
  await migrate(config, RETENTION)
  const store = openStore(config)
  const app = apiOver(store, [hash])
  return { store, app }
}
const ask = (app: App, query = ''): Promise<Response> =>
  Promise.resolve(app.request(`/v1/pipeline${query}`, { headers: { authorization: `Bearer ${key}` } }))
async function told(app: App): Promise<{ pipeline: Pipeline; meta: Json }> {
  const response = await ask(app)
  expect(response.status, await response.clone().text()).toBe(200)
  const { data, meta } = (await response.json()) as { data: [Pipeline]; meta: Json }
  return { pipeline: data[0], meta }
}

describe('of a pipeline that carries events', () => {
  let store: Store
  let app: App
  const events = Array.from({ length: 4 }, (_, n) =>
    Array.from({ length: 120 }, (_, seq) => eventOf(n, seq, START)),
  ).flat()
  // Of session 3 five seconds are lost, and ten events come twice.
  const arrived = events.filter(({ session_id, seq }) => !(session_id.endsWith('3') && seq >= 40 && seq < 50))
  const again = arrived.slice(20, 30)
  const refused = (refusal: { reason: 'bad_shape' | 'not_json'; detail: string }) => ({
    refusal,
    key: 'k',
    bytes: Buffer.from('x'),
    appended_at_ms: START + 1_000,
  })

  beforeAll(async () => {
    ;({ store, app } = await opened('pipeline'))
    const seed = new Seed(store, 'pipeline#1')
    await seed.insert(arrived)
    await seed.insert([
      ...again,
      ...Array.from({ length: 3 }, () => refused({ reason: 'bad_shape', detail: 'context.isp' })),
      refused({ reason: 'not_json', detail: '' }),
    ])
  })
  afterAll(() => store?.close())

  test('every row is counted, by minute and by what became of it', async () => {
    const { pipeline } = await told(app)
    const rows = arrived.length + again.length + 4
    expect(pipeline).toMatchObject({
      ...{ rows, events: rows - 4, rejected: 4, rejected_pct: (100 * 4) / rows, rows_per_minute: rows / 15 },
      rejects: [
        { reason: 'bad_shape', count: 3, share: 0.75 },
        { reason: 'not_json', count: 1, share: 0.25 },
      ],
    })
    expect(pipeline.per_minute.reduce((sum, minute) => sum + minute.rows, 0)).toBe(rows)
  })

  test('what waits to be settled is told, and then it is settled: fresh, and as complete as it arrived', async () => {
    const before = await told(app)
    expect(before.pipeline.settling).toMatchObject({
      '10s': { due_buckets: 6, oldest_due_at: new Date(START).toISOString() },
      minute: { due_buckets: 0, oldest_due_at: null },
    })
    expect(before.meta).toMatchObject({ as_of: null, complete: false })
    expect(before.pipeline).toMatchObject({ completeness_pct: null, resent_pct: null })
    await settleAll(store, START / 1_000 - 3_600)
    const { pipeline, meta } = await told(app)
    expect(pipeline.settling).toMatchObject({ '10s': { due_buckets: 0 }, minute: { due_buckets: 0 } })
    expect(pipeline.completeness_pct).toBeCloseTo((100 * arrived.length) / events.length, 9)
    expect(pipeline.resent_pct).toBeCloseTo((100 * again.length) / (arrived.length + again.length), 9)
    expect(meta).toMatchObject({ as_of: expect.any(String), ingest_lag_ms: expect.any(Number), sessions: 4 })
  })

  test('every offset is accounted for, as the audit of the whole log finds', async () => {
    const { pipeline } = await told(app)
    const [audit] = await auditPartitions(store)
    expect(pipeline).toMatchObject({ offsets_missing: 0, offsets_doubled: 0, offsets_expired: 0 })
    expect(pipeline.partitions).toEqual([
      {
        ...{ log_id: 'pipeline#1', kafka_partition: 0, first_offset: audit?.first, next_offset: audit?.next },
        ...{ rows: audit?.next, offsets_missing: 0, offsets_doubled: 0, offsets_expired: 0 },
        last_appended_at: new Date(Math.max(...arrived.map(event => event.sent_at_ms)) + 40).toISOString(),
        last_ingested_at: expect.any(String),
      },
    ])
  })

  test('a quiet partition is told with how far it had come', async () => {
    await noteProgress(store, 'pipeline#1', new Map([[7, { next: 4_711, last_appended_at_ms: START }]]))
    const { pipeline } = await told(app)
    expect(pipeline.partitions[1]).toMatchObject({
      ...{ kafka_partition: 7, first_offset: null, next_offset: 4_711, rows: 0, last_ingested_at: null },
      last_appended_at: new Date(START).toISOString(),
    })
  })

  // Each of them: first offset, offsets, stored how many minutes ago.
  test.each([
    [
      'that are missing',
      '(0, 2, 0), (5, 1, 0)',
      { first_offset: 0, next_offset: 6, offsets_missing: 3, offsets_doubled: 0 },
    ],
    [
      'that are doubled',
      '(0, 2, 0), (2, 3, 0), (3, 2, 0)',
      { first_offset: 0, next_offset: 5, offsets_missing: 0, offsets_doubled: 2 },
    ],
    [
      'that are doubled a while later',
      '(0, 3, 20), (2, 3, 0)',
      { first_offset: 2, next_offset: 5, offsets_missing: 0, offsets_doubled: 1 },
    ],
    [
      'that a slower clock marked, and are not missing',
      '(0, 2, 0), (2, 2, 24), (4, 1, 0)',
      { first_offset: 0, next_offset: 5, offsets_missing: 0, offsets_doubled: 0 },
    ],
  ] as const)('offsets %s', async (what, positions, expected) => {
    // Rows no ingester of ours would write.
    const log_id = `pipeline#${what}`
    await store.command(
      `INSERT INTO events_v1 (log_id, kafka_partition, kafka_offset, offsets, appended_at, ingested_at, kind, reason)
       SELECT {log_id:String}, 0, position.1, position.2, now64(3), now64(3) - toIntervalMinute(position.3), 'gap', 'control'
       FROM (SELECT arrayJoin([${positions}]) AS position)`,
      { log_id },
    )
    const { pipeline } = await told(app)
    expect(pipeline.partitions.find(partition => partition.log_id === log_id)).toMatchObject({
      ...expected,
      last_appended_at: null,
    })
    for (const which of ['offsets_missing', 'offsets_doubled'])
      expect(pipeline[which]).toBe(pipeline.partitions.reduce((sum, partition) => sum + Number(partition[which]), 0))
  })

  test('there is nothing to ask it but this', async () => {
    expect(await (await ask(app, '?from=now-1h')).json()).toMatchObject({ status: 400, code: 'unknown_parameter' })
  })
})

test('of a pipeline where nothing ever arrived, nothing is known and nothing is made up', async () => {
  const { store, app } = await opened('pipeline_empty')
  try {
    const { pipeline, meta } = await told(app)
    expect(pipeline).toMatchObject({
      ...{ rows: 0, rows_per_minute: 0, per_minute: [], rejected_pct: null, resent_pct: null, completeness_pct: null },
      ...{ rejects: [], partitions: [], settling: { '10s': { due_buckets: 0, oldest_due_at: null } } },
    })
    expect(meta).toMatchObject({ as_of: null, ingest_lag_ms: null, sessions: 0 })
  } finally {
    await store.close()
  }
})
