/**
 * What must hold after anything: every offset one row, every row what its message says, every cell what its rows say.
 * Reads the topic itself again, with the contract's own checker, and compares with the tables.
 */

import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { Kafka, logLevel } from 'kafkajs'
import type { AbrDecisionEvent } from '../../ingest/contract/events.ts'
import { decode } from '../../ingest/load/decode.ts'
import { FOLLOWING } from '../../ingest/runtime/config.ts'
import { DEFAULTS } from '../../ingest/runtime/variables.ts'
import { auditPartitions, type PartitionAudit } from '../../ingest/store/audit.ts'
import { cellsFromCells, cellsFromEvents } from '../../ingest/store/cell-sql.ts'
import { CELL_COLUMNS } from '../../ingest/store/cells.ts'
import type { Store } from '../../ingest/store/clickhouse.ts'
import { due10s, dueCoarser } from '../../ingest/store/settle.ts'

export const LIMITS = FOLLOWING.limits(DEFAULTS)

/** Waits for a condition with a deadline; no fixed sleeping in tests. */
export async function until(
  what: string,
  deadline_ms: number,
  condition: () => Promise<boolean> | boolean,
): Promise<void> {
  const end = Date.now() + deadline_ms
  let last: unknown
  while (Date.now() < end) {
    try {
      if (await condition()) return
      last = undefined
    } catch (error) {
      last = error
    }
    await sleep(100)
  }
  throw new Error(`not within ${deadline_ms} ms: ${what}${last === undefined ? '' : ` (${last})`}`)
}

/** A vital of a process, by its name and labels as they are exposed. NaN: it says nothing of it. */
export async function vitalOf(vitals_url: string, name: string): Promise<number> {
  const response = await fetch(`${vitals_url}/metrics`, { signal: AbortSignal.timeout(5_000) })
  const line = (await response.text()).split('\n').find(each => each.startsWith(`${name} `))
  return Number(line?.split(' ').at(-1) ?? Number.NaN)
}

/** Behind-last offset of each partition of the topic, as Kafka says. */
export async function logEnds(
  brokers: readonly string[],
  topic: string,
): Promise<Map<number, { low: number; high: number }>> {
  const admin = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    const offsets = await admin.fetchTopicOffsets(topic)
    return new Map(offsets.map(({ partition, low, high }) => [partition, { low: Number(low), high: Number(high) }]))
  } finally {
    await admin.disconnect()
  }
}

/** Waits until the table holds the topic to its end. */
export async function untilStored(
  store: Store,
  brokers: readonly string[],
  topic: string,
  deadline_ms: number,
): Promise<void> {
  const ends = await logEnds(brokers, topic)
  await until(`${topic} stored to its end`, deadline_ms, async () => {
    const rows = await store.query<{ kafka_partition: number; next: number }>(
      'SELECT kafka_partition, max(kafka_offset + offsets) AS next FROM events_v1 GROUP BY kafka_partition',
    )
    const next = new Map(rows.map(row => [row.kafka_partition, row.next]))
    return [...ends].every(([partition, { low, high }]) => high === low || next.get(partition) === high)
  })
}

/** Waits until no bucket is due. */
export const untilSettled = (store: Store, deadline_ms: number): Promise<void> =>
  until('all buckets settled', deadline_ms, async () => {
    const [cells, minutes] = [await due10s(store, 0), await dueCoarser(store, 'minute', 0)]
    const open = Math.floor(Date.now() / 60_000) * 60 - 60
    return cells.length === 0 && minutes.every(bucket => bucket.t >= open)
  })

export interface Verdict {
  readonly audit: readonly PartitionAudit[]
  /** Offsets in the topic without their row, rows covered twice, rows that say something else than their message. */
  readonly lost: number
  readonly doubled: number
  readonly different: number
  /** Cells that differ from a recomputation from raw, either way; and minutes from their cells. */
  readonly wrong_cells: number
  readonly wrong_minutes: number
}

export async function verify(store: Store, brokers: readonly string[], topic: string): Promise<Verdict> {
  const audit = await auditPartitions(store)
  const ends = await logEnds(brokers, topic)
  const byPartition = new Map(audit.map(row => [row.kafka_partition, row]))
  let lost = 0
  for (const [partition, { low, high }] of ends) {
    const row = byPartition.get(partition)
    lost += row ? row.missing + (high - row.next) + Math.max(0, row.first - low) : high - low
  }
  return {
    audit,
    lost,
    doubled: audit.reduce((sum, row) => sum + row.doubled, 0),
    different: await differentRows(store, brokers, topic, ends),
    wrong_cells: await differing(store, cellsFromEvents('1'), 'quality_per_10s_v1'),
    wrong_minutes: await differing(
      store,
      cellsFromCells(
        'quality_per_10s_v1',
        'toStartOfMinute(t)',
        `t < toStartOfMinute(toDateTime(${Math.floor(Date.now() / 60_000) * 60 - 60}, 'UTC'))`,
      ),
      'quality_per_minute_v1',
    ),
  }
}

