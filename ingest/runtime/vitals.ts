/**
 * The ingester's vitals, all in one place, each with its sentence. Prometheus text on `/metrics`.
 * Lag that is unknown is not lag zero: a partition without a known lag counts in `ingest_lag_unknown_partitions`.
 */
import { createServer, type Server } from 'node:http'
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

const FLUSH_REASONS = ['rows', 'bytes', 'age', 'stop'] as const
export type FlushReason = (typeof FLUSH_REASONS)[number]

const SECONDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60]

export function createIngestVitals() {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  return {
    registry,
    rows: new Counter({ name: 'ingest_rows_total', help: 'Offsets stored and read back', registers }),
    batches: new Counter({
      name: 'ingest_batches_total',
      help: 'Batches stored, by what flushed them',
      labelNames: ['reason'],
      registers,
    }),
    rejects: new Counter({
      name: 'ingest_rejects_total',
      help: 'Messages refused, by reason',
      labelNames: ['reason'],
      registers,
    }),
    extensions: new Counter({ name: 'ingest_extension_fields_total', help: 'ext_ fields ignored', registers }),
    contextOther: new Counter({
      name: 'ingest_context_other_total',
      help: 'Context values beyond the daily limit of new ones, stored as (other), by field',
      labelNames: ['field'],
      registers,
    }),
    insertSeconds: new Histogram({
      name: 'ingest_insert_seconds',
      help: 'Time of one batch from the first send to read back, retries included',
      buckets: SECONDS,
      registers,
    }),
    freshnessSeconds: new Histogram({
      name: 'ingest_freshness_seconds',
      help: "Oldest record of a batch: from Kafka's append to stored and read back",
      buckets: SECONDS,
      registers,
    }),
    insertFailures: new Counter({
      name: 'ingest_insert_failures_total',
      help: 'Inserts that failed and were tried again, by ClickHouse code or network',
      labelNames: ['code'],
      registers,
    }),
    fenced: new Counter({
      name: 'ingest_fenced_total',
      help: 'Partitions found to be owned by another writer after an insert',
      registers,
    }),
    takes: new Counter({ name: 'ingest_takes_total', help: 'Takings of partitions', registers }),
    seeks: new Counter({
      name: 'ingest_seeks_total',
      help: 'Fetches sent back because they came from another position',
      registers,
    }),
    partitions: new Gauge({ name: 'ingest_partitions', help: 'Partitions held', registers }),
    lag: new Gauge({
      name: 'ingest_lag_records',
      help: 'Records not stored yet, by partition, where known',
      labelNames: ['partition'],
      registers,
    }),
    lagUnknown: new Gauge({
      name: 'ingest_lag_unknown_partitions',
      help: 'Partitions held whose lag is unknown',
      registers,
    }),
    expired: new Counter({
      name: 'ingest_offsets_expired_total',
      help: 'Offsets Kafka deleted before we read them. Must stay 0',
      registers,
    }),
    missing: new Gauge({
      name: 'ingest_offsets_missing',
      help: 'Offsets no row covers, by the audit of the partitions held. Must stay 0',
      registers,
    }),
    settleSeconds: new Histogram({
      name: 'ingest_settle_seconds',
      help: 'Time of one settling, by tier (and of whole sessions, hour by hour)',
      labelNames: ['tier'],
      buckets: SECONDS,
      registers,
    }),
    settledBuckets: new Counter({
      name: 'ingest_settled_buckets_total',
      help: 'Buckets settled, by tier',
      labelNames: ['tier'],
      registers,
    }),
    settleDue: new Gauge({
      name: 'ingest_settle_due_buckets',
      help: 'Buckets whose cells are not what their rows say, by tier',
      labelNames: ['tier'],
      registers,
    }),
    settleFailures: new Counter({
      name: 'ingest_settle_failures_total',
      help: 'Settlings that failed and are tried again',
      registers,
    }),
  }
}

export type IngestVitals = ReturnType<typeof createIngestVitals>

export interface Health {
  /** Undefined: ready. Otherwise what is being waited for. */
  notReady(): string | undefined
}

/** `/metrics`, `/livez`, `/readyz`. */
export function vitalsServer(registry: Registry, health: Health): Server {
  return createServer(async (request, response) => {
    const answer = (status: number, type: string, body: string) =>
      response.writeHead(status, { 'content-type': type }).end(body)
    if (request.url === '/livez') return answer(200, 'text/plain', 'ok\n')
    if (request.url === '/readyz') {
      const waiting = health.notReady()
      return waiting === undefined ? answer(200, 'text/plain', 'ready\n') : answer(503, 'text/plain', `${waiting}\n`)
    }
    if (request.url === '/metrics') return answer(200, registry.contentType, await registry.metrics())
    return answer(404, 'text/plain', 'not found\n')
  })
}
