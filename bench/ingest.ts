/**
 * `npm run bench:ingest`: how fast events become rows and cells on this machine, where the time goes, and how fresh they are.
 * Backlog: the topic is filled, then an ingester starts and works it off. Freshness: the load runs beside it at a steady rate.
 */

import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { setTimeout as sleep } from 'node:timers/promises'
import { Command } from 'commander'
import { readConfig } from '../ingest/runtime/config.ts'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { due10s, dueCoarser } from '../ingest/store/settle.ts'
import { brokerPart } from '../local/kafka/broker.ts'
import { wholeFrom } from '../local/number.ts'
import { clickHousePart, ingesterPart } from '../local/parts.ts'
import { freePort } from '../local/ports.ts'
import { type Part, startPart } from '../local/supervise.ts'

interface Flags {
  readonly sessions: number
  readonly seconds: number
  readonly rate: number
  readonly freshFor: number
}

new Command('npm run bench:ingest --')
  .description('events per second end to end from a filled topic, CPU by process, and freshness at a steady rate')
  .option('--sessions <number>', 'sessions of the backlog', wholeFrom(1), 10_000)
  .option(
    '--seconds <number>',
    'seconds of live-like load in the backlog; each session says two events a second',
    wholeFrom(1),
    60,
  )
  .option('--rate <events/s>', 'rate at which freshness is measured; 0 leaves that out', wholeFrom(0), 20_000)
  .option('--fresh-for <seconds>', 'how long', wholeFrom(1), 30)
  .allowExcessArguments(false)
  .action((flags: Flags) => bench(flags))
  .parseAsync()

const TOPIC = 'bench.events'
const TICK_MS = 1_000 / 100

const cpuSeconds = (pid: number | undefined): number => {
  if (pid === undefined) return 0
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return ((Number(fields[11]) + Number(fields[12])) * TICK_MS) / 1_000
}
const peakMb = (pid: number | undefined): number =>
  Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024

const percentile = (values: readonly number[], p: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * p))] ?? Number.NaN

async function bench({ sessions, seconds, rate, freshFor }: Flags): Promise<void> {
  const data_dir = mkdtempSync(join(tmpdir(), 'stream-quality-bench-'))
  const parts: Part[] = []
  const start = async (spec: Parameters<typeof startPart>[0]): Promise<Part> => {
    const part = await startPart(spec, { data_dir, report: () => {}, restart: false })
    parts.push(part)
    return part
  }
  try {
    const [kafka_port, clickhouse_port, vitals_port] = [await freePort(), await freePort(), await freePort()]
    const brokers = `127.0.0.1:${kafka_port}`
    const environment = {
      ...process.env,
      DATA_DIR: data_dir,
      CLICKHOUSE_PORT: String(clickhouse_port),
      CLICKHOUSE_URL: undefined,
      KAFKA_BROKERS: brokers,
      KAFKA_TOPIC: TOPIC,
      INGEST_VITALS_PORT: String(vitals_port),
    }
    console.log(`machine: ${cpus().length} × ${cpus()[0]?.model}, node ${process.version}; ${new Date().toISOString()}`)
    const broker = await start(brokerPart({ data_dir, port: kafka_port, environment: process.env }))
    const clickhouse = await start(clickHousePart({ config: readConfig(environment), environment }))
    const config = readConfig(environment)
    // Once for the tables and the topic.
    await (await start(ingesterPart({ config, environment }))).stop()
    const store = openStore(config.clickhouse)

    const total = sessions * seconds * 2
    console.log(`backlog: ${total} events of ${sessions} sessions`)
    await ended(produce(brokers, sessions, seconds, 0, () => {}))
    const cpuOf = () => ({ broker: cpuSeconds(broker.pid), clickhouse: cpuSeconds(clickhouse.pid) })
    const before = cpuOf()
    const ingester = await start(ingesterPart({ config, environment }))
    const startup = cpuSeconds(ingester.pid)
    const begun = performance.now()
    let stored_s = 0
    for (;;) {
      const rows = await count(store)
      if (stored_s === 0 && rows >= total) stored_s = (performance.now() - begun) / 1_000
      if (stored_s > 0 && (await due10s(store, 0)).length === 0 && (await dueCoarser(store, 'minute', 0)).length <= 1)
        break
      await sleep(250)
    }
    const settled_s = (performance.now() - begun) / 1_000
    const after = cpuOf()
    const micros = (cpu_s: number) => `${((cpu_s * 1e6) / total).toFixed(1)} µs`
    const cpu = {
      ingester: cpuSeconds(ingester.pid) - startup,
      clickhouse: after.clickhouse - before.clickhouse,
      broker: after.broker - before.broker,
    }
    console.table({
      'rows stored and read back': { 'events/s': Math.round(total / stored_s), seconds: stored_s.toFixed(1) },
      'cells settled too': { 'events/s': Math.round(total / settled_s), seconds: settled_s.toFixed(1) },
    })
    console.table({
      ingester: { 'CPU per event': micros(cpu.ingester), 'peak MB': Math.round(peakMb(ingester.pid)) },
      clickhouse: { 'CPU per event': micros(cpu.clickhouse), 'peak MB': Math.round(peakMb(clickhouse.pid)) },
      broker: { 'CPU per event': micros(cpu.broker), 'peak MB': Math.round(peakMb(broker.pid)) },
      all: { 'CPU per event': micros(cpu.ingester + cpu.clickhouse + cpu.broker), 'peak MB': '' },
    })
    console.log(await vitals(vitals_port))

    if (rate > 0) await freshness(store, brokers, rate, freshFor)
    await store.close()
  } finally {
    for (const part of parts.reverse()) await part.stop()
    rmSync(data_dir, { recursive: true, force: true, maxRetries: 3 })
  }
}

