/**
 * The engine's sessions, and what was said to each. A query's settings, parameters and database are said to its session
 * in front of it and unsaid in front of the next one. Parameters go by `SET param_x`, which a session keeps to itself;
 * chdb's own binding is one queue for the whole process, where a long query with a parameter stops all others.
 */
import { BASELINE } from './engine-config.ts'
import { Failure } from './failure.ts'

/** What is needed of a session. */
interface Session {
  query(sql: string): unknown
  queryAsync(
    sql: string,
    options?: { format: string },
  ): Promise<{ bytes(): Uint8Array; readonly rowsRead: number; readonly bytesRead: number; readonly elapsed: number }>
  close(): void
}

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

const DEFAULT_DATABASE = 'default'

export const literal = (text: string): string =>
  `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'").replaceAll('\0', '\\0')}'`
const named = (name: string): string => `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``

/** One session and what was last said to it. */
export class Seat {
  readonly session: Session
  spoiled = false
  #database = DEFAULT_DATABASE
  #changed: readonly string[] = []
  /** Parameters cannot be unset, only overwritten. */
  readonly #bound = new Set<string>()

  constructor(session: Session) {
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
export class Pool {
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

  /** In this order: with its last session the engine shuts down, and one started again in the same process is lame. */
  renew(seat: Seat): Seat {
    const fresh = this.#open()
    seat.session.close()
    return fresh
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
