/**
 * `npm run bench:abr`: what it takes to answer bitrate logic from memory while everything else works on the same cores, against asking
 * ClickHouse each time; how fresh the answers are; and what many more sessions would take. Live-like load, real parts, one run.
 */
import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { Command } from 'commander'
import { openStore } from '../ingest/store/clickhouse.ts'
import { wholeFrom } from '../local/number.ts'
import { apiPart, apiUrl, ingesterPart } from '../local/parts.ts'
import { devKeyFile } from '../query/http/keys.ts'
import { directly, freshness, type Quantiles, readingRaw } from './abr-probes.ts'
import { DIRECT, FROM_MEMORY } from './abr-rows.ts'
import { cpuSeconds, ended, nowMb, onStage, play, produce, type Stage } from './stage.ts'
import { synthetic } from './synthetic-sessions.ts'

interface Flags {
  readonly sessions: number
  readonly requests: number
  readonly seconds: number
  readonly synthetic: number
}

const BATCH = { size: 100, a_second: 20 }
/** Longer than anything here takes: the load is ended when all was asked. */
const LOAD_S = 3_600
const SETTINGS = { API_REQUESTS_PER_SECOND: '1000000', API_CONCURRENT_REQUESTS: '10000', ABR_STALE_AFTER_MS: '10000' }

new Command('npm run bench:abr --')
  .description(
    'latency and age of what bitrate logic is told while events come in, and how many times a direct query takes',
  )
  .option('--sessions <number>', 'live sessions, each says two events a second', wholeFrom(1), 5_000)
  .option('--requests <number>', 'requests for a session a second', wholeFrom(1), 1_000)
  .option('--seconds <number>', 'how long each way of asking goes on', wholeFrom(1), 20)
  .option('--synthetic <number>', 'sessions of the measurement without Kafka', wholeFrom(1), 50_000)
  .allowExcessArguments(false)
  .action((flags: Flags) => bench(flags))
  .parseAsync()

async function bench(flags: Flags): Promise<void> {
  await onStage(SETTINGS, stage => measure(flags, stage))
  console.table(synthetic(flags.synthetic))
}

/** What came of something done under load, and what the load was meanwhile. */
interface Used<T> {
  readonly value: T
  readonly events_a_second: number
  readonly cores: Readonly<Record<string, string>>
}

interface Told {
  readonly latency_ms: Quantiles
  readonly age_ms: Quantiles
  readonly statuses: Readonly<Record<string, number>>
  readonly unknown: number
  readonly cores: number
}

