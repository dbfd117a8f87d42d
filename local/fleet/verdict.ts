/**
 * Did everything arrive? Kafka's own offsets against the rows, for the stretch of each partition that a run produced: each offset one
 * row, each malformed message refused, each good event once in the cells, no number missing.
 * The rules are one pure function; the rest waits and reads.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { LogEnds } from '../../ingest/load/kafka.ts'
import { auditPartitions, type PartitionAudit } from '../../ingest/store/audit.ts'
import type { Store } from '../../ingest/store/clickhouse.ts'
import { due10s } from '../../ingest/store/settle.ts'
import type { RunStats } from './run.ts'

/** What the store holds of a run. */
export interface Stored {
  /** Offsets that Kafka gave out during the run. */
  readonly produced: number
  /** Of those, covered by rows. */
  readonly offsets: number
  readonly rejected: number
  /** Distinct (session, source, seq), and how many there would be without a gap. */
  readonly events: number
  readonly events_expected: number
  /** Events that the settled cells of the run's sessions count. */
  readonly cell_events: number
  readonly unsettled_buckets: number
  readonly audit: readonly PartitionAudit[]
}

export interface Finding {
  readonly ok: boolean
  readonly text: string
}

/** One line per promise. */
export function judge(run: RunStats, stored: Stored): Finding[] {
  const { produced, offsets, rejected, events, events_expected, cell_events, unsettled_buckets, audit } = stored
  const acknowledged = run.sent + run.resent + run.malformed
  const sum = (of: (partition: PartitionAudit) => number) =>
    audit.reduce((total, partition) => total + of(partition), 0)
  const missing = sum(partition => partition.missing)
  const doubled = sum(partition => partition.doubled)
  const expired = sum(partition => partition.expired)
  const lost = run.dropped + run.refused + run.waiting
  const pct = events_expected === 0 ? 0 : (100 * events) / events_expected
  return [
    { ok: lost === 0, text: `${run.made} events made, ${run.sent} acknowledged, ${lost} lost before Kafka` },
    // A request that was tried again may have arrived twice: more is allowed, and counted once by its number.
    {
      ok: produced >= acknowledged,
      text: `${produced} messages in Kafka: ${run.sent} events, ${run.resent} resent, ${run.malformed} malformed`,
    },
    { ok: offsets === produced, text: `${offsets} of ${produced} stored` },
    {
      ok: missing + doubled + expired === 0,
      text: `${missing} offsets missing, ${doubled} doubled, ${expired} expired, over the whole log`,
    },
    { ok: rejected === run.malformed, text: `${rejected} refused and kept, of ${run.malformed} malformed` },
    {
      ok: events === run.sent && events === events_expected,
      text: `${events} distinct events: ${pct.toFixed(2)} % complete`,
    },
    { ok: cell_events === events && unsettled_buckets === 0, text: `${cell_events} of them in settled cells` },
  ]
}

export interface Stretch {
  readonly begin: LogEnds
  readonly end: LogEnds
  /** Earliest time of the run's events. */
  readonly from_ms: number
}

const LOOK_EVERY_MS = 250

/** Waits until all of the run is stored and settled, or the deadline; then says what is there. */
export async function gather(store: Store, stretch: Stretch, deadline_ms: number): Promise<Stored> {
  const until = Date.now() + deadline_ms
  const patiently = async (done: () => Promise<boolean>) => {
    while (!(await done().catch(() => false)) && Date.now() < until) await sleep(LOOK_EVERY_MS)
  }
  const produced = total(stretch.end) - total(stretch.begin)
  await patiently(async () => (await covered(store, stretch)).offsets >= produced)
  const since = Math.floor(stretch.from_ms / 10_000) * 10
  await patiently(async () => (await due10s(store, since)).length === 0)
  const [rows, events, audit, due] = [
    await covered(store, stretch),
    await counted(store, stretch),
    await auditPartitions(store),
    await due10s(store, since),
  ]
  return { produced, ...rows, ...events, unsettled_buckets: due.length, audit: audit.filter(isThisLog(stretch.end)) }
}

const total = (ends: LogEnds): number => [...ends.values()].reduce((sum, { high }) => sum + high, 0)
const isThisLog = (ends: LogEnds) => (one: PartitionAudit) => ends.get(one.kafka_partition)?.high === one.next

/** The run's stretch of each partition, of the newest log stored (a topic made anew begins another). */
const IN_STRETCH = `
log_id = (SELECT argMax(log_id, appended_at) FROM events_v1)
AND arrayExists((p, b, e) -> kafka_partition = p AND kafka_offset >= b AND kafka_offset < e,
  {partitions:Array(UInt32)}, {begins:Array(UInt64)}, {ends:Array(UInt64)})`

const bounds = ({ begin, end }: Stretch) => ({
  partitions: [...end.keys()],
  begins: [...end.keys()].map(partition => begin.get(partition)?.high ?? 0),
  ends: [...end.values()].map(({ high }) => high),
})

async function covered(store: Store, stretch: Stretch) {
  const rows = await store.query<{ offsets: number; rejected: number }>(
    `SELECT sum(offsets) AS offsets, countIf(kind = 'rejected') AS rejected FROM events_v1 WHERE ${IN_STRETCH}`,
    bounds(stretch),
  )
  return rows[0] ?? { offsets: 0, rejected: 0 }
}

async function counted(store: Store, stretch: Stretch) {
  const rows = await store.query<{ events: number; events_expected: number; cell_events: number }>(
    `WITH mine AS (
       SELECT session_id, source, uniqExact(seq) AS distinct, max(seq) - min(seq) + 1 AS expected
       FROM events_v1 WHERE kind IN ('frame_times', 'bitrate', 'session') AND ${IN_STRETCH} GROUP BY session_id, source
     )
     SELECT sum(distinct) AS events, sum(expected) AS events_expected,
       (SELECT sum(events) FROM quality_per_10s_v1 FINAL WHERE session_id IN (SELECT session_id FROM mine)) AS cell_events
     FROM mine`,
    bounds(stretch),
  )
  return rows[0] ?? { events: 0, events_expected: 0, cell_events: 0 }
}
