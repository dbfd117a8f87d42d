/**
 * `npm run bench:ingest`: how fast events become rows and cells on this machine, where the time goes, and how fresh they are.
 * Backlog: the topic is filled, then an ingester starts and works it off. Freshness: the load runs beside it at a steady rate.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { Command } from 'commander'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { due10s, dueCoarser } from '../ingest/store/settle.ts'
import { wholeFrom } from '../local/number.ts'
import { ingesterPart } from '../local/parts.ts'
import { cpuSeconds, ended, onStage, peakMb, percentile, produce, type Stage } from './stage.ts'

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

async function bench(flags: Flags): Promise<void> {
  await onStage({}, stage => measure(flags, stage))
}

async function measure({ sessions, seconds, rate, freshFor }: Flags, stage: Stage): Promise<void> {
  const { config, environment, brokers, broker, clickhouse, start } = stage
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
  console.log(await vitals(config.INGEST_VITALS_PORT))

  if (rate > 0) await freshness(store, brokers, rate, freshFor)
  await store.close()
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
