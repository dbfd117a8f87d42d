/** What a measurement stands on: the parts of the service as processes in a directory that goes with it, a load, and what they used. */
import { type ChildProcess, spawn } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { cpus, tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { type Config, type Environment, readConfig } from '../ingest/runtime/config.ts'
import { brokerPart } from '../local/kafka/broker.ts'
import { clickHousePart, ingesterPart } from '../local/parts.ts'
import { freePort } from '../local/ports.ts'
import { type Part, type PartSpec, startPart } from '../local/supervise.ts'

const TOPIC = 'bench.events'

export interface Stage {
  readonly config: Config
  readonly environment: Environment
  readonly brokers: string
  readonly broker: Part
  readonly clickhouse: Part
  start(spec: PartSpec): Promise<Part>
}

/** A broker and ClickHouse with topic and tables, while `act` plays. Says what machine this is. */
export async function onStage(settings: Environment, act: (stage: Stage) => Promise<void>): Promise<void> {
  const data_dir = mkdtempSync(join(tmpdir(), 'stream-quality-bench-'))
  const parts: Part[] = []
  const start = async (spec: PartSpec): Promise<Part> => {
    const part = await startPart(spec, { data_dir, report: () => {}, restart: false })
    parts.push(part)
    return part
  }
  try {
    const kafka_port = await freePort()
    const brokers = `127.0.0.1:${kafka_port}`
    const environment = {
      ...process.env,
      ...settings,
      DATA_DIR: data_dir,
      CLICKHOUSE_PORT: String(await freePort()),
      CLICKHOUSE_URL: undefined,
      KAFKA_BROKERS: brokers,
      KAFKA_TOPIC: TOPIC,
      INGEST_VITALS_PORT: String(await freePort()),
      HTTP_PORT: String(await freePort()),
    }
    console.log(`machine: ${cpus().length} × ${cpus()[0]?.model}, node ${process.version}; ${new Date().toISOString()}`)
    const broker = await start(brokerPart({ data_dir, port: kafka_port, environment: process.env }))
    const clickhouse = await start(clickHousePart({ config: readConfig(environment), environment }))
    // Only now: the first start makes the password.
    const config = readConfig(environment)
    await (await start(ingesterPart({ config, environment }))).stop()
    await act({ config, environment, brokers, broker, clickhouse, start })
  } finally {
    for (const part of parts.reverse()) await part.stop()
    rmSync(data_dir, { recursive: true, force: true, maxRetries: 3 })
  }
}

/** `producer.ts` at work; each line it prints goes to `onLine`. */
export function produce(
  brokers: string,
  sessions: number,
  seconds: number,
  rate: number,
  onLine: (line: string) => void,
): ChildProcess {
  return play('producer.ts', [brokers, TOPIC, sessions, seconds, rate], onLine)
}

/** A file of this folder as a process of its own, so that its CPU is its own. */
export function play(file: string, args: readonly (string | number)[], onLine: (line: string) => void): ChildProcess {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', join(import.meta.dirname, file), ...args.map(arg => String(arg))],
    { stdio: ['ignore', 'pipe', 'inherit'] },
  )
  createInterface({ input: child.stdout }).on('line', onLine)
  return child
}

export const ended = (child: ChildProcess): Promise<void> =>
  new Promise((resolve, reject) => {
    child.on('close', code => (code === 0 ? resolve() : reject(new Error(`${child.spawnargs[3]} ended with ${code}`))))
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
