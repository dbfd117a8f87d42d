/** What is held beside the answers from memory: how fresh they are, the same by a direct query, and the other source they could come from. */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { createKafkaSender } from '../ingest/emit/kafka.ts'
import type { Store } from '../ingest/store/clickhouse.ts'
import type { Advice } from '../query/abr/advice.ts'
import { METRICS, type MetricId } from '../query/metrics/catalogue.ts'
import { groupedSql } from '../query/metrics/sql.ts'
import { saidIn } from './load.ts'
import { percentile } from './stage.ts'

export interface Quantiles {
  readonly p50: number
  readonly p99: number
  readonly max: number
}
const quantilesOf = (values: readonly number[]): Quantiles => ({
  p50: percentile(values, 0.5),
  p99: percentile(values, 0.99),
  max: values.reduce((a, b) => Math.max(a, b), 0),
})

const MARKER_EVERY_MS = 100

/** A session of its own says a number every tenth of a second; how long until it is told. */
export async function freshness(
  brokers: string,
  topic: string,
  url: string,
  key_file: string,
  seconds: number,
): Promise<Quantiles> {
  const sender = createKafkaSender({ brokers: [brokers], topic })
  await sender.connect()
  const headers = { authorization: `Bearer ${readFileSync(key_file, 'utf8').trim()}` }
  const waits: number[] = []
  for (let n = 0; n < (seconds * 1_000) / MARKER_EVERY_MS; n++) {
    const [, rate] = saidIn(0xffff_ffff, n, Date.now() - 1_000)
    if (!rate) continue
    const kbps = 1_000 + n
    const value = Buffer.from(rate.value.replace(/"available_kbps":\d+/, `"available_kbps":${kbps}`))
    const called = performance.now()
    void sender.sendRaw([{ key: Buffer.from(rate.key), value }])
    for (;;) {
      const { state } = (await (await fetch(`${url}/v1/abr/sessions/${rate.key}`, { headers })).json()) as Advice
      if (state?.available_kbps.last === kbps) break
      await sleep(5)
    }
    waits.push(performance.now() - called)
    await sleep(Math.max(0, MARKER_EVERY_MS - (performance.now() - called)))
  }
  await sender.disconnect()
  return quantilesOf(waits)
}

const ASKED = [
  ...['bitrate_avg_kbps', 'rtt_p50_us', 'jitter_p50_us', 'packet_loss_pct', 'fps_avg', 'frame_time_p95_us'],
  ...['late_frame_pct', 'stutter_time_pct', 'freeze_time_pct', 'mos_avg', 'completeness_pct'],
] as const satisfies MetricId[]

/** What somebody without us would do: ask the store for the last ten seconds of a session, each time. */
export async function directly(
  store: Store,
  sessions: number,
  seconds: number,
): Promise<{ latency_ms: Quantiles; a_second: number }> {
  const mine = 'session_id = {id:UUID}'
  const sql = groupedSql({
    tier: 'events',
    where: { sql: mine, session_sql: mine },
    keys: {},
    values: Object.fromEntries(ASKED.map(id => [id, METRICS[id].value])),
  })
  const latencies: number[] = []
  for (const end = performance.now() + seconds * 1_000; performance.now() < end; ) {
    const to = Math.floor(Date.now() / 1_000)
    const id = `00000000-0000-4000-8000-${Math.floor(Math.random() * sessions)
      .toString(16)
      .padStart(12, '0')}`
    const begun = performance.now()
    await store.query(sql, { id, from: to - 10, to: to + 10 })
    latencies.push(performance.now() - begun)
  }
  return { latency_ms: quantilesOf(latencies), a_second: latencies.length / seconds }
}

const RAW_EVERY_MS = 500
const RAW_COLUMNS = `session_id, kind, source, seq, at, appended_at, target_fps, frame_time_us, open_frame_us, paused, final, interval_ms, bitrate_kbps,
  target_bitrate_kbps, available_kbps, rung, rtt_us, jitter_us, packets_received, packets_lost, width, height, encoded_fps`

/** The other way to know who is live: reading what was stored since, again and again. */
export async function readingRaw(store: Store, seconds: number) {
  let since = Date.now() - 1_000
  let events = 0
  let own_cpu_s = 0
  const ages: number[] = []
  const begun = performance.now()
  while (performance.now() - begun < seconds * 1_000) {
    const until = Date.now() - 50
    const cpu = process.cpuUsage()
    const rows = await store.query<{ appended_at: string }>(
      `SELECT ${RAW_COLUMNS} FROM events_v1
       WHERE t10 >= now() - 60 AND ingested_at >= fromUnixTimestamp64Milli({since:Int64}) AND ingested_at < fromUnixTimestamp64Milli({until:Int64})`,
      { since, until },
    )
    const { user, system } = process.cpuUsage(cpu)
    own_cpu_s += (user + system) / 1e6
    events += rows.length
    const now = Date.now()
    for (const { appended_at } of rows) ages.push(now - Date.parse(`${appended_at.replace(' ', 'T')}Z`))
    since = until
    await sleep(RAW_EVERY_MS)
  }
  return {
    events,
    events_a_second: events / ((performance.now() - begun) / 1_000),
    own_cpu_s,
    age_ms: quantilesOf(ages),
  }
}
