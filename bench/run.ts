/**
 * One run over a topic that is already full: ours or the rival, in a ClickHouse of its own, until every event is a row and in its cell.
 * What it answers in the end is asked by the same questions of either, so that "the same result" is something to check.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { NOTED } from '../ingest/store/settle.ts'
import { cellTables, OURS_SAYS, RIVAL_CELLS, RIVAL_SAYS } from './rival/cells.ts'
import { consuming, type Form, RIVAL_EVENTS, rawTable } from './rival/raw.ts'
import { cpuSeconds, type Ground, INGESTERS, peakMb, type Stage, startIngesters, withStore } from './stage.ts'

export type Runner = 'ours' | Form

/** Per event in µs of CPU, without the broker's. */
export interface Run {
  readonly rows_s: number
  readonly cells_s: number
  /** All processes together, until nothing merges any more. */
  readonly cpu_s: number
  readonly ingester_cpu_s: number
  /** Of it, minutes and coarser tiers, which the rival does not have. Each statement of a settling is one thread. */
  readonly beyond_s: number
  readonly broker_cpu_s: number
  readonly peak_mb: number
  readonly says: Readonly<Record<string, number>>
}

/** Each question costs some milliseconds of the CPU that is measured. */
const POLL_MS = 200
const QUIET_POLLS = 3
/** Rows that are in their cells. Counting those of each bucket, as the settler does, costs four times as much, and more with more rows. */
const SETTLED_ROWS = `SELECT sum(noted_rows) AS n FROM (${NOTED} WHERE tier = '10s' GROUP BY t)`
/** A pass of the settler, and the longest of its statements on a busy machine. */
const BEYOND_QUIET_S = 8

export async function run(ground: Ground, runner: Runner, topic: string, events: number): Promise<Run> {
  const group = `${runner}-${Date.now()}`
  return withStore(ground, { KAFKA_TOPIC: topic, KAFKA_GROUP_ID: group }, async stage => {
    const store = openStore(stage.config.clickhouse)
    try {
      const broker_before = cpuSeconds(ground.broker.pid)
      const work = await (runner === 'ours' ? ours(stage, store, events) : rival(stage, store, events, runner, group))
      return { ...work, broker_cpu_s: cpuSeconds(ground.broker.pid) - broker_before }
    } finally {
      await store.close()
    }
  })
}

type Work = Omit<Run, 'broker_cpu_s'>

async function ours(stage: Stage, store: Store, events: number): Promise<Work> {
  const { clickhouse } = stage
  const before = cpuSeconds(clickhouse.pid)
  const ingesters = await startIngesters(stage, INGESTERS)
  const parts = ingesters.map(({ part }) => part)
  const sum = (of: (pid: number | undefined) => number): number => parts.reduce((all, { pid }) => all + of(pid), 0)
  const [begun, startup] = [performance.now(), sum(cpuSeconds)]
  await reached(store, 'SELECT count() AS n FROM events_v1', events)
  const rows_s = secondsSince(begun)
  await reached(store, SETTLED_ROWS, events)
  const cells_s = secondsSince(begun)
  const ingester_cpu_s = sum(cpuSeconds) - startup
  const peak = sum(peakMb)
  const beyond_s = await settledBeyond(ingesters.map(({ vitals_port }) => vitals_port))
  await Promise.all(parts.map(part => part.stop()))
  await merged(store)
  const cpu_s = ingester_cpu_s + cpuSeconds(clickhouse.pid) - before
  const peak_mb = peak + peakMb(clickhouse.pid)
  const says = { ...(await one(store, rawSays('events_v1'))), ...(await one(store, OURS_SAYS)) }
  return { rows_s, cells_s, cpu_s, ingester_cpu_s, beyond_s, peak_mb, says }
}

