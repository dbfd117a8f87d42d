/** Looks at a running service: what its processes use, what its tables are made of, what its logs complain of, how far it is behind. */
import { closeSync, existsSync, fstatSync, openSync, readFileSync, readSync } from 'node:fs'
import { join } from 'node:path'
import type { Store } from '../../ingest/store/clickhouse.ts'
import type { Service } from '../../local/service.ts'
import type { Sample } from './samples.ts'

type Used = Sample['processes'][string]

const TICK_S = 1 / 100
const NOTHING: Used = { rss_mb: null, heap_mb: null, cpu_s: null }
const IS_ERROR = /"level":"(?:error|fatal)"|^\S+ (?:ERROR|FATAL) /
const LINES_KEPT = 20

export class Sampler {
  readonly #service: Service
  readonly #store: Store
  readonly #log_ends = new Map<string, number>()
  #log_errors = 0
  /** The first complaints, to be read by somebody. */
  readonly complaints: string[] = []

  constructor(service: Service, store: Store) {
    this.#service = service
    this.#store = store
  }

  async look(): Promise<Pick<Sample, 'processes' | 'parts' | 'lag' | 'log_errors'>> {
    const { config, api_url, parts } = this.#service
    const [ingester, api, engine_mb, partsNow] = await Promise.all([
      metricsOf(`http://127.0.0.1:${config.INGEST_VITALS_PORT}/metrics`),
      metricsOf(`${api_url}/metrics`),
      this.#engineMemory(),
      this.#parts(),
    ])
    const heapOf: Record<string, number | null> = {
      ingester: heap(ingester),
      api: heap(api),
      clickhouse: engine_mb,
    }
    const processes = Object.fromEntries(
      parts.map(({ name, pid }) => [name, { ...usedBy(pid), heap_mb: heapOf[name] ?? null }]),
    )
    for (const { name } of parts) this.#readLog(name)
    processes.soak = { ...usedBy(process.pid), heap_mb: process.memoryUsage().heapUsed / 1e6 }
    return { processes, parts: partsNow, lag: lagOf(ingester), log_errors: this.#log_errors }
  }

  async #parts(): Promise<Record<string, number>> {
    const rows = await this.#store.query<{ table: string; most: number }>(
      `SELECT table, max(parts) AS most FROM (
         SELECT table, partition, count() AS parts FROM system.parts
         WHERE active AND database = currentDatabase() GROUP BY table, partition
       ) GROUP BY table ORDER BY table`,
    )
    return Object.fromEntries(rows.map(({ table, most }) => [table, most]))
  }

  /** What ClickHouse itself counts: its share of the process. */
  async #engineMemory(): Promise<number | null> {
    const rows = await this.#store.query<{ bytes: number }>(
      "SELECT toFloat64(value) AS bytes FROM system.metrics WHERE metric = 'MemoryTracking'",
    )
    return rows[0] ? rows[0].bytes / 1e6 : null
  }

  #readLog(part: string): void {
    const path = join(this.#service.config.DATA_DIR, 'logs', `${part}.log`)
    if (!existsSync(path)) return
    const file = openSync(path, 'r')
    try {
      const { size } = fstatSync(file)
      const read = this.#log_ends.get(part) ?? 0
      // Shorter than it was: it was cut, to stay bounded.
      const from = size < read ? 0 : read
      const bytes = Buffer.alloc(size - from)
      readSync(file, bytes, 0, bytes.length, from)
      const whole = bytes.lastIndexOf('\n') + 1
      this.#log_ends.set(part, from + whole)
      const complaints = bytes
        .toString('utf8', 0, whole)
        .split('\n')
        .filter(line => IS_ERROR.test(line))
      this.#log_errors += complaints.length
      this.complaints.push(...complaints.slice(0, Math.max(0, LINES_KEPT - this.complaints.length)))
    } finally {
      closeSync(file)
    }
  }
}

/** Of Linux; elsewhere unknown. */
function usedBy(pid: number | undefined): Used {
  if (pid === undefined || process.platform !== 'linux') return NOTHING
  try {
    const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
    const rss_kb = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1])
    return { rss_mb: rss_kb / 1024, heap_mb: null, cpu_s: (Number(fields[11]) + Number(fields[12])) * TICK_S }
  } catch {
    // It died.
    return NOTHING
  }
}

/** Undefined: no answer. */
async function metricsOf(url: string): Promise<string | undefined> {
  try {
    const response = await fetch(url, { signal: AbortSignal.timeout(5_000) })
    return response.ok ? await response.text() : undefined
  } catch {
    return undefined
  }
}

function heap(metrics: string | undefined): number | null {
  const bytes = /^nodejs_heap_size_used_bytes (\S+)/m.exec(metrics ?? '')?.[1]
  return bytes === undefined ? null : Number(bytes) / 1e6
}

function lagOf(metrics: string | undefined): number | null {
  if (metrics === undefined || !/^ingest_lag_unknown_partitions 0$/m.test(metrics)) return null
  return [...metrics.matchAll(/^ingest_lag_records\{.*\} (\S+)$/gm)].reduce((sum, [, lag]) => sum + Number(lag), 0)
}
