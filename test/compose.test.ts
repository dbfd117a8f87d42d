/**
 * What cannot be run where there is no Docker, held as far as it can be: compose.yaml says what exists and in which order it becomes
 * healthy, and what the Dockerfile puts into the image runs, without the packages that it leaves out.
 */
import { execFileSync, spawn } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, existsSync, mkdirSync, readFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { parse } from 'yaml'
import { z } from 'zod'
import { buildConsole } from '../dashboards/console/build.ts'
import { files } from '../dashboards/grafana/files.ts'
import { DASHBOARDS_PATH } from '../dashboards/grafana/provisioning.ts'
import { PLUGIN, PLUGIN_VERSION } from '../dashboards/grafana/query.ts'
import { readConfig } from '../ingest/runtime/config.ts'
import { variables } from '../ingest/runtime/variables.ts'
import { migrate } from '../ingest/store/migrate.ts'
import { freePort } from '../local/ports.ts'
import { RETENTION } from './support/seed.ts'
import { sharedServices, temporaryDirectory, unique } from './support/services.ts'

const ROOT = join(import.meta.dirname, '..')
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8')

const scalar = z.union([z.string(), z.number()])
const service = z.strictObject({
  image: z.string().regex(/^[a-z0-9/.-]+(:\d+(\.\d+)+)?$/),
  build: z.literal('.').optional(),
  command: z.array(z.string()).optional(),
  environment: z.record(z.string(), scalar),
  depends_on: z.record(z.string(), z.strictObject({ condition: z.literal('service_healthy') })).optional(),
  ports: z.array(z.string().regex(/^127\.0\.0\.1:\d+:\d+$/)).optional(),
  volumes: z.array(z.string()).optional(),
  ulimits: z.record(z.string(), z.strictObject({ soft: z.number(), hard: z.number() })).optional(),
  restart: z.literal('unless-stopped').optional(),
  stop_grace_period: z
    .string()
    .regex(/^\d+s$/)
    .optional(),
  healthcheck: z.strictObject({
    test: z.tuple([z.literal('CMD')], z.string()),
    interval: z.string(),
    timeout: z.string(),
    retries: z.number(),
    start_period: z.string(),
  }),
})
const compose = z
  .strictObject({
    name: z.string(),
    'x-clickhouse': z.record(z.string(), scalar),
    services: z.record(z.string(), service),
    volumes: z.record(z.string(), z.strictObject({})),
  })
  .parse(parse(read('compose.yaml'), { merge: true }))
const { services } = compose

/** `${NAME:-default}` as it is where nothing is set. */
const byDefault = (text: string): string => text.replaceAll(/\$\{\w+:-([^}]*)\}/g, '$1')
const environmentOf = (name: string): Record<string, string> =>
  Object.fromEntries(
    Object.entries(services[name]?.environment ?? {}).map(([key, value]) => [key, byDefault(String(value))]),
  )