async function rival(
  { brokers, config, clickhouse }: Stage,
  store: Store,
  events: number,
  form: Form,
  group: string,
): Promise<Work> {
  for (const sql of [...rawTable(), ...cellTables()]) await store.command(sql)
  const [begun, before] = [performance.now(), cpuSeconds(clickhouse.pid)]
  const source = { brokers, topic: config.KAFKA_TOPIC, group }
  for (const sql of consuming(form, source)) await store.command(sql)
  await reached(store, `SELECT count() AS n FROM ${RIVAL_EVENTS}`, events)
  const rows_s = secondsSince(begun)
  await reached(store, `SELECT sum(events) AS n FROM ${RIVAL_CELLS}`, events)
  const cells_s = secondsSince(begun)
  await merged(store)
  const cpu_s = cpuSeconds(clickhouse.pid) - before
  const says = { ...(await one(store, rawSays(RIVAL_EVENTS))), ...(await one(store, RIVAL_SAYS)) }
  return { rows_s, cells_s, cpu_s, ingester_cpu_s: 0, beyond_s: 0, peak_mb: peakMb(clickhouse.pid), says }
}

const secondsSince = (begun: number): number => (performance.now() - begun) / 1_000

/** @throws Error if nothing more comes for a minute, or more than was produced */
async function reached(store: Store, sql: string, events: number): Promise<void> {
  let [seen, moved] = [0, performance.now()]
  for (;;) {
    const { n = 0 } = await one(store, sql)
    if (n > events) throw new Error(`${n} of ${events} events: some came twice`)
    if (n === events) return
    if (n > seen) [seen, moved] = [n, performance.now()]
    else if (secondsSince(moved) > 60) throw new Error(`only ${n} of ${events} events came`)
    await sleep(POLL_MS)
  }
}

async function merged(store: Store): Promise<void> {
  for (let quiet = 0; quiet < QUIET_POLLS; await sleep(POLL_MS)) {
    const { n = 0 } = await one(store, 'SELECT count() AS n FROM system.merges')
    quiet = n === 0 ? quiet + 1 : 0
  }
}

export async function one(store: Store, sql: string): Promise<Record<string, number>> {
  return (await store.query<Record<string, number>>(sql))[0] ?? {}
}

const rawSays = (table: string): string =>
  `SELECT count() AS rows, uniqExact(kafka_partition, kafka_offset) AS offsets_seen, sum(length(frame_time_us)) AS raw_frames,
     sum(arraySum(frame_time_us)) AS raw_frame_time_us, sum(bitrate_kbps) AS raw_bitrate_kbps,
     sum(ifNull(target_bitrate_kbps, 0)) AS raw_target_kbps, sum(ifNull(packets_received, 0)) AS raw_packets,
     sum(toUnixTimestamp64Milli(at) % 1000003) AS raw_times, sum(cityHash64(session_id, game, isp, experiment) % 1000003) AS raw_contexts
   FROM ${table}`

/** Waits until the coarser tiers have what they take from these cells now; how many seconds their statements took. */
async function settledBeyond(ports: readonly number[]): Promise<number> {
  let [seconds, since] = [0, performance.now()]
  while (secondsSince(since) < BEYOND_QUIET_S) {
    const vitals = ports.map(async port => (await fetch(`http://127.0.0.1:${port}/metrics`)).text())
    const text = (await Promise.all(vitals)).join('\n')
    const sums = text.matchAll(/^ingest_settle_seconds_sum\{tier="(?!10s")[^"]*"\} (\S+)/gm)
    const now = [...sums].reduce((sum, [, tier]) => sum + Number(tier), 0)
    if (now !== seconds) [seconds, since] = [now, performance.now()]
    await sleep(POLL_MS)
  }
  return seconds
}

/** @throws Error naming what two runs over the same topic do not say alike */
export function assertSame(first: Run, other: Run, who: string): void {
  const different = Object.entries(first.says).filter(([name, value]) => other.says[name] !== value)
  if (different.length > 0 || Object.keys(first.says).length !== Object.keys(other.says).length) {
    const told = different.map(([name, value]) => `${name}: ${value} and ${other.says[name]}`)
    throw new Error(`${who} has another result: ${told.slice(0, 10).join('; ')}`)
  }
}
