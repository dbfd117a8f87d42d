/**
 * What can be taken away as a table: the groups of a breakdown, the sessions of a list. The same questions as their routes ask, but
 * read row by row. How many rows there are is known before the first is sent.
 */
import { type Desk, orderOf, subjectOf, valued, type Wanted } from '../metrics/answer.ts'
import { METRICS, type MetricId } from '../metrics/catalogue.ts'
import { DIMENSIONS, type Dimension } from '../metrics/filter.ts'
import { Mistake } from '../metrics/mistake.ts'
import type { Question } from '../metrics/question.ts'
import { breakdownQuestion, type Order } from '../metrics/questions.ts'
import type { Window } from '../metrics/range.ts'
import type { AskStreamed } from '../metrics/streamed.ts'
import { type ListWanted, listed, listQuestion, metricsOf } from '../sessions/list.ts'
import type { Cell, Table } from './table.ts'

export const EXPORT_ROWS_MAX = 100_000

export interface Export extends Table {
  readonly window: Window
  /** How many rows the table has. */
  readonly rows_count: number
  /** How many it would have without a limit. */
  readonly rows_total: number
}

export interface ExportDesk extends Desk {
  readonly askStreamed: AskStreamed
}

export async function exportBreakdown(
  desk: ExportDesk,
  wanted: Wanted,
  by: readonly Dimension[],
  asked: Order | undefined,
  limit: number | undefined,
): Promise<Export> {
  const order = orderOf(wanted.metric, asked)
  const { subject } = await subjectOf(desk, wanted)
  const question = breakdownQuestion(METRICS[wanted.metric], subject, by, order, limit ?? EXPORT_ROWS_MAX)
  const columns = [...by, 'value', 'reason', 'n', 'sessions', 'frames', 'share_of_bad']
  const table = await opened(
    desk,
    question,
    limit,
    ({ groups_total }) => groups_total,
    row => {
      const { value, reason = null, n } = valued(wanted.metric, subject.condition, row)
      return [...row.labels, value, reason, n, row.sessions, row.frames, row.share_of_bad]
    },
  )
  return { columns, window: subject.window, ...table }
}

export async function exportSessions(desk: ExportDesk, wanted: ListWanted, limit: number | undefined): Promise<Export> {
  const { subject } = await subjectOf(desk, wanted)
  const question = listQuestion(wanted, subject, limit ?? EXPORT_ROWS_MAX)
  const ids: readonly MetricId[] = metricsOf(wanted)
  const columns = ['session_id', ...DIMENSIONS, 'first_seen_at', 'last_seen_at', 'played_s', ...ids]
  const table = await opened(
    desk,
    question,
    limit,
    ({ sessions_total }) => sessions_total,
    row => {
      const { session_id, context, first_seen_at, last_seen_at, played_s, metrics } = listed(row, ids)
      const dimensions = DIMENSIONS.map(name => context[name])
      return [session_id, ...dimensions, first_seen_at, last_seen_at, played_s, ...ids.map(id => metrics[id] ?? null)]
    },
  )
  return { columns, window: subject.window, ...table }
}

/**
 * Waits for the first rows, which know how many there are.
 * @throws Mistake naming `limit` where they are too many and nobody said that the first will do
 */
async function opened<Row>(
  desk: ExportDesk,
  question: Question<Row>,
  limit: number | undefined,
  totalOf: (row: Row) => number,
  cellsOf: (row: Row) => Cell[],
): Promise<Omit<Export, 'columns' | 'window'>> {
  const streamed = desk.askStreamed(question)
  const { value: first = [] } = await streamed.next()
  const rows_total = first[0] === undefined ? 0 : totalOf(first[0])
  if (limit === undefined && rows_total > EXPORT_ROWS_MAX) {
    await streamed.return()
    const detail = `${rows_total} rows are more than ${EXPORT_ROWS_MAX}: narrow the range or the filter, or give a limit`
    throw new Mistake('too_expensive', 'limit', detail)
  }
  async function* rows() {
    yield first.map(cellsOf)
    for await (const some of streamed) yield some.map(cellsOf)
  }
  return {
    rows: rows(),
    close: async () => {
      await streamed.return()
    },
    rows_count: Math.min(rows_total, limit ?? EXPORT_ROWS_MAX),
    rows_total,
  }
}
