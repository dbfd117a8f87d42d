/**
 * ClickHouse as a library: the only file that knows of chdb. A pool of sessions over one data directory; each runs one
 * query at a time, on a thread of libuv's pool (main.ts makes that pool large enough before it exists).
 *
 * A query's settings, parameters and database are said to its session in front of it and unsaid in front of the next one.
 * Parameters go by `SET param_x`, which a session keeps to itself; chdb's own binding is one queue for the whole process.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { BASELINE, configXml, usersXml } from './engine-config.ts'
import { Failure } from './failure.ts'

type Chdb = typeof import('chdb')
type ChdbSession = InstanceType<Chdb['Session']>

export interface QueryContext {
  readonly database: string
  readonly settings: ReadonlyMap<string, string>
  /** In the escaped form of ClickHouse's HTTP interface. */
  readonly params: ReadonlyMap<string, string>
}

export interface Answer {
  readonly bytes: Uint8Array
  readonly rows_read: number
  readonly bytes_read: number
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

/** What keeps the engine from starting; the message says what to do. */
export class EngineUnavailable extends Error {
  override readonly name = 'EngineUnavailable'
}

const DEFAULT_DATABASE = 'default'

const literal = (text: string): string => `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\0', '\\0')}'`
const named = (name: string): string => `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``

/** One session and what was last said to it. */
class Seat {
  readonly session: ChdbSession
  #database = DEFAULT_DATABASE
  #changed: readonly string[] = []
  spoiled = false

  constructor(session: ChdbSession) {
    this.session = session
    session.query(Object.entries(BASELINE).map(([name, value]) => `SET ${name} = ${literal(value)}`).join('; '))
  }

  /** The statements that turn the session from what it was into what this query wants. */
  prepare({ database, settings, params }: QueryContext): string[] {
    const said: string[] = []
    for (const name of this.#changed.filter(name => !settings.has(name)))
      said.push(`SET ${name} = ${BASELINE[name] === undefined ? 'DEFAULT' : literal(BASELINE[name])}`)
    if (database !== this.#database) said.push(`USE ${named(database)}`)
    for (const [name, value] of settings) said.push(`SET ${name} = ${literal(value)}`)
    for (const [name, value] of params) said.push(`SET param_${name} = ${literal(value)}`)
    this.#changed = [...settings.keys()]
    this.#database = database
    return said
  }
}

async function loadChdb(): Promise<Chdb> {
  try {
    return await import('chdb')
  } catch (error) {
    throw new EngineUnavailable(
      `The embedded ClickHouse (the optional package chdb) could not be loaded: run "npm install" on Linux or macOS (x64 or arm64, glibc), or set CLICKHOUSE_URL to a ClickHouse server of yours. Cause: ${firstLine(error)}`,
    )
  }
}

const firstLine = (error: unknown): string => String(error instanceof Error ? error.message : error).split('\n')[0] ?? ''

/**
 * @param directory created if missing; one process at a time
 * @throws EngineUnavailable
 */
export async function openEngine(directory: string, sessions: number, queue: number): Promise<Engine> {
  const chdb = await loadChdb()
  const configFile = writeConfig(directory)
  const open = () => new Seat(new chdb.Session(directory, { connectionArgs: [`--config-file=${configFile}`] }))
  const idle: Seat[] = [open()]
  const waiting: Array<(seat: Seat) => void> = []
  let seats = 1
  let running = 0

  const take = (): Promise<Seat> | Seat => {
    const free = idle.pop()
    if (free) return free
    if (seats < sessions) {
      seats++
      return open()
    }
    if (waiting.length >= queue) throw Failure.of(202, `Too many simultaneous queries: ${sessions} running, ${queue} waiting.`)
    return new Promise(resolve => waiting.push(resolve))
  }
  const giveBack = (seat: Seat): void => {
    if (seat.spoiled) seat.session.close()
    const ready = seat.spoiled ? open() : seat
    const next = waiting.shift()
    if (next) next(ready)
    else idle.push(ready)
  }

  return {
    get running() {
      return running
    },
    get waiting() {
      return waiting.length
    },
    async lease(context, use) {
      const seat = await take()
      running++
      try {
        return await use(leaseOf(seat, context))
      } finally {
        running--
        giveBack(seat)
      }
    },
    close() {
      for (const seat of idle) seat.session.close()
    },
  }
}

/** The context is said together with the first statement: one call into the engine instead of two. */
function leaseOf(seat: Seat, context: QueryContext): Lease {
  let preparation = seat.prepare(context)
  return {
    async run(sql, format = 'TabSeparated') {
      const text = [...preparation, sql].join('; ')
      const prepared = preparation.length > 0
      preparation = []
      try {
        const result = await seat.session.queryAsync(text, { format })
        return { bytes: result.bytes(), rows_read: result.rowsRead, bytes_read: result.bytesRead, elapsed_s: result.elapsed }
      } catch (error) {
        // How far the preparation got is unknown.
        if (prepared) seat.spoiled = true
        throw asFailure(error)
      }
    },
    spoil() {
      seat.spoiled = true
    },
  }
}

function asFailure(error: unknown): Failure {
  const code = error instanceof Error && 'clickhouseCode' in error ? error.clickhouseCode : undefined
  return Failure.ofEngine(typeof code === 'number' ? code : undefined, error instanceof Error ? error.message : String(error))
}

function writeConfig(directory: string): string {
  const configFile = resolve(directory, 'engine-config.xml')
  const usersFile = resolve(directory, 'engine-users.xml')
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 })
    writeFileSync(usersFile, usersXml(), { mode: 0o600 })
    writeFileSync(configFile, configXml(usersFile), { mode: 0o600 })
  } catch (error) {
    throw new EngineUnavailable(`The data directory ${join(directory)} cannot be written to (${firstLine(error)}): make it writable or set DATA_DIR to another one.`)
  }
  return configFile
}
