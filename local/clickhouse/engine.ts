/**
 * ClickHouse as a library: the only file that knows of chdb. Sessions over one data directory; each runs one query at a
 * time, on a thread of libuv's pool (main.ts makes that pool large enough before it exists).
 * Hands out sessions that know a query's context, and turns the engine's faults into `Failure`.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { configXml, MUST_FAIL, shadowFunctions, usersXml } from './engine-config.ts'
import { Failure } from './failure.ts'
import { Pool, type QueryContext, Seat } from './seats.ts'

type Chdb = typeof import('chdb')

const ACCESS_DENIED = 497
const THROWN_BY_QUERY = 395

export interface Answer {
  readonly bytes: Uint8Array
  readonly rows: number
  readonly size: number
  readonly elapsed_s: number
}

export interface Lease {
  /** Runs one statement. @throws Failure with ClickHouse's code */
  run(sql: string, format?: string): Promise<Answer>
  /** The session will not serve anybody else: something was changed in it that cannot be unsaid. */
  spoil(): void
}

export interface Engine {
  readonly running: number
  readonly waiting: number
  /** Runs `use` with a session of its own, which knows the context. @throws Failure 202 when too many wait */
  lease<T>(context: QueryContext, use: (lease: Lease) => Promise<T>): Promise<T>
  close(): void
}

export interface EngineLimits {
  /** Queries at a time, and beside them those that are urgent. */
  readonly sessions: number
  readonly urgent: number
  readonly queue: number
}

/** What keeps the engine from starting; the message says what to do. */
export class EngineUnavailable extends Error {
  override readonly name = 'EngineUnavailable'
}

/**
 * @param directory created if missing; one process at a time
 * @throws EngineUnavailable
 */
export async function openEngine(directory: string, limits: EngineLimits): Promise<Engine> {
  const chdb = await loadChdb()
  const configFile = writeConfig(directory)
  const open = () => new Seat(new chdb.Session(directory, { connectionArgs: [`--config-file=${configFile}`] }))
  const common = new Pool(open, limits.sessions, limits.queue)
  const urgent = new Pool(open, limits.urgent, limits.queue)
  const first = await common.take().catch(error => {
    throw new EngineUnavailable(whyNotOpened(directory, error))
  })
  await assertConfined(first)
  common.giveBack(first)
  return {
    get running() {
      return common.running + urgent.running
    },
    get waiting() {
      return common.waiting.length + urgent.waiting.length
    },
    async lease(context, use) {
      const pool = context.urgent ? urgent : common
      const taken = await pool.take()
      const seat = taken.remembers(context.unbound) ? pool.renew(taken) : taken
      try {
        return await use(leaseOf(seat, context))
      } finally {
        pool.giveBack(seat)
      }
    },
    close() {
      common.close()
      urgent.close()
    },
  }
}

/** The context is said together with the first statement: one call into the engine instead of two. */
function leaseOf(seat: Seat, context: QueryContext): Lease {
  let said = false
  return {
    async run(sql, format = 'TabSeparated') {
      const preparation = said ? [] : seat.prepare(context)
      said = true
      try {
        const result = await seat.session.queryAsync([...preparation, sql].join('; '), { format })
        return {
          bytes: result.bytes(),
          rows: result.rowsRead,
          size: result.bytesRead,
          elapsed_s: result.elapsed,
        }
      } catch (error) {
        // How far the preparation got is unknown.
        if (preparation.length > 0) seat.spoiled = true
        await forgetFailed(seat)
        throw asFailure(error)
      }
    },
    spoil() {
      seat.spoiled = true
    },
  }
}

async function assertConfined({ session }: Seat): Promise<void> {
  for (const sql of MUST_FAIL) {
    const outcome = await session.queryAsync(sql).then(
      () => undefined,
      error => codeOf(error),
    )
    if (outcome !== ACCESS_DENIED && outcome !== THROWN_BY_QUERY)
      throw new EngineUnavailable(
        `this version of chdb cannot be kept inside its data directory (${sql}): install the version package.json names`,
      )
  }
}

/** A failed query stays in system.processes, and KILL … SYNC waits for it, until its session runs another one. */
async function forgetFailed(seat: Seat): Promise<void> {
  try {
    await seat.session.queryAsync('SELECT 1')
  } catch {
    seat.spoiled = true
  }
}

const asFailure = (error: unknown): Failure => Failure.ofEngine(codeOf(error), messageOf(error))

function codeOf(error: unknown): number | undefined {
  const code = error instanceof Error && 'clickhouseCode' in error ? error.clickhouseCode : undefined
  return typeof code === 'number' ? code : undefined
}

const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error))
const firstLine = (error: unknown): string => messageOf(error).split('\n')[0] ?? ''

async function loadChdb(): Promise<Chdb> {
  try {
    return await import('chdb')
  } catch (error) {
    throw new EngineUnavailable(
      `the embedded ClickHouse (the optional package chdb) could not be loaded: run "npm install" on Linux with glibc or on macOS, or set CLICKHOUSE_URL to a ClickHouse server of yours (${firstLine(error)})`,
    )
  }
}

function writeConfig(directory: string): string {
  const configFile = resolve(directory, 'engine-config.xml')
  const usersFile = resolve(directory, 'engine-users.xml')
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    mkdirSync(resolve(directory, 'user_defined'), { recursive: true, mode: 0o700 })
    for (const [file, sql] of shadowFunctions()) writeFileSync(resolve(directory, 'user_defined', file), sql)
    writeFileSync(usersFile, usersXml(), { mode: 0o600 })
    writeFileSync(configFile, configXml(usersFile), { mode: 0o600 })
  } catch (error) {
    throw new EngineUnavailable(
      `the data directory ${directory} cannot be written to: make it writable, or set DATA_DIR to another one (${firstLine(error)})`,
    )
  }
  return configFile
}

/** The engine says why only on stderr; the commonest reason can be read from the lock it leaves in the directory. */
function whyNotOpened(directory: string, error: unknown): string {
  const holder = lockHolder(directory)
  return holder === undefined
    ? `the data directory ${directory} could not be opened (${firstLine(error)}); the line the engine wrote above says why`
    : `the data directory ${directory} is in use by process ${holder}: stop that one first, or set DATA_DIR to another directory`
}

function lockHolder(directory: string): number | undefined {
  try {
    const pid = Number(/^PID: (\d+)/m.exec(readFileSync(resolve(directory, 'status'), 'utf8'))?.[1])
    if (pid === process.pid) return undefined
    process.kill(pid, 0)
    return pid
  } catch {
    return undefined
  }
}
