/**
 * Our own processes as parts of the local service: how each is started and by which answer it is ready.
 * Each reads its configuration from the environment it is given, as it would anywhere else.
 */
import { join, resolve } from 'node:path'
import { buildConsole } from '../dashboards/console/build.ts'
import type { Config, Environment } from '../ingest/runtime/config.ts'
import { urlOf } from '../ingest/runtime/listen.ts'
import type { Command } from './child.ts'
import { THREADS } from './clickhouse/engine-config.ts'
import { portMustBeFree } from './ports.ts'
import type { PartSpec } from './supervise.ts'

const ROOT = join(import.meta.dirname, '..')

export interface NodePartOptions {
  readonly config: Config
  /** What the process reads its configuration from; the same variables that `config` came from. */
  readonly environment: Environment
  /** Command line of the process. */
  readonly flags?: readonly string[]
}

/** ClickHouse, embedded. Its stop ends the queries that run, the longest of its steps take 27 s together. */
export function clickHousePart({ config, environment }: NodePartOptions): PartSpec {
  const port = config.CLICKHOUSE_PORT
  return {
    name: 'clickhouse',
    command: async () => {
      await portMustBeFree({ host: '127.0.0.1', port, variables: 'CLICKHOUSE' })
      // Without the size it would start itself again with it, and the pid we know would not be the engine's.
      return node('local/clickhouse/main.ts', { UV_THREADPOOL_SIZE: String(THREADS), TZ: 'UTC', ...environment })
    },
    probe: httpProbe(`http://127.0.0.1:${port}/ping`),
    ready_within_ms: 60_000,
    stop_within_ms: 30_000,
    gives_way: true,
  }
}

/** The ingester. It stores what is in hand before it ends: 52 s if every step takes as long as it may. */
export function ingesterPart({ config, environment, flags = [] }: NodePartOptions): PartSpec {
  const { INGEST_VITALS_HOST: host, INGEST_VITALS_PORT: port } = config
  return {
    name: 'ingester',
    command: async () => {
      await portMustBeFree({ host, port, variables: 'INGEST_VITALS' })
      return node('ingest/main.ts', environment, flags, ['--max-semi-space-size=64'])
    },
    probe: httpProbe(`${urlOf({ host, port })}/readyz`),
    ready_within_ms: 120_000,
    stop_within_ms: 55_000,
    gives_way: true,
  }
}

/** It serves the console, which is built anew at each start: that takes less than a second. */
export function apiPart({ config, environment }: NodePartOptions): PartSpec {
  return {
    name: 'api',
    command: async () => {
      // Somebody's own build stays what it is.
      if (environment.CONSOLE_DIR) return node('query/main.ts', environment)
      const CONSOLE_DIR = join(resolve(config.DATA_DIR), 'console')
      await buildConsole(CONSOLE_DIR)
      return node('query/main.ts', { ...environment, CONSOLE_DIR })
    },
    probe: httpProbe(`${apiUrl(config)}/readyz`),
    ready_within_ms: 60_000,
    stop_within_ms: 20_000,
  }
}

/** Where this machine reaches the API. */
export const apiUrl = ({ HTTP_HOST: host, HTTP_PORT: port }: Config): string => urlOf({ host, port })

function node(
  file: string,
  environment: Environment,
  flags: readonly string[] = [],
  nodeFlags: readonly string[] = [],
): Command {
  return { file: process.execPath, args: [...nodeFlags, '--import', 'tsx', file, ...flags], environment, cwd: ROOT }
}

/** 200: ready. Any other answer: its first line says what it waits for. */
function httpProbe(url: string): PartSpec['probe'] {
  return async signal => {
    const response = await fetch(url, { signal, headers: { connection: 'close' } })
    const said = (await response.text()).split('\n', 1)[0] ?? ''
    return response.status === 200 ? undefined : said.slice(0, 200) || `answers ${response.status}`
  }
}