describe('compose.yaml', () => {
  test('becomes healthy in order, each after what it needs', () => {
    const order: string[] = []
    const visit = (name: string, path: string[] = []): void => {
      expect(path).not.toContain(name)
      for (const before of Object.keys(services[name]?.depends_on ?? {})) visit(before, [...path, name])
      if (!order.includes(name)) order.push(name)
    }
    for (const name of Object.keys(services)) visit(name)
    expect(order).toEqual(['kafka', 'clickhouse', 'ingester', 'api', 'grafana'])
  })

  test('mounts what is there, and keeps what must be kept', () => {
    const mounts = Object.values(services).flatMap(({ volumes = [] }) => volumes.map(text => text.split(':')))
    for (const [from = ''] of mounts)
      expect(from.startsWith('./') ? existsSync(join(ROOT, from)) : Object.hasOwn(compose.volumes, from), from).toBe(
        true,
      )
    expect(mounts.map(([, to]) => to)).toContain(DASHBOARDS_PATH)
  })

  test.each(['ingester', 'api'])('%s: our own configuration takes its variables', name => {
    const environment = environmentOf(name)
    expect(Object.keys(environment).filter(name => !(name in variables.shape))).toEqual([])
    const config = readConfig(environment)
    expect(config.clickhouse.url).toBe('http://clickhouse:8123')
    expect(config.brokers).toEqual(['kafka:9092'])
  })

  test('asks and publishes the ports that are listened on', () => {
    const { HTTP_PORT } = readConfig(environmentOf('api'))
    const { INGEST_VITALS_HOST, INGEST_VITALS_PORT } = readConfig(environmentOf('ingester'))
    expect(INGEST_VITALS_HOST).toBe('0.0.0.0')
    expect(services.ingester?.ports).toEqual([`127.0.0.1:${INGEST_VITALS_PORT}:${INGEST_VITALS_PORT}`])
    expect(services.api?.ports).toEqual([`127.0.0.1:${HTTP_PORT}:${HTTP_PORT}`])
    expect(services.api?.healthcheck.test.join(' ')).toContain(`:${HTTP_PORT}/readyz`)
    expect(services.ingester?.healthcheck.test.join(' ')).toContain(`:${INGEST_VITALS_PORT}/readyz`)
    expect(instructions.find(([word]) => word === 'EXPOSE')?.[1]).toBe(String(HTTP_PORT))
  })

  test('Grafana has every variable that its files name, and the plugin they are for', () => {
    const environment = environmentOf('grafana')
    const named = [...files(RETENTION)]
      .filter(([path]) => path.endsWith('.yaml') && !path.endsWith('/rules.yaml'))
      .flatMap(([, text]) => [...text.matchAll(/\$\{(\w+)\}/g)].map(([, name = '']) => name))
    expect([...new Set(named)].filter(name => !(name in environment))).toEqual([])
    expect(environment.RUNBOOK_URL).toBe('dashboards/RUNBOOK.md')
    expect(environment.GF_PLUGINS_PREINSTALL_SYNC).toBe(`${PLUGIN}@${PLUGIN_VERSION}`)
    const reader = read('dashboards/grafana/clickhouse-reader.xml')
    expect(reader).toContain(`GRANT SELECT ON ${environment.CLICKHOUSE_DATABASE}.*`)
    expect(reader).toMatch(/<readonly>2<\/readonly>/)
  })
})

/** One instruction a line; comments and empty lines left out. */
const instructionsOf = (text: string) =>
  text
    .split('\n')
    .filter(line => line !== '' && !line.startsWith('#'))
    .map(line => [line.split(' ', 1)[0] ?? '', line.slice(line.indexOf(' ') + 1)] as const)
const instructions = instructionsOf(read('Dockerfile'))
const stages = read('Dockerfile')
  .split(/^(?=FROM )/m)
  .map(instructionsOf)
  .filter(([first]) => first?.[0] === 'FROM')

