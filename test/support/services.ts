/**
 * Real parts for tests: one Kafka and one ClickHouse shared by the whole run, and private ones that a test may kill.
 * A test file that wants any of them imports this file; the others run without (vitest.config.ts).
 *
 * Sharing works because names keep tests apart: take topics, groups and databases from `unique`.
 */
import { randomBytes } from 'node:crypto'
import { mkdtempSync } from 'node:fs'
import { join } from 'node:path'
import { inject } from 'vitest'
import { type Config, type Environment, readConfig } from '../../ingest/runtime/config.ts'
import { brokerPart } from '../../local/kafka/broker.ts'
import { apiPart, apiUrl, clickHousePart, ingesterPart } from '../../local/parts.ts'
import { freePort } from '../../local/ports.ts'
import { type Part, type PartEvent, type PartOptions, type PartSpec, startPart } from '../../local/supervise.ts'

export interface ClickHouseAccess {
  readonly url: string
  readonly username: string
  readonly password: string
}
/** What the whole run shares. */
export interface SharedServices {
  readonly brokers: string
  readonly clickhouse: ClickHouseAccess
  /** Every directory of this run lies below it, and goes with it. */
  readonly root: string
}

declare module 'vitest' {
  interface ProvidedContext {
    services: SharedServices
  }
}

export const sharedServices = (): SharedServices => inject('services')

/** A name nobody else uses, for a topic, a group or a database. `prefix`: a letter, then letters, digits, underscores. */
export const unique = (prefix: string): string => `${prefix}_${randomBytes(6).toString('hex')}`

/** A database of the shared ClickHouse that nobody else uses. It is not there yet: migrating makes it. */
export const ownDatabase = (prefix: string): ClickHouseAccess & { readonly database: string } => ({
  ...sharedServices().clickhouse,
  database: unique(prefix),
})

/** An empty directory that goes with the run. */
export const temporaryDirectory = (prefix = 'data'): string => mkdtempSync(join(sharedServices().root, `${prefix}-`))

export interface Service {
  readonly part: Part
  readonly data_dir: string
  readonly port: number
  /** What the part went through, oldest first. */
  readonly events: readonly PartEvent[]
}

export interface ServiceOptions extends Pick<PartOptions, 'restart' | 'watch'> {
  /** To start again on what another one left. Default: a new one. */
  readonly data_dir?: string
  /** Default: a free one. */
  readonly port?: number
  /** Over the environment of the tests. */
  readonly environment?: Environment
}

const started = new Set<Part>()

/** Ends what this file started, the last first. For `afterAll`; also of use to see that stopping works. */
export async function stopServices(): Promise<void> {
  for (const part of [...started].reverse()) await part.stop()
  started.clear()
}

// A test that fails hard must not leave a broker behind; nothing asynchronous runs any more here.
process.on('exit', () => {
  for (const part of started) part.kill('SIGKILL')
})

export async function startBroker(options: ServiceOptions = {}): Promise<Service & { readonly brokers: string }> {
  const place = await placeOf(options)
  const environment = { ...process.env, ...options.environment }
  const service = await startService(
    brokerPart({ ...place, environment, heap_mb: 256, short_lived: true }),
    place,
    options,
  )
  return { ...service, brokers: `127.0.0.1:${place.port}` }
}

export async function startClickHouse(options: ServiceOptions = {}): Promise<Service & ClickHouseAccess> {
  const place = await placeOf(options)
  const { config, environment } = configured(options, {
    DATA_DIR: place.data_dir,
    CLICKHOUSE_PORT: String(place.port),
    CLICKHOUSE_URL: undefined,
  })
  const service = await startService(clickHousePart({ config, environment }), place, options)
  // Only now: the first start makes the password.
  return { ...service, ...readConfig(environment).clickhouse }
}

export interface PipelineOptions extends ServiceOptions {
  readonly brokers: string
  readonly clickhouse: ClickHouseAccess
  readonly database: string
  readonly topic: string
  readonly group_id?: string
  readonly flags?: readonly string[]
}

export async function startIngester(options: PipelineOptions): Promise<Service & { readonly vitals_url: string }> {
  const place = await placeOf(options)
  const configuration = configured(options, { ...connected(options, place), INGEST_VITALS_PORT: String(place.port) })
  const service = await startService(ingesterPart({ ...configuration, flags: options.flags ?? [] }), place, options)
  return { ...service, vitals_url: `http://127.0.0.1:${place.port}` }
}

export async function startApi(options: PipelineOptions): Promise<Service & { readonly url: string }> {
  const place = await placeOf(options)
  const configuration = configured(options, { ...connected(options, place), HTTP_PORT: String(place.port) })
  const service = await startService(apiPart(configuration), place, options)
  return { ...service, url: apiUrl(configuration.config) }
}

interface Place {
  readonly data_dir: string
  readonly port: number
}

const placeOf = async (options: ServiceOptions): Promise<Place> => ({
  data_dir: options.data_dir ?? temporaryDirectory(),
  port: options.port ?? (await freePort()),
})

async function startService(spec: PartSpec, place: Place, options: ServiceOptions): Promise<Service> {
  const events: PartEvent[] = []
  const part = await startPart(spec, {
    data_dir: place.data_dir,
    report: event => events.push(event),
    restart: options.restart ?? false,
    ...(options.watch ? { watch: options.watch } : {}),
  })
  started.add(part)
  return { part, events, ...place }
}

const connected = (options: PipelineOptions, place: Place): Environment => ({
  DATA_DIR: place.data_dir,
  KAFKA_BROKERS: options.brokers,
  KAFKA_TOPIC: options.topic,
  KAFKA_GROUP_ID: options.group_id ?? options.topic,
  CLICKHOUSE_URL: options.clickhouse.url,
  CLICKHOUSE_USER: options.clickhouse.username,
  CLICKHOUSE_PASSWORD: options.clickhouse.password,
  CLICKHOUSE_DATABASE: options.database,
})

function configured(options: ServiceOptions, own: Environment): { config: Config; environment: Environment } {
  const environment = { ...process.env, ...own, ...options.environment }
  return { config: readConfig(environment), environment }
}