const count = async (store: Store): Promise<number> =>
  (await store.query<{ n: number }>('SELECT count() AS n FROM events_v1'))[0]?.n ?? 0

/** Where the ingester and the settler say their time went. */
async function vitals(port: number): Promise<string> {
  const text = await (await fetch(`http://127.0.0.1:${port}/metrics`)).text()
  const wanted = /^ingest_(batches_total|insert_seconds_(sum|count)|settle_seconds_(sum|count)|settled_buckets_total)/
  return text
    .split('\n')
    .filter(line => wanted.test(line))
    .join('\n')
}

function produce(
  brokers: string,
  sessions: number,
  seconds: number,
  rate: number,
  onLine: (line: string) => void,
): ChildProcess {
  const child = spawn(
    process.execPath,
    [
      '--import',
      'tsx',
      join(import.meta.dirname, 'producer.ts'),
      brokers,
      TOPIC,
      String(sessions),
      String(seconds),
      String(rate),
    ],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  createInterface({ input: child.stdout as NodeJS.ReadableStream }).on('line', onLine)
  return child
}

const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve, reject) => {
    child.on('close', code => (code === 0 ? resolve() : reject(new Error(`the producer ended with ${code}`))))
  })

/** From the produce call to visible in raw, by counting rows: a request is visible when as many rows are there as were produced by then. */
async function freshness(store: Store, brokers: string, rate: number, seconds: number): Promise<void> {
  const base = await count(store)
  const calls: { produced: number; called_ms: number }[] = []
  const fresh_ms: number[] = []
  let producer_cpu_s = 0
  let running = true
  const child = produce(brokers, Math.round(rate / 2), seconds, rate, line => {
    const [first = '', second = ''] = line.split(' ')
    if (first === 'cpu') producer_cpu_s = Number(second)
    else calls.push({ produced: Number(first), called_ms: Number(second) })
  })
  const produced = ended(child).then(() => {
    running = false
  })
  const begun = Date.now()
  while (running || calls.length > 0) {
    const visible = (await count(store)) - base
    const now = Date.now()
    while (calls[0] && calls[0].produced <= visible) {
      const call = calls.shift()
      // The first seconds warm the code up.
      if (call && call.called_ms - begun > 5_000) fresh_ms.push(now - call.called_ms)
    }
    await sleep(20)
  }
  await produced
  console.log(
    `freshness at ${rate} events/s for ${seconds} s: p50 ${percentile(fresh_ms, 0.5)} ms, p99 ${percentile(fresh_ms, 0.99)} ms, max ${Math.max(...fresh_ms)} ms over ${fresh_ms.length} requests; the producer used ${((producer_cpu_s / seconds) * 100).toFixed(0)} % of a core`,
  )
}