describe('Dockerfile', () => {
  test('has stages; the last runs as nobody special and copies what the others made', () => {
    expect(stages).toHaveLength(3)
    const last = stages.at(-1) ?? []
    expect(last.find(([word]) => word === 'USER')?.[1]).toBe('node')
    const made = last.filter(([word, rest]) => word === 'COPY' && rest.startsWith('--from=')).map(([, rest]) => rest)
    expect(made).toEqual(['--from=packages /app/node_modules node_modules', '--from=build /app/dist dist'])
    expect(last.filter(([word]) => word === 'RUN').map(([, rest]) => rest)).toEqual([
      'mkdir /data && chown node:node /data',
    ])
  })

  test('copies what is there and what .dockerignore lets in', () => {
    const let_in = read('.dockerignore')
      .split('\n')
      .filter(line => line.startsWith('!'))
      .map(line => line.slice(1))
    const copied = instructions
      .filter(([word, rest]) => word === 'COPY' && !rest.startsWith('--from='))
      .flatMap(([, rest]) => rest.split(' ').slice(0, -1))
    for (const file of copied) expect([existsSync(join(ROOT, file)), let_in.includes(file)], file).toEqual([true, true])
  })

  test('what is in the image runs: the API and the ingester, without development packages and the embedded engine', {
    timeout: 300_000,
  }, async () => {
    const image = temporaryDirectory('image')
    execFileSync(join(ROOT, 'node_modules/.bin/tsc'), [
      '-p',
      join(ROOT, 'tsconfig.build.json'),
      '--outDir',
      join(image, 'dist'),
    ])
    cpSync(join(ROOT, 'ingest/store/schema'), join(image, 'dist/ingest/store/schema'), { recursive: true })
    cpSync(join(ROOT, 'package.json'), join(image, 'package.json'))
    await buildConsole(join(image, 'dist/console'))
    for (const path of productionPackages()) {
      mkdirSync(join(image, dirname(path)), { recursive: true })
      execFileSync('cp', ['-al', join(ROOT, path), join(image, path)])
    }
    expect(['chdb', 'vitest', 'typescript'].filter(name => existsSync(join(image, 'node_modules', name)))).toEqual([])

    const { brokers, clickhouse } = sharedServices()
    const database = unique('image')
    await migrate({ ...clickhouse, database }, RETENTION)
    const [http, vitals] = [await freePort(), await freePort()]
    const environment = {
      ...{
        PATH: process.env.PATH,
        DATA_DIR: image,
        KAFKA_BROKERS: brokers,
        KAFKA_TOPIC: unique('image'),
        KAFKA_GROUP_ID: database,
      },
      ...{
        CLICKHOUSE_URL: clickhouse.url,
        CLICKHOUSE_USER: clickhouse.username,
        CLICKHOUSE_PASSWORD: clickhouse.password,
      },
      ...{ CLICKHOUSE_DATABASE: database, HTTP_PORT: String(http), INGEST_VITALS_PORT: String(vitals) },
    }
    const command = JSON.parse(instructions.find(([word]) => word === 'CMD')?.[1] ?? '[]') as string[]
    const commands = [command, services.ingester?.command ?? []]
    const running = commands.map(([, ...args]) =>
      spawn(process.execPath, args, { cwd: image, env: environment, stdio: 'ignore' }),
    )
    onTestFinished(async () => {
      for (const child of running) child.kill('SIGTERM')
      await Promise.all(running.map(child => child.exitCode ?? once(child, 'exit')))
    })
    for (const port of [http, vitals]) await ready(`http://127.0.0.1:${port}/readyz`, running)
    const page = await fetch(`http://127.0.0.1:${http}/`)
    expect([page.status, page.headers.get('content-type')]).toEqual([200, expect.stringContaining('text/html')])
  })
})

/** Paths of what `npm ci --omit=dev --omit=optional` installs. */
function productionPackages(): string[] {
  const flags = z.object({
    dev: z.boolean().optional(),
    optional: z.boolean().optional(),
    devOptional: z.boolean().optional(),
  })
  const lock = z.object({ packages: z.record(z.string(), flags) }).parse(JSON.parse(read('package-lock.json')))
  return Object.entries(lock.packages)
    .filter(([path, { dev, optional, devOptional }]) => path !== '' && !dev && !optional && !devOptional)
    .map(([path]) => path)
    .filter(path => path.lastIndexOf('node_modules/') === 0)
}

async function ready(url: string, running: readonly { exitCode: number | null }[]): Promise<void> {
  const deadline = Date.now() + 120_000
  for (;;) {
    const answer = await fetch(url).catch(() => undefined)
    if (answer?.ok) return
    if (running.some(({ exitCode }) => exitCode !== null))
      throw new Error(`a process of the image ended before ${url} was ready`)
    if (Date.now() > deadline) throw new Error(`${url} was not ready in time: ${answer?.status}`)
    await new Promise(resolve => setTimeout(resolve, 200))
  }
}
