/**
 * Hours of a fleet's history, written by ClickHouse itself into the real tables: rows as the loader writes them (positions without a
 * gap, so that the audit holds), then cells by the store's own settling. A simulation: every figure is drawn from hashes, so that the
 * same options give the same rows.
 */
import { availableParallelism } from 'node:os'
import type { Store } from '../ingest/store/clickhouse.ts'
import { CUBE, settleCube } from '../ingest/store/cube.ts'
import { settleSessions } from '../ingest/store/sessions.ts'
import { COARSER_TIERS, type DueBucket, due10s, dueCoarser, settle } from '../ingest/store/settle.ts'

export interface History {
  readonly sessions: number
  readonly seconds: number
  /** Frames of an event, one event a second: the frame rate. */
  readonly fps: number
  /** Epoch seconds, a whole hour or minute. */
  readonly from: number
}

/** Events of one insert at 60 frames each: a day's part at most, and some hundred megabytes in ClickHouse. */
const ROWS_AT_ONCE = 1_000_000
/** Events whose groups one settling holds, likewise. */
const SETTLE_ROWS_AT_ONCE = 1_500_000
const atOnce = (rows: number, fps: number): number => Math.ceil(rows / Math.max(1, fps / 60))
const LOG = 'bench#1'

const pick = (names: readonly string[], salt: number): string =>
  `[${names.map(name => `'${name}'`).join(',')}][1 + cityHash64(session, ${salt}) % ${names.length}]`
const numbered = (prefix: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${prefix}${i}`)

/** Each event is one row of `numbers`; two a session and second, frames first. Hashes stand in for noise. */
const ROWS = `
  SELECT
    number AS n,
    intDiv(n, 2) % {sessions:UInt32} AS session,
    intDiv(n, 2 * {sessions:UInt32}) AS second,
    n % 2 = 0 AS is_frames,
    cityHash64(n) AS noise,
    reinterpret(sipHash128(session), 'UUID') AS session_id,
    fromUnixTimestamp64Milli(toInt64(({from:UInt32} + second) * 1000 + session % 1000), 'UTC') AS at,
    intDiv(1000000, {fps:UInt32}) AS interval_us,
    -- One session in ten is on a bad link: its frames slip more often.
    if(cityHash64(session, 9) % 10 = 0, 40, 400) AS slip_every
  FROM numbers({first:UInt64}, {rows:UInt64})`

const INSERT = `
INSERT INTO events_v1 (
  log_id, kafka_partition, kafka_offset, offsets, appended_at, ingested_at, kind, session_id, source, seq, at, sent_at,
  game, platform, device, client_version, codec, access, isp, country, region, host, host_version, experiment,
  target_fps, frame_time_us, frames_dropped, interval_ms, bitrate_kbps, target_bitrate_kbps, available_kbps, rung,
  width, height, encoded_fps, rtt_us, jitter_us, packets_received, packets_lost)
SELECT '${LOG}', 0, n, 1, at + INTERVAL 40 MILLISECOND, now64(3, 'UTC'), if(is_frames, 'frame_times', 'bitrate'),
  session_id, 'client', toUInt32(second * 2 + (1 - is_frames)), at, at + INTERVAL 1 SECOND,
  ${pick(['outrider', 'metro', 'rally', 'chess'], 1)}, ${pick(['windows', 'android', 'web'], 2)}, ${pick(numbered('device-', 20), 3)},
  ${pick(['4.1.0', '4.2.0'], 4)}, ${pick(['h264', 'hevc', 'av1'], 5)}, ${pick(['ethernet', 'wifi', 'cellular'], 6)},
  ${pick(numbered('isp-', 40), 7)}, ${pick(['de', 'fr', 'pl', 'us'], 8)}, ${pick(numbered('region-', 8), 10)},
  ${pick(numbered('host-', 100), 11)}, ${pick(['9.0', '9.1'], 12)}, '',
  if(is_frames, {fps:UInt32}, 0),
  if(is_frames, arrayMap(i -> toUInt32(interval_us + (cityHash64(n, i) % 2000) - 1000
    + if(cityHash64(i, n) % slip_every = 0, interval_us * (1 + cityHash64(n, i, 3) % 4), 0)), range({fps:UInt32})), []),
  if(is_frames, noise % 2, NULL),
  if(is_frames, 0, 1000), if(is_frames, 0, 12000 + noise % 6000), if(is_frames, NULL, 18000), if(is_frames, NULL, 15000 + noise % 20000),
  if(is_frames, '', '1080p60-18m'), if(is_frames, NULL, 1920), if(is_frames, NULL, 1080), if(is_frames, NULL, least(60, {fps:UInt32})),
  if(is_frames, NULL, 15000 + noise % 30000), if(is_frames, NULL, 500 + noise % 4000), if(is_frames, NULL, 1500), if(is_frames, NULL, noise % 8)
FROM (${ROWS})
SETTINGS max_threads = 1, max_insert_threads = 1, min_insert_block_size_rows = 100000000, min_insert_block_size_bytes = 0, max_block_size = ${ROWS_AT_ONCE}`

/** Writes and settles it. @param tell hears how far it is, now and then */
export async function writeHistory(store: Store, history: History, tell: (line: string) => void): Promise<void> {
  const { sessions, seconds, fps, from } = history
  const total = sessions * seconds * 2
  const seconds_at_once = Math.max(1, Math.floor(atOnce(ROWS_AT_ONCE, fps) / (sessions * 2)))
  const chunks = Array.from({ length: Math.ceil(seconds / seconds_at_once) }, (_, i) => i * seconds_at_once)
  let written = 0
  await atATime(chunks, async second => {
    const rows = Math.min(seconds_at_once, seconds - second) * sessions * 2
    await store.command(INSERT, { sessions, fps, from, first: second * sessions * 2, rows })
    written += rows
    tell(`written ${((written / total) * 100).toFixed(0)} % of ${total} events`)
  })
  for (const tier of ['10s', ...COARSER_TIERS] as const) {
    const due = await (tier === '10s' ? due10s(store, 0) : dueCoarser(store, tier, 0))
    await atATime(grouped(due, atOnce(SETTLE_ROWS_AT_ONCE, fps)), group => settle(store, tier, group))
    tell(`settled: ${tier}`)
  }
  const minutes = await dueCoarser(store, CUBE, 0)
  await atATime(grouped(minutes, SETTLE_ROWS_AT_ONCE), group => settleCube(store, group))
  tell('settled: minutes without sessions')
  await settleSessions(store, await dueCoarser(store, 'session', 0))
  tell('settled: whole sessions')
}

/** An insert and a settling are of one thread each. */
async function atATime<T>(all: Iterable<T>, run: (one: T) => Promise<void>): Promise<void> {
  const left = all[Symbol.iterator]()
  const worker = async (): Promise<void> => {
    for (let next = left.next(); !next.done; next = left.next()) await run(next.value)
  }
  await Promise.all(Array.from({ length: availableParallelism() }, worker))
}

function* grouped(buckets: readonly DueBucket[], most: number): Generator<DueBucket[]> {
  let group: DueBucket[] = []
  let rows = 0
  for (const bucket of buckets) {
    if (group.length > 0 && rows + bucket.rows > most) {
      yield group
      group = []
      rows = 0
    }
    group.push(bucket)
    rows += bucket.rows
  }
  if (group.length > 0) yield group
}
