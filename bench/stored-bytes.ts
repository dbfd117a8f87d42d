/**
 * How many bytes a frame takes: the demo's fleet in virtual time through the product's own encoder and insert into `events_v1`, all
 * columns of all kinds with their index, against the same frames as one row each and the same messages as text.
 */

import { CONTEXT_FIELDS } from '../ingest/contract/events.ts'
import { Batch, insertBatch } from '../ingest/store/batch.ts'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { nativeBlock, string } from '../ingest/store/native.ts'
import { claim, type Lease } from '../ingest/store/owner.ts'
import { COARSER_TIERS, due10s, dueCoarser, settle, TIERS } from '../ingest/store/settle.ts'
import { generateEvents } from '../local/fleet/generate.ts'
import type { Finding, Table } from './finding.ts'
import { one } from './run.ts'
import { onGround, withStore } from './stage.ts'

export interface FleetSize {
  readonly sessions: number
  readonly seconds: number
}

const LOG = 'bench#1'
const PARTITIONS = [0, 1, 2, 3]
const ROWS_AT_ONCE = 100_000
const MAX_BUCKETS_AT_ONCE = 20
const JSON_TABLE = 'bench_messages'
const FRAME_TABLE = 'bench_frames'

export const storedBytes = (size: FleetSize, tell: (line: string) => void): Promise<Finding> =>
  onGround(ground =>
    withStore(ground, {}, async ({ config }) => {
      const store = openStore(config.clickhouse, { timeout_ms: 600_000 })
      try {
        return await stored(store, size, tell)
      } finally {
        await store.close()
      }
    }),
  )

async function stored(store: Store, size: FleetSize, tell: (line: string) => void): Promise<Finding> {
  await store.command(`CREATE TABLE ${JSON_TABLE} (message String CODEC(ZSTD(1))) ENGINE = MergeTree ORDER BY ()`)
  const { events, message_bytes } = await writeFleet(store, size, tell)
  tell('settling')
  await settleAll(store)
  tell('a row a frame')
  await writeFrames(store)
  for (const table of ['events_v1', JSON_TABLE, FRAME_TABLE, ...Object.values(TIERS).map(tier => tier.table)])
    await store.command(`OPTIMIZE TABLE ${table} FINAL`)
  const { frames = 0 } = await one(store, 'SELECT sum(length(frame_time_us)) AS frames FROM events_v1')
  const on = async (table: string): Promise<number> => {
    const { bytes = Number.NaN } = await one(
      store,
      `SELECT sum(bytes_on_disk) AS bytes FROM system.parts WHERE active AND database = currentDatabase() AND table = '${table}'`,
    )
    return bytes
  }
  const per = (bytes: number): Table[string] => ({
    'bytes per frame': bytes / frames,
    'bytes per event': bytes / events,
  })
  const [ours, rows, text] = [await on('events_v1'), await on(FRAME_TABLE), await on(JSON_TABLE)]
  const { column_bytes = Number.NaN } = await one(
    store,
    `SELECT sum(column_data_compressed_bytes) AS column_bytes FROM system.parts_columns
     WHERE active AND database = currentDatabase() AND table = 'events_v1' AND column = 'frame_time_us'`,
  )
  return {
    title: 'Bytes a frame',
    ratios: {
      'bytes per frame: ours / one row a frame': ours / rows,
      'bytes per frame: ours / JSON text in a ZSTD column': ours / text,
      'bytes per frame: ours / the topic, uncompressed': ours / message_bytes,
    },
    tables: {
      [`${(frames / 1e6).toFixed(1)} M frames, ${events} events of all kinds, merged`]: {
        'events_v1: every column, index included': per(ours),
        'of it the frame times': per(column_bytes),
        'ten-second cells beside it': per(await on(TIERS['10s'].table)),
        'minutes beside it': per(await on(TIERS.minute.table)),
        'one row a frame: time, session, frame time, context': per(rows),
        'JSON text, a String column with ZSTD(1)': per(text),
        'the topic’s keys and values, uncompressed': per(message_bytes),
      },
    },
    notes: [
      `The demo’s fleet in virtual time: ${size.sessions} places for ${size.seconds} s. Frame times, captures recombined, are drawn anew for each session.`,
    ],
  }
}

/** Everything the fleet says, as the loader would write it. */
async function writeFleet(
  store: Store,
  { sessions, seconds }: FleetSize,
  tell: (line: string) => void,
): Promise<{ events: number; message_bytes: number }> {
  const lease = await claim(store, LOG, PARTITIONS, () => true)
  const start_ms = Date.now() - seconds * 1_000
  const batch = new Batch((_field, value) => value)
  const text = string()
  const next = PARTITIONS.map(() => 0)
  let [events, message_bytes] = [0, 0]
  for (const { event, session_id, at_ms } of generateEvents({ seed: 1, sessions, seconds, start_ms })) {
    if (event === undefined) continue
    const value = Buffer.from(JSON.stringify(event))
    const kafka_partition = Number.parseInt(session_id.slice(0, 2), 16) % PARTITIONS.length
    const kafka_offset = next[kafka_partition] ?? 0
    next[kafka_partition] = kafka_offset + 1
    text.set(batch.rows, value)
    batch.append(
      { log_id: LOG, kafka_partition, kafka_offset, appended_at_ms: at_ms + 50 },
      { event, at_ms: event.started_at_ms, clock_shift_ms: 0, extensions: 0 },
      value.length,
    )
    events++
    message_bytes += session_id.length + value.length
    if (batch.rows === ROWS_AT_ONCE) {
      await flush(store, lease, batch, text)
      tell(`${events} events`)
    }
  }
  if (batch.rows > 0) await flush(store, lease, batch, text)
  return { events, message_bytes }
}

async function flush(store: Store, lease: Lease, batch: Batch, text: ReturnType<typeof string>): Promise<void> {
  const { rows } = batch
  await insertBatch(store, lease, batch)
  await store.insertNative(`INSERT INTO ${JSON_TABLE} FORMAT Native`, nativeBlock([['message', text]], rows))
  batch.clear()
  text.clear()
}

async function settleAll(store: Store): Promise<void> {
  for (const tier of ['10s', ...COARSER_TIERS] as const) {
    const due = await (tier === '10s' ? due10s(store, 0) : dueCoarser(store, tier, 0))
    for (let i = 0; i < due.length; i += MAX_BUCKETS_AT_ONCE)
      await settle(store, tier, due.slice(i, i + MAX_BUCKETS_AT_ONCE))
  }
}

/** As one would keep frames without arrays: in order of session and time, each column by what compresses it best. */
async function writeFrames(store: Store): Promise<void> {
  await store.command(`CREATE TABLE ${FRAME_TABLE} (
      t DateTime64(6, 'UTC') CODEC(DoubleDelta, ZSTD(1)), session_id UUID CODEC(ZSTD(1)), frame_time_us UInt32 CODEC(T64, ZSTD(1)),
      ${CONTEXT_FIELDS.map(name => `${name} LowCardinality(String)`).join(', ')}
    ) ENGINE = MergeTree ORDER BY (session_id, t)`)
  await store.command(`INSERT INTO ${FRAME_TABLE}
    SELECT toDateTime64(at, 6, 'UTC') + toIntervalMicrosecond(ended), session_id, frame_us, ${CONTEXT_FIELDS.join(', ')}
    FROM events_v1 ARRAY JOIN frame_time_us AS frame_us, arrayCumSum(frame_time_us) AS ended
    WHERE kind = 'frame_times' SETTINGS max_threads = 1, max_insert_threads = 1`)
}
