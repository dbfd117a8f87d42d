/**
 * The whole service on this machine: broker, ClickHouse, ingester, query API, started in the order of the data and stopped
 * in reverse, so that what was emitted is stored before the place it is stored in goes away.
 * A part that the environment points elsewhere (KAFKA_BROKERS, CLICKHOUSE_URL) is not started.
 */
import { mkdirSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { type Config, type Environment, readConfig } from '../ingest/runtime/config.ts'
import { brokerPart } from './kafka/broker.ts'
import { apiPart, apiUrl, clickHousePart, ingesterPart } from './parts.ts'
import { mustHaveRoom } from './room.ts'
import { type Part, type PartEvent, type PartOptions, type PartSpec, startPart } from './supervise.ts'

export interface ServiceOptions extends Pick<PartOptions, 'watch'> {
  /** The variables of ingest/runtime/variables.ts, and what a process needs besides (PATH, HOME, JAVA_HOME). */
  readonly environment: Environment
  readonly report: (event: PartEvent) => void
  /** What may take long before a part can start: fetching the broker. */
  readonly announce?: (what: string) => void
  /** Gives the start up, and ends what was started. */
  readonly signal?: AbortSignal
}

export interface Service {
  readonly config: Config
  readonly parts: readonly Part[]
  readonly api_url: string
  /** Where the API keeps the key that opens everything on this machine. */
  readonly key_file: string
  /** Resolves with a sentence when a part was given up: the rest still runs. Never, if all goes well. */
  readonly failed: Promise<string>
  /** The last started first, each with its own deadline. */
  stop(): Promise<void>
}

/** Below this a few minutes of events fill the disk, and both Kafka and ClickHouse stop when it is full. */
const LEAST_FREE_BYTES = 1024 ** 3

/**
 * @throws CannotStart with a sentence that names what is missing; nothing is left running then
 * @throws ConfigError naming the variable
 */
export async function startService(options: ServiceOptions): Promise<Service> {
  const data_dir = resolve(readConfig(options.environment).DATA_DIR)
  // Absolute, as each part has a working directory of its own.
  const environment = { ...options.environment, DATA_DIR: data_dir }
  const config = readConfig(environment)
  mkdirSync(data_dir, { recursive: true })
  mustHaveRoom(data_dir, LEAST_FREE_BYTES, 'the service')
  const parts: Part[] = []
  const stop = async (): Promise<void> => {
    for (const part of parts.splice(0).reverse()) await part.stop()
  }
  const { report, watch, signal } = options
  try {
    for (const spec of partsOf(config, environment, options.announce)) {
      signal?.throwIfAborted()
      const given = { ...(watch && { watch }), ...(signal && { signal }) }
      parts.push(await startPart(spec, { data_dir, report, precedence: true, ...given }))
    }
  } catch (error) {
    await stop()
    throw error
  }
  return {
    // Read again: the first start of ClickHouse made its password.
    config: readConfig(environment),
    parts: [...parts],
    api_url: apiUrl(config),
    key_file: join(data_dir, 'dev-key'),
    failed: firstGivenUp(parts),
    stop,
  }
}

/** In the order of the data; each may rely on those before it. */
function partsOf(config: Config, environment: Environment, announce?: (what: string) => void): PartSpec[] {
  const specs: PartSpec[] = []
  const { DATA_DIR: data_dir, KAFKA_PORT: port } = config
  if (config.KAFKA_BROKERS === undefined)
    specs.push(brokerPart({ data_dir, port, environment, ...(announce && { announce }) }))
  if (config.CLICKHOUSE_URL === undefined) specs.push(clickHousePart({ config, environment }))
  return [...specs, ingesterPart({ config, environment }), apiPart({ config, environment })]
}

/** Where a browser sees the console. The key stands behind the #, which no browser sends. */
export const consoleUrl = ({ api_url, key_file }: Pick<Service, 'api_url' | 'key_file'>): string =>
  `${api_url}/#key=${readFileSync(key_file, 'utf8').trim()}`

function firstGivenUp(parts: readonly Part[]): Promise<string> {
  return new Promise(resolveFailed => {
    for (const part of parts)
      void part.ended.then(end => {
        if (end.reason === 'given_up') resolveFailed(`The ${part.name} was given up: ${end.how}`)
      })
  })
}
