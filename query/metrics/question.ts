/**
 * A question is a constant: `{ id, sql, params, row }`. Asking one bounds what it may cost, notes how long it took under its id, and
 * checks its rows: an answer that is not of the declared form is our fault and never reaches a caller.
 */
import { z } from 'zod'
import { errorCode, type Params, type Settings, type Store } from '../../ingest/store/clickhouse.ts'

export interface Question<Row> {
  /** Snake case, fixed: names the question in vitals and in ClickHouse's query log. */
  readonly id: string
  readonly sql: string
  readonly params: Params
  readonly row: z.ZodType<Row>
  /** It reads so little that threads would only wait for each other: on a busy machine for most of its time. */
  readonly reads_little?: boolean
}

/** The store gave no answer to a question. What it said is the cause: for the log, not for a caller. */
export class StoreFailure extends Error {
  override readonly name = 'StoreFailure'
  readonly question: string
  /** ClickHouse's code; undefined where the fault lay on the way to it. */
  readonly code: number | undefined

  constructor(question: string, cause: unknown) {
    super(`no answer to ${question}`, { cause })
    this.question = question
    this.code = errorCode(cause)
  }
}

export type Ask = <Row>(question: Question<Row>) => Promise<Row[]>

/** ClickHouse's own limit; the client waits a little longer, so that the answer says what happened. */
export const QUERY_SECONDS_MAX = 10
const QUERY_BYTES_MAX = 2_000_000_000
const QUERY_ROWS_MAX = 100_000
/** More than two cores read in QUERY_SECONDS_MAX; what cost.ts lets in is far below. */
const QUERY_ROWS_READ_MAX = 2_000_000_000

export const LIMITS: Settings = {
  max_execution_time: QUERY_SECONDS_MAX,
  max_memory_usage: QUERY_BYTES_MAX,
  max_rows_to_read: QUERY_ROWS_READ_MAX,
  max_result_rows: QUERY_ROWS_MAX,
}

/** @param observe told the question's id and how long ClickHouse took, failed or not */
export function createAsk(store: Store, observe: (id: string, seconds: number, ok: boolean) => void): Ask {
  return async ({ id, sql, params, row, reads_little = false }) => {
    const begun = performance.now()
    const took = () => (performance.now() - begun) / 1_000
    let rows: unknown[]
    try {
      rows = await store.query<unknown>(sql, params, {
        ...LIMITS,
        ...(reads_little ? { max_threads: 1 } : {}),
        log_comment: `ask ${id}`,
      })
    } catch (error) {
      observe(id, took(), false)
      throw new StoreFailure(id, error)
    }
    observe(id, took(), true)
    return z.array(row).parse(rows)
  }
}
