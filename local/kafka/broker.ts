/**
 * A real Apache Kafka broker as a part of the local service. The process is Java itself: a signal to its pid is a signal to
 * the broker. State is in `${data_dir}/kafka`; nothing outside loopback can reach it.
 */
import { execFile } from 'node:child_process'
import { readdirSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { promisify } from 'node:util'
import type { Environment } from '../../ingest/runtime/config.ts'
import { CannotStart, type Command } from '../child.ts'
import { freePort, portMustBeFree } from '../ports.ts'
import type { PartSpec } from '../supervise.ts'
import { brokerJars } from './jars.ts'
import { findJava } from './java.ts'
import { probeBroker } from './probe.ts'
import { brokerProperties } from './properties.ts'
import { prepareStorage } from './storage.ts'

export interface BrokerOptions {
  /** Absolute. */
  readonly data_dir: string
  readonly port: number
  /** PATH, JAVA_HOME, HOME and XDG_CACHE_HOME of it are used. */
  readonly environment: Environment
  readonly heap_mb?: number
  /** For a broker that lives a minute: starts with two thirds of the CPU time, by compiling less well what runs long. */
  readonly short_lived?: boolean
  readonly retention_hours?: number
  readonly announce?: (what: string) => void
}

/** The page cache does the work; the heap holds requests in flight, of up to 20 MB each. */
const HEAP_MB = 512
/**
 * What it comes to need within an hour of 1,500 events/s, touched at once: so its memory stands still from the beginning, and growth means
 * something. By itself Java begins with a 64th of the machine's memory, and touches it bit by bit before it collects for the first time.
 */
const HEAP_AT_FIRST_MB = 128
const RETENTION_HOURS = 24
const READY_WITHIN_MS = 120_000
/** The broker needs about 1.5 s; after that nothing is lost by killing it, the next start checks the open segments. */
const STOP_WITHIN_MS = 15_000

export function brokerPart(options: BrokerOptions): PartSpec {
  return {
    name: 'kafka',
    command: () => prepareBroker(options),
    probe: () => probeBroker(options.port),
    ready_within_ms: READY_WITHIN_MS,
    stop_within_ms: STOP_WITHIN_MS,
    gives_way: true,
  }
}

/** Checks and lays out all a start needs. @throws CannotStart naming what is missing */
export async function prepareBroker(options: BrokerOptions): Promise<Command> {
  const { environment, port, data_dir } = options
  await portMustBeFree({ host: '127.0.0.1', port, variables: 'KAFKA' })
  const java = await findJava(environment)
  const jars = await brokerJars(environment, options.announce ?? (() => {}))
  const directory = join(data_dir, 'kafka')
  const controller_port = await freePort()
  const jvm = javaArguments(jars, options)
  const configure = async (name: string, log_dir: string): Promise<string> => {
    const path = join(directory, name)
    const retention_hours = options.retention_hours ?? RETENTION_HOURS
    await mkdir(directory, { recursive: true })
    await writeFile(path, brokerProperties({ port, controller_port, log_dir, retention_hours }))
    return path
  }
  const log_dir = await prepareStorage(directory, kafkaVersion(jars), async (fresh, cluster_id) => {
    const config = await configure('format.properties', fresh)
    const format = ['kafka.tools.StorageTool', 'format', `--cluster-id=${cluster_id}`, '--config', config]
    await promisify(execFile)(java, [...jvm, ...format], { env: environment }).catch(error => {
      throw new CannotStart(`Kafka could not format ${fresh}: ${String(error.stderr || error.message).trim()}`)
    })
  })
  const config = await configure('server.properties', log_dir)
  return { file: java, args: [...jvm, 'kafka.Kafka', config], environment }
}

function javaArguments(jars: string, { heap_mb = HEAP_MB, short_lived = false }: BrokerOptions): string[] {
  return [
    `-Xms${HEAP_AT_FIRST_MB}m`,
    '-XX:+AlwaysPreTouch',
    `-Xmx${heap_mb}m`,
    ...(short_lived ? ['-XX:TieredStopAtLevel=1'] : []),
    // One collector thread: on two cores shared with the rest of the service, pauses are short and the process stays small.
    '-XX:+UseSerialGC',
    // A broker without memory must die and be started again, not linger half alive.
    '-XX:+ExitOnOutOfMemoryError',
    '-Djava.awt.headless=true',
    `-Dlog4j2.configurationFile=${join(import.meta.dirname, 'log4j2.xml')}`,
    '-cp',
    join(jars, '*'),
  ]
}

function kafkaVersion(jars: string): string {
  const versions = readdirSync(jars).map(jar => /^kafka_2\.13-(\d[\d.]*)\.jar$/.exec(jar)?.[1])
  const version = versions.find(found => found !== undefined)
  if (version === undefined)
    throw new CannotStart(`${jars} has no Kafka broker in it: delete it, the next start fetches it again`)
  return version
}
