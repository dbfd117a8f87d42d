/** What a measurement stands on: the parts of the service as processes in a directory that goes with it, a load, and what they used. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { KafkaSource } from '../ingest/load/kafka.ts'
import { type Config, type Environment, readConfig } from '../ingest/runtime/config.ts'
import { createLog } from '../ingest/runtime/log.ts'
import { migrate, retentionOf } from '../ingest/store/migrate.ts'
import { brokerPart } from '../local/kafka/broker.ts'
import { clickHousePart, ingesterPart } from '../local/parts.ts'
import { freePort } from '../local/ports.ts'
import { type Part, type PartOptions, type PartSpec, startPart } from '../local/supervise.ts'
import type { LoadName } from './load.ts'

const TOPIC = 'bench.events'

/** A broker, and a directory for everything that stands beside it. */
export interface Ground {
  readonly data_dir: string
  readonly brokers: string
  readonly broker: Part
  /** Whether the API goes first. Not where ingest is measured: a producer would go first as well, and players have machines of their own. */
  readonly precedence: boolean
}

export interface Stage {
  readonly config: Config
  readonly environment: Environment
  readonly brokers: string
  readonly broker: Part
  readonly clickhouse: Part
  start(spec: PartSpec): Promise<Part>
}

export const machine = (): string =>
  `${cpus().length} × ${cpus()[0]?.model}, node ${process.version}; ${new Date().toISOString()}`

/** A broker while `act` plays. */
export async function onGround<T>(act: (ground: Ground) => Promise<T>, precedence = false): Promise<T> {
  const data_dir = mkdtempSync(join(tmpdir(), 'stream-quality-bench-'))
  const remove = (): void => rmSync(data_dir, { recursive: true, force: true, maxRetries: 3 })
  const leave = (): void => process.exit(1)
  // Told to end: what was written is gigabytes.
  process.once('SIGINT', leave).once('SIGTERM', leave).once('exit', remove)
  try {
    return await withParts({ data_dir, precedence }, async start => {
      const port = await freePort()
      const broker = await start(brokerPart({ data_dir, port, environment: process.env }))
      return act({ data_dir, brokers: `127.0.0.1:${port}`, broker, precedence })
    })
  } finally {
    remove()
    process.off('SIGINT', leave).off('SIGTERM', leave).off('exit', remove)
  }
}

/** A ClickHouse of its own with topic and tables, while `act` plays. */
export async function withStore<T>(
  { data_dir, brokers, broker, precedence }: Ground,
  settings: Environment,
  act: (stage: Stage) => Promise<T>,
): Promise<T> {
  const own_dir = mkdtempSync(join(data_dir, 'store-'))
  const environment = {
    KAFKA_TOPIC: TOPIC,
    ...process.env,
    ...settings,
    DATA_DIR: own_dir,
    CLICKHOUSE_PORT: String(await freePort()),
    CLICKHOUSE_URL: undefined,
    KAFKA_BROKERS: brokers,
    INGEST_VITALS_PORT: String(await freePort()),
    HTTP_PORT: String(await freePort()),
  }
  return withParts({ data_dir: own_dir, precedence }, async start => {
    const clickhouse = await start(clickHousePart({ config: readConfig(environment), environment }))
    // Only now: the first start makes the password.
    const config = readConfig(environment)
    await makeTopic(config)
    await migrate(config.clickhouse, retentionOf(config))
    return act({ config, environment, brokers, broker, clickhouse, start })
  })
}

/** Where the most is measured: as many as there are cores, and as the rival has consumers. */
export const INGESTERS = 2

export interface Ingester {
  readonly part: Part
  readonly vitals_port: number
}

export const startIngesters = ({ environment, start }: Stage, count: number): Promise<Ingester[]> =>
  Promise.all(
    Array.from({ length: count }, async () => {
      const vitals_port = await freePort()
      const own = { ...environment, INGEST_VITALS_PORT: String(vitals_port) }
      return { part: await start(ingesterPart({ config: readConfig(own), environment: own })), vitals_port }
    }),
  )

/** The whole service as `npm run demo` has it, who is waited for first, while `act` plays. Says what machine this is. */
export async function onStage(settings: Environment, act: (stage: Stage) => Promise<void>): Promise<void> {
  console.log(`machine: ${machine()}`)
  await onGround(ground => withStore(ground, settings, act), true)
}

/** As the ingester makes it, if it is not there. */
export function makeTopic(config: Config): Promise<void> {
  const source = new KafkaSource({
    brokers: config.brokers,
    topic: config.KAFKA_TOPIC,
    group_id: config.KAFKA_GROUP_ID,
    session_timeout_ms: config.KAFKA_SESSION_TIMEOUT_MS,
    log: createLog('bench', 'silent'),
  })
  return source.ensureTopic(config.KAFKA_PARTITIONS)
}

async function withParts<T>(
  given: Pick<PartOptions, 'data_dir' | 'precedence'>,
  act: (start: Stage['start']) => Promise<T>,
): Promise<T> {
  const parts: Part[] = []
  const kill = (): void => {
    for (const part of parts) part.kill('SIGKILL')
  }
  // Before what they write to is removed.
  process.prependOnceListener('exit', kill)
  try {
    return await act(async spec => {
      const part = await startPart(spec, { ...given, report: () => {}, restart: false })
      parts.push(part)
      return part
    })
  } finally {
    for (const part of parts.reverse()) await part.stop()
    process.off('exit', kill)
  }
}

/** `producer.ts` at work; each line it prints goes to `onLine`. */
export function produce(
  brokers: string,
  sessions: number,
  seconds: number,
  rate: number,
  onLine: (line: string) => void,
  { topic = TOPIC, load = 'live' }: { readonly topic?: string; readonly load?: LoadName } = {},
): ChildProcess {
  return play('producer.ts', [brokers, topic, load, sessions, seconds, rate], onLine)
}

/** A file of this folder as a process of its own, so that its CPU is its own. */
export function play(
  file: string,
  args: readonly (string | number)[],
  onLine: (line: string) => void,
  node_flags: readonly string[] = [],
): ChildProcess {
  const child = spawn(
    process.execPath,
    [...node_flags, '--import', 'tsx', join(import.meta.dirname, file), ...args.map(arg => String(arg))],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  createInterface({ input: child.stdout }).on('line', onLine)
  return child
}

export const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve, reject) => {
    child.on('close', code =>
      code === 0 ? resolve() : reject(new Error(`${child.spawnargs.slice(1).join(' ')} ended with ${code}`)),
    )
  })

const TICK_MS = 1_000 / 100

export function cpuSeconds(pid: number | undefined): number {
  if (pid === undefined) return 0
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? []
  return ((Number(fields[11]) + Number(fields[12])) * TICK_MS) / 1_000
}
const memoryMb = (which: string, pid: number | undefined): number =>
  Number(new RegExp(`${which}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) / 1024
export const peakMb = (pid: number | undefined): number => memoryMb('VmHWM', pid)
export const nowMb = (pid: number | undefined): number => memoryMb('VmRSS', pid)

export const percentile = (values: readonly number[], p: number): number =>
  [...values].sort((a, b) => a - b)[Math.min(values.length - 1, Math.floor(values.length * p))] ?? Number.NaN
