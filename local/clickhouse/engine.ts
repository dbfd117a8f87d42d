/**
 * ClickHouse as a library: the only file that knows of chdb. A pool of sessions over one data directory; each runs one
 * query at a time, on a thread of libuv's pool (main.ts makes that pool large enough before it exists).
 *
 * A query's settings, parameters and database are said to its session in front of it and unsaid in front of the next one.
 * Parameters go by `SET param_x`, which a session keeps to itself; chdb's own binding is one queue for the whole process.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { BASELINE, configXml, usersXml } from './engine-config.ts'
import { Failure } from './failure.ts'

type Chdb = typeof import('chdb')
type ChdbSession = InstanceType<Chdb['Session']>

export interface QueryContext {
  readonly database: string
  readonly settings: ReadonlyMap<string, string>
  /** In the escaped form of ClickHouse's HTTP interface. */
  readonly params: ReadonlyMap<string, string>
  /** Placeholders of the statement with no value: they must not find one that an earlier query left behind. */
  readonly unbound: readonly string[]
  /** Has sessions kept for it: stopping a query must be possible when every other session is busy. */
  readonly urgent: boolean
}

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

const DEFAULT_DATABASE = 'default'

export const literal = (text: string): string =>
  `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\0', '\\0')}'`
const named = (name: string): string => `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``

/** One session and what was last said to it. */
class Seat {
  readonly session: ChdbSession
  spoiled = false
  #database = DEFAULT_DATABASE
  #changed: readonly string[] = []
  /** Parameters cannot be unset, only overwritten. */
  readonly #bound = new Set<string>()

  constructor(session: ChdbSession) {
    this.session = session
    const settings = Object.entries(BASELINE).map(([name, value]) => `${name} = ${literal(value)}`)
    session.query(`SET ${settings.join(', ')}`)
  }

  remembers(names: readonly string[]): boolean {
    return names.some(name => this.#bound.has(name))
  }

  /** The statements that turn the session from what it was into what this query wants. */
  prepare({ database, settings, params }: QueryContext): string[] {
    const changes = [
      ...this.#changed
        .filter(name => !settings.has(name))
        .map(name => `${name} = ${BASELINE[name] === undefined ? 'DEFAULT' : literal(BASELINE[name])}`),
      ...[...settings].map(([name, value]) => `${name} = ${literal(value)}`),
      ...[...params].map(([name, value]) => `param_${name} = ${literal(value)}`),
    ]
    const use = database === this.#database ? [] : [`USE ${named(database)}`]
    for (const name of params.keys()) this.#bound.add(name)
    this.#changed = [...settings.keys()]
    this.#database = database
    return changes.length > 0 ? [`SET ${changes.join(', ')}`, ...use] : use
  }
}

/** A bounded number of seats, made when first needed, handed out in order of arrival. */
class Pool {
  readonly #open: () => Seat
  readonly #size: number
  readonly #queue: number
  readonly #idle: Seat[] = []
  readonly waiting: Array<(seat: Seat) => void> = []
  #seats = 0

  constructor(open: () => Seat, size: number, queue: number) {
    this.#open = open
    this.#size = size
    this.#queue = queue
  }

  get running(): number {
    return this.#seats - this.#idle.length
  }

  async take(): Promise<Seat> {
    const free = this.#idle.pop()
    if (free) return free
    if (this.#seats < this.#size) {
      const seat = this.#open()
      this.#seats++
      return seat
    }
    if (this.waiting.length >= this.#queue)
      throw Failure.of(202, `Too many simultaneous queries: ${this.#size} running, ${this.#queue} waiting.`)
    return new Promise(resolve => this.waiting.push(resolve))
  }

  renew(seat: Seat): Seat {
    seat.session.close()
    return this.#open()
  }

  giveBack(seat: Seat): void {
    const ready = seat.spoiled ? this.renew(seat) : seat
    const next = this.waiting.shift()
    if (next) next(ready)
    else this.#idle.push(ready)
  }

  close(): void {
    for (const seat of this.#idle) seat.session.close()
  }
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
  try {
    common.giveBack(await common.take())
  } catch (error) {
    throw new EngineUnavailable(whyNotOpened(directory, error))
  }
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
  let preparation = seat.prepare(context)
  return {
    async run(sql, format = 'TabSeparated') {
      const text = [...preparation, sql].join('; ')
      const prepared = preparation.length > 0
      preparation = []
      try {
        const { rowsRead, bytesRead, elapsed, ...result } = answerOf(await seat.session.queryAsync(text, { format }))
        return { ...result, rows: rowsRead, size: bytesRead, elapsed_s: elapsed }
      } catch (error) {
        // How far the preparation got is unknown.
        if (prepared) seat.spoiled = true
        await forgetFailed(seat)
        throw asFailure(error)
      }
    },
    spoil() {
      seat.spoiled = true
    },
  }
}

const answerOf = (result: Awaited<ReturnType<ChdbSession['queryAsync']>>) => ({
  bytes: result.bytes(),
  rowsRead: result.rowsRead,
  bytesRead: result.bytesRead,
  elapsed: result.elapsed,
})

/** A failed query stays in system.processes, and KILL … SYNC waits for it, until its session runs another one. */
async function forgetFailed(seat: Seat): Promise<void> {
  try {
    await seat.session.queryAsync('SELECT 1')
  } catch {
    seat.spoiled = true
  }
}

function asFailure(error: unknown): Failure {
  const code = error instanceof Error && 'clickhouseCode' in error ? error.clickhouseCode : undefined
  return Failure.ofEngine(typeof code === 'number' ? code : undefined, messageOf(error))
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