async function differing(store: Store, expected: string, table: string): Promise<number> {
  const columns = ['t', 'session_id', ...Object.keys(CELL_COLUMNS)].join(', ')
  const stored = `SELECT ${columns} FROM ${table} FINAL`
  // As text: a hash of columns is NULL as soon as one of them is, and NULL is in no set.
  const hash = `sipHash64(toString(tuple(${columns})))`
  const count = async (a: string, b: string): Promise<number> => {
    const rows = await store.query<{ n: number }>(
      `SELECT count() AS n FROM (SELECT ${hash} AS h FROM (${a})) WHERE h NOT IN (SELECT ${hash} FROM (${b}))`,
    )
    return rows[0]?.n ?? Number.NaN
  }
  return (await count(expected, stored)) + (table === 'quality_per_10s_v1' ? await count(stored, expected) : 0)
}

const digest = (value: unknown): string => createHash('md5').update(JSON.stringify(value)).digest('base64')

/** Rows whose content is not what their message says, by a fresh reading of the topic. */
async function differentRows(
  store: Store,
  brokers: readonly string[],
  topic: string,
  ends: ReadonlyMap<number, { low: number; high: number }>,
): Promise<number> {
  const expected = new Map<string, string>()
  await readTopic(brokers, topic, ends, (partition, offset, appended_at_ms, key, value) => {
    const content = decode(value, key, appended_at_ms, LIMITS)
    if ('refusal' in content) {
      expected.set(
        `${partition}/${offset}`,
        digest([content.refusal.reason, Buffer.from(content.bytes).toString('base64'), content.bytes_total]),
      )
      return
    }
    const { event } = content
    expected.set(
      `${partition}/${offset}`,
      digest([
        event.kind,
        event.session_id,
        event.seq,
        content.at_ms,
        appended_at_ms,
        event.context.isp ?? '',
        event.context.region ?? '',
        event.kind === 'frame_times' ? event.frame_time_us : [],
        event.kind === 'frame_times' ? (event.frames_dropped ?? null) : null,
        event.kind === 'bitrate' ? event.bitrate_kbps : 0,
        event.kind === 'bitrate' ? (event.rtt_us ?? null) : null,
        event.kind === 'bitrate' ? (event.rung ?? '') : '',
        event.kind === 'abr_decision' ? decided(event) : null,
      ]),
    )
  })
  let different = 0
  for (const partition of ends.keys()) {
    const rows = await store.query<Record<string, unknown> & { kafka_offset: number; kind: string }>(
      `SELECT kafka_offset, kind, session_id, seq, toUnixTimestamp64Milli(at) AS at, toUnixTimestamp64Milli(appended_at) AS appended,
         isp, region, frame_time_us, frames_dropped, bitrate_kbps, rtt_us, rung, reason,
         toString(decision_id) AS decision_id, policy, policy_version, from_rung, to_rung, target_bitrate_kbps,
         toUnixTimestamp64Milli(as_of) AS as_of_ms, base64Encode(bytes) AS bytes64, bytes_total
       FROM events_v1 WHERE kafka_partition = {partition:UInt32} AND kind != 'gap'`,
      { partition },
    )
    for (const row of rows) {
      const place = `${partition}/${row.kafka_offset}`
      const said =
        row.kind === 'rejected'
          ? digest([row.reason, row.bytes64, row.bytes_total])
          : digest([
              row.kind,
              row.session_id,
              row.seq,
              row.at,
              row.appended,
              row.isp,
              row.region,
              row.frame_time_us,
              row.frames_dropped,
              row.bitrate_kbps,
              row.rtt_us,
              row.rung,
              row.kind === 'abr_decision' ? decided(row as unknown as AbrDecisionEvent) : null,
            ])
      if (expected.get(place) !== said) different++
      expected.delete(place)
    }
  }
  return different + expected.size
}

const decided = (event: AbrDecisionEvent) => [
  ...[event.decision_id, event.policy, event.policy_version, event.from_rung ?? '', event.to_rung],
  ...[event.target_bitrate_kbps, event.as_of_ms ?? null, event.reason ?? ''],
]

type OnMessage = (
  partition: number,
  offset: number,
  appended_at_ms: number,
  key: Buffer | null,
  value: Buffer | null,
) => void

async function readTopic(
  brokers: readonly string[],
  topic: string,
  ends: ReadonlyMap<number, { low: number; high: number }>,
  onMessage: OnMessage,
): Promise<void> {
  const left = new Map(
    [...ends].filter(([, { low, high }]) => high > low).map(([partition, { high }]) => [partition, high]),
  )
  if (left.size === 0) return
  const consumer = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING }).consumer({
    groupId: `verify-${Math.random().toString(36).slice(2)}`,
    maxBytesPerPartition: 8 * 1024 * 1024,
  })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  let done: () => void = () => {}
  const finished = new Promise<void>(resolve => {
    done = resolve
  })
  await consumer.run({
    autoCommit: false,
    eachBatch: async ({ batch }) => {
      for (const { offset, timestamp, key, value } of batch.messages) {
        if (Number(offset) < (ends.get(batch.partition)?.high ?? 0))
          onMessage(batch.partition, Number(offset), Number(timestamp), key, value)
      }
      if (Number(batch.lastOffset()) + 1 >= (left.get(batch.partition) ?? Number.POSITIVE_INFINITY))
        left.delete(batch.partition)
      if (left.size === 0) done()
    },
  })
  await finished
  await consumer.disconnect()
}
