/**
 * A question whose rows are handed on while they come, a few at a time and no faster than they are taken: what it holds in memory does
 * not depend on how many there are. ClickHouse ends its work before it sends the first row, so that a slow reader keeps nothing
 * running there, and most that can fail fails before anything was sent.
 */
import { z } from 'zod'
import type { Store } from '../../ingest/store/clickhouse.ts'
import { LIMITS, type Question, StoreFailure } from './question.ts'

export type AskStreamed = <Row>(question: Question<Row>) => AsyncGenerator<Row[], void, undefined>

/** @param observe told the question's id and how long its rows took, failed or not; nothing where the reader left */
export function createAskStreamed(
  store: Store,
  observe: (id: string, seconds: number, ok: boolean) => void,
): AskStreamed {
  return async function* ({ id, sql, params, row }) {
    const begun = performance.now()
    const took = () => (performance.now() - begun) / 1_000
    const rows = z.array(row)
    try {
      const settings = { ...LIMITS, wait_end_of_query: 1, log_comment: `stream ${id}` }
      for await (const some of store.stream<unknown>(sql, params, settings)) yield rows.parse(some)
    } catch (error) {
      observe(id, took(), false)
      throw error instanceof z.ZodError ? error : new StoreFailure(id, error)
    }
    observe(id, took(), true)
  }
}