async function measure({ sessions, requests, seconds }: Flags, stage: Stage): Promise<void> {
  const { config, environment, brokers, broker, clickhouse, start } = stage
  const ingester = await start(ingesterPart({ config, environment }))
  const api = await start(apiPart({ config, environment }))
  const url = apiUrl(config)
  const key_file = devKeyFile(config.DATA_DIR)
  console.log(`load: ${sessions} sessions, ${2 * sessions} events/s`)
  let produced = 0
  const producer = produce(brokers, sessions, LOAD_S, 2 * sessions, line => {
    produced = Number(line.split(' ')[0])
  })
  while ((await vital(url, 'abr_live_sessions')) < sessions) await sleep(500)
  await sleep(1_000 * seconds)

  const pids = {
    ...{ api: api.pid, ingester: ingester.pid, clickhouse: clickhouse.pid, broker: broker.pid },
    producer: producer.pid,
  }
  const used = async <T>(act: () => Promise<T>): Promise<Used<T>> => {
    const cpus = (): [string, number][] => Object.entries(pids).map(([name, pid]) => [name, cpuSeconds(pid)])
    const [before, begun, produced_before] = [cpus(), performance.now(), produced]
    const value = await act()
    const s = (performance.now() - begun) / 1_000
    return {
      value,
      events_a_second: Math.round((produced - produced_before) / s),
      cores: Object.fromEntries(cpus().map(([name, cpu], i) => [name, ((cpu - (before[i]?.[1] ?? 0)) / s).toFixed(2)])),
    }
  }
  const asking = async (...args: number[]): Promise<Told> => {
    let told = ''
    const asker = play('asker.ts', [url, key_file, ...args], line => {
      told = line
    })
    await ended(asker)
    return JSON.parse(told) as Told
  }

  const idle = await used(() => sleep(1_000 * seconds))
  const before = await serverTimes(url)
  const state = await used(() => asking(requests, seconds, sessions, 0))
  const server = serverQuantiles(before, await serverTimes(url))
  const batch = await used(() => asking(BATCH.a_second, seconds, sessions, BATCH.size))
  const fresh = await freshness(brokers, config.KAFKA_TOPIC, url, key_file, seconds)
  const store = openStore(config.clickhouse)
  const direct = await used(() => directly(store, sessions, seconds))
  const rows = await used(() => readingRaw(store, seconds))
  await store.close()

  const ms = (n: number): string => n.toFixed(2)
  const row = ({ p50, p99, max }: Quantiles) => ({ 'p50 ms': ms(p50), 'p99 ms': ms(p99), 'max ms': ms(max) })
  const { latency_ms, age_ms, statuses, unknown } = state.value
  console.table({
    'a session, within the server': { 'p50 ms': server.p50, 'p99 ms': server.p99, 'max ms': '' },
    [FROM_MEMORY]: row(latency_ms),
    [`a batch of ${BATCH.size}, for its caller`]: row(batch.value.latency_ms),
    [DIRECT]: row(direct.value.latency_ms),
    'age of the answers': row(age_ms),
    'from the produce call to the answer': row(fresh),
  })
  console.log(`answers: ${JSON.stringify(statuses)}, ${unknown} of unknown sessions`)
  console.log(
    `a direct query takes ${(direct.value.latency_ms.p50 / latency_ms.p50).toFixed(0)} times as long in the median, ${(direct.value.latency_ms.p99 / latency_ms.p99).toFixed(1)} times at p99, and ${ms((1_000 * Number(direct.cores.clickhouse) - 1_000 * Number(idle.cores.clickhouse)) / direct.value.a_second)} ms of ClickHouse's CPU; from memory ${ms((1_000 * (Number(state.cores.api) - Number(idle.cores.api))) / requests)} ms of the API's`,
  )
  const load = ({ events_a_second, cores }: Used<unknown>) => ({ 'events/s': events_a_second, ...cores })
  console.table({
    'cores while nobody asks': load(idle),
    'while sessions are asked': { ...load(state), asker: state.value.cores.toFixed(2) },
    'while raw rows are read twice a second': load(rows),
  })
  console.log(
    `the other source, raw rows read twice a second: ${rows.value.events_a_second.toFixed(0)} events/s, ${((1e6 * (Number(rows.cores.clickhouse) - Number(idle.cores.clickhouse))) / rows.value.events_a_second).toFixed(1)} µs of ClickHouse and ${((1e6 * rows.value.own_cpu_s) / rows.value.events).toFixed(1)} µs of reading per event, before a window is kept; seen ${ms(rows.value.age_ms.p50)} ms (p99 ${ms(rows.value.age_ms.p99)}) after Kafka had them`,
  )
  console.log(
    `API: ${nowMb(api.pid).toFixed(0)} MB with ${sessions} sessions; held up to take them over: p99 ${ms(1_000 * (await quantileOf(url, 'abr_apply_seconds', 0.99)))} ms; event loop p99 ${ms(1_000 * (await vital(url, 'nodejs_eventloop_lag_p99_seconds')))} ms`,
  )
  if (producer.exitCode !== null) throw new Error('the load ended before all was asked: these are not figures')
  producer.kill()
  await once(producer, 'close')
}

const metricsOf = async (url: string): Promise<string[]> => (await (await fetch(`${url}/metrics`)).text()).split('\n')

async function vital(url: string, name: string): Promise<number> {
  const line = (await metricsOf(url)).find(text => text.startsWith(`${name} `))
  return Number(line?.split(' ').at(-1) ?? Number.NaN)
}

type Buckets = readonly (readonly [up_to_s: number, count: number])[]
const bucketsOf = (lines: readonly string[], prefix: string): Buckets =>
  lines
    .filter(line => line.startsWith(prefix))
    .map(
      line =>
        [Number(/le="([^"]+)"/.exec(line)?.[1]?.replace('+Inf', 'Infinity')), Number(line.split(' ').at(-1))] as const,
    )

const serverTimes = async (url: string): Promise<Buckets> =>
  bucketsOf(
    (await metricsOf(url)).filter(
      line => line.includes('route="/v1/abr/sessions/:id"') && line.includes('status="200"'),
    ),
    'query_request_seconds_bucket',
  )

/** The bucket's upper end: no more than that. */
function quantile(buckets: Buckets, p: number): number {
  const all = buckets.at(-1)?.[1] ?? 0
  return buckets.find(([, count]) => count >= p * all)?.[0] ?? Number.NaN
}

function serverQuantiles(before: Buckets, after: Buckets): { p50: string; p99: string } {
  const between = after.map(([up_to, count], i) => [up_to, count - (before[i]?.[1] ?? 0)] as const)
  return { p50: `≤ ${1_000 * quantile(between, 0.5)}`, p99: `≤ ${1_000 * quantile(between, 0.99)}` }
}

const quantileOf = async (url: string, name: string, p: number): Promise<number> =>
  quantile(bucketsOf(await metricsOf(url), `${name}_bucket`), p)
