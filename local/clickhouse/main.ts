/**
 * ClickHouse for one machine: the embedded engine behind its HTTP interface, as a process of its own.
 * It owns `DATA_DIR/clickhouse`; who knows the password in DATA_DIR may ask it anything that stays inside the database.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { existsSync, linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import type { Server } from 'node:http'
import { dirname, join, resolve } from 'node:path'
import { Command } from 'commander'
import { type Config, ConfigError, passwordFile, readConfig } from '../../ingest/runtime/config.ts'
import { listen } from '../../ingest/runtime/listen.ts'
import { createLog } from '../../ingest/runtime/log.ts'
import { onSignal, runShutdown } from '../../ingest/runtime/shutdown.ts'
import { type Engine, EngineUnavailable, openEngine } from './engine.ts'
import { LIMITS, THREADS } from './engine-config.ts'
import { createExecutor } from './execute.ts'
import { createFront } from './server.ts'
import { openSpool } from './spool.ts'

const FINISH_MS = 10_000
const KILL_MS = 5_000

/**
 * libuv makes its threads once, four of them, before the first line of a module runs: a larger number can only be given
 * to a new process. Whoever starts this with UV_THREADPOOL_SIZE set saves that step.
 */
function runInChild(): void {
  const environment = { ...process.env, UV_THREADPOOL_SIZE: String(THREADS) }
  const child: ChildProcess = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    env: environment,
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    // In a process group of its own: a terminal's Ctrl-C reaches it once, through us.
    detached: true,
  })
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(code ?? (signal ? 1 : 0)))
}

async function main(config: Config): Promise<void> {
  const log = createLog('clickhouse', config.LOG_LEVEL)
  // The engine's time zone is that of the process; chdb heeds no configuration of it.
  process.env.TZ = 'UTC'
  const directory = resolve(config.DATA_DIR, 'clickhouse')
  const engine = await openEngine(directory, LIMITS)
  const spool = openSpool(directory)
  const executor = createExecutor(engine)
  const credentials = { user: config.CLICKHOUSE_USER, password: ensurePassword(passwordFile(config.DATA_DIR)) }
  const server = createFront({ credentials, executor, spool })
  try {
    await listen(server, { host: '127.0.0.1', port: config.CLICKHOUSE_PORT, variables: 'CLICKHOUSE' })
  } catch (error) {
    spool.close()
    engine.close()
    throw error
  }

  const stop = async (signal: string): Promise<number> => {
    log.info({ signal, running: engine.running, waiting: engine.waiting }, 'clickhouse_stopping')
    const closed = new Promise(resolve => server.close(resolve))
    server.closeIdleConnections()
    const failed = await runShutdown(
      [
        {
          name: 'finish_queries',
          deadline_ms: FINISH_MS,
          run: () => until(() => engine.running + engine.waiting === 0),
        },
        { name: 'kill_queries', deadline_ms: KILL_MS, run: () => killAll(engine) },
        { name: 'close_connections', deadline_ms: 1_000, run: () => closeAll(server, closed) },
        { name: 'close_engine', deadline_ms: 10_000, run: () => engine.close() },
        { name: 'remove_spool', deadline_ms: 1_000, run: () => spool.close() },
      ],
      log,
    )
    log.info({ failed }, 'clickhouse_stopped')
    return failed.some(name => name !== 'finish_queries') ? 1 : 0
  }
  onSignal(stop)
  // Our parent, where there is one, holds the other end: without it nobody would stop us.
  process.on('disconnect', () => process.kill(process.pid, 'SIGTERM'))
  // Said last: who reads it may stop us at once.
  log.info({ port: config.CLICKHOUSE_PORT, data_dir: directory, sessions: LIMITS.sessions }, 'clickhouse_ready')
}

function closeAll(server: Server, closed: Promise<unknown>): Promise<unknown> {
  server.closeAllConnections()
  return closed
}

async function until(reached: () => boolean): Promise<void> {
  while (!reached()) await new Promise(resolve => setTimeout(resolve, 20))
}

async function killAll(engine: Engine): Promise<void> {
  if (engine.running === 0) return
  const context = { database: 'default', settings: new Map(), params: new Map(), unbound: [], urgent: true }
  await engine.lease(context, lease => lease.run("KILL QUERY WHERE query NOT LIKE '%system.processes%' ASYNC"))
  await until(() => engine.running === 0)
}

/** Made once, whole or not at all: written beside and linked into place, so two who start at once agree on one. */
function ensurePassword(file: string): string {
  if (!existsSync(file)) {
    mkdirSync(dirname(file), { recursive: true })
    const draft = join(dirname(file), `.clickhouse-password-${process.pid}`)
    writeFileSync(draft, `${randomBytes(24).toString('base64url')}\n`, { mode: 0o600, flush: true })
    try {
      linkSync(draft, file)
    } catch (error) {
      if (!existsSync(file)) throw error
    } finally {
      rmSync(draft, { force: true })
    }
  }
  return readFileSync(file, 'utf8').trim()
}

new Command('clickhouse')
  .description(
    'ClickHouse for one machine, on 127.0.0.1. Configured by DATA_DIR, CLICKHOUSE_PORT, CLICKHOUSE_USER and LOG_LEVEL.',
  )
  .allowExcessArguments(false)
  .action(async () => {
    try {
      const config = readConfig(process.env)
      if (process.env.UV_THREADPOOL_SIZE === undefined) runInChild()
      else await main(config)
    } catch (error) {
      if (!(error instanceof ConfigError) && !(error instanceof EngineUnavailable)) throw error
      console.error(`clickhouse: ${error.message}`)
      process.exit(1)
    }
  })
  .parse()
