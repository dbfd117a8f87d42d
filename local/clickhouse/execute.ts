/**
 * From an understood statement to the engine: what is run, in which order, and what may be dropped on the way.
 * `input('…')` becomes a temporary table that is filled from the spool first; all rows of a body are one block in it, so
 * they stay one block, and one part, in the table they are meant for.
 */
import { setImmediate, setTimeout } from 'node:timers/promises'
import type { Answer, Engine, Lease } from './engine.ts'
import { Failure } from './failure.ts'
import { leavesATrace } from './policy.ts'
import type { Asked } from './request.ts'
import { literal, type QueryContext } from './seats.ts'
import type { Spooled } from './spool.ts'
import { isNamed, isWord, type Statement } from './statement.ts'

/** A statement handed to a thread is in system.processes well within this. */
const VISIBLE_AFTER_MS = 50
const INPUT_TABLE = '`rows of this request`'
/** The body in one block, whatever the settings of the statement it is for. */
const ONE_BLOCK = 'max_insert_threads = 1, min_insert_block_size_rows = 100000000, min_insert_block_size_bytes = 0'
const OK_QUERY_ID = /^[A-Za-z0-9_.:/-]{1,200}$/
/** SQL for the client's own query_id, which the engine has no place for and so stands behind the statement. */
const OWN_QUERY_ID = String.raw`extract(query, '/\\* query_id=(\\S+) \\*/')`

export interface Executor {
  /** @param gone true once the client no longer waits: what has not begun by then never does */
  execute(statement: Statement, asked: Asked, spooled: Spooled | undefined, gone: () => boolean): Promise<Answer>
  readonly busy: number
}

export function createExecutor(engine: Engine): Executor {
  const begun = new Set<number>()
  /** What is running must be seen by who asks what is running, and what was dropped must not begin thereafter. */
  const settle = async (): Promise<void> => {
    await setImmediate()
    const left = Math.max(0, ...begun) + VISIBLE_AFTER_MS - performance.now()
    if (left > 0) await setTimeout(left)
  }
  return {
    get busy() {
      return engine.running + engine.waiting
    },
    async execute(statement, asked, spooled, gone) {
      const asksForRunning =
        statement.verb === 'KILL' ||
        statement.tokens.some(token => isNamed(token) && token.value.toLowerCase() === 'processes')
      if (asksForRunning) await settle()
      return engine.lease(contextOf(statement, asked, asksForRunning), async lease => {
        if (leavesATrace(statement) || asked.settings.has('readonly') || asked.settings.has('profile')) lease.spoil()
        const watched: Lease = {
          ...lease,
          async run(sql, format) {
            if (gone()) throw Failure.of(210, 'The client left before the query began; it was dropped.')
            const at = performance.now()
            begun.add(at)
            try {
              return await lease.run(sql, format)
            } finally {
              begun.delete(at)
            }
          },
        }
        const mark = asked.chosen && OK_QUERY_ID.test(asked.query_id) ? ` /* query_id=${asked.query_id} */` : ''
        if (spooled && statement.data) return insertFrom(spooled, statement, mark, watched, lease)
        return watched.run(
          (statement.verb === 'KILL' ? killByEitherId(statement) : statement.sql) + mark,
          asked.default_format,
        )
      })
    },
  }
}

function contextOf(statement: Statement, asked: Asked, urgent: boolean): QueryContext {
  const { database, settings, params } = asked
  return { database, settings, params, urgent, unbound: statement.placeholders.filter(name => !params.has(name)) }
}

async function insertFrom(
  spooled: Spooled,
  statement: Statement,
  mark: string,
  run: Lease,
  lease: Lease,
): Promise<Answer> {
  const { data, sql } = statement
  if (data === undefined) throw Failure.of(1002, 'An insert without data.')
  const infile = `FROM INFILE ${literal(spooled.path)} COMPRESSION 'none'`
  const [input, ...others] = data.inputs
  if (input === undefined) {
    const format = data.format === 'Values' ? 'FORMAT Values' : sql.slice(data.clause)
    return run.run(`${sql.slice(0, data.source)} ${infile}${mark} ${sql.slice(data.source, data.clause)} ${format}`)
  }
  if (others.length > 0) throw Failure.of(48, 'More than one input() in a statement.')
  const fill = `INSERT INTO ${INPUT_TABLE} ${infile}${mark} SETTINGS ${ONE_BLOCK} FORMAT ${data.format}`
  try {
    await run.run(`CREATE TEMPORARY TABLE ${INPUT_TABLE} (${input.structure}) ENGINE = Memory; ${fill}`)
    return await run.run(sql.slice(0, input.start) + INPUT_TABLE + sql.slice(input.end, data.clause) + mark)
  } finally {
    await lease.run(`DROP TEMPORARY TABLE IF EXISTS ${INPUT_TABLE}`).catch(() => lease.spoil())
  }
}

/** KILL QUERY WHERE query_id = 'x' means the engine's id, as system.processes shows it, or the one the client chose. */
function killByEitherId(statement: Statement): string {
  const { sql, tokens } = statement
  const where = tokens.find(token => isWord(token, 'WHERE'))
  const end =
    tokens.findLast((token, at) => isWord(token, 'SYNC', 'ASYNC', 'TEST', 'FORMAT') && at > 2)?.start ?? sql.length
  const ids = tokens.filter(token => isNamed(token) && token.value === 'query_id' && token.end <= end)
  if (where === undefined || ids.length === 0) return sql
  const condition = sql.slice(where.end, end)
  const own = ids.reduceRight(
    (text, id) => text.slice(0, id.start - where.end) + OWN_QUERY_ID + text.slice(id.end - where.end),
    condition,
  )
  return `${sql.slice(0, where.end)} (${condition}) OR (${own}) ${sql.slice(end)}`
}
