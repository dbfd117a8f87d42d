/**
 * Rows as text for other programs, as they come: CSV (RFC 4180) or NDJSON. A text that a spreadsheet would run as a formula gets a `'`
 * in front in CSV; a number stays a number. Unknown is an empty field, or null.
 */
import { stringify } from 'csv-stringify/sync'

export type Cell = string | number | null
export interface Table {
  /** Of every row. */
  readonly columns: readonly string[]
  readonly rows: AsyncIterable<(readonly Cell[])[]>
  /** No more rows will be taken. */
  readonly close: () => Promise<void>
}

export const FORMATS = ['csv', 'ndjson'] as const
export type Format = (typeof FORMATS)[number]
export const CONTENT_TYPES: Readonly<Record<Format, string>> = {
  csv: 'text/csv; charset=utf-8; header=present',
  ndjson: 'application/x-ndjson; charset=utf-8',
}

const csv = (rows: readonly (readonly Cell[])[]): string =>
  stringify(
    rows.map(row => [...row]),
    { escape_formulas: true, record_delimiter: '\r\n' },
  )

async function* csvOf({ columns, rows }: Table): AsyncGenerator<string, void, undefined> {
  yield csv([columns])
  for await (const some of rows) yield csv(some)
}

async function* ndjsonOf({ columns, rows }: Table): AsyncGenerator<string, void, undefined> {
  for await (const some of rows)
    yield some
      .map(row => `${JSON.stringify(Object.fromEntries(columns.map((name, i) => [name, row[i] ?? null])))}\n`)
      .join('')
}

const WRITERS = { csv: csvOf, ndjson: ndjsonOf }

/**
 * A body that takes rows only when it is read. If they fail, so does it, and the connection ends before its end: whoever reads it
 * cannot take it for the whole.
 * @param failed told why, where rows failed
 */
export const bodyOf = (table: Table, format: Format, failed: (error: unknown) => void): ReadableStream<Uint8Array> =>
  streamOf(WRITERS[format](table), table.close, failed)

/** @param close nobody reads any further */
export function streamOf(
  texts: AsyncIterator<string, void>,
  close: () => Promise<void>,
  failed: (error: unknown) => void,
): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder()
  return new ReadableStream(
    {
      async pull(controller) {
        try {
          const { done, value } = await texts.next()
          if (done) controller.close()
          else controller.enqueue(encoder.encode(value))
        } catch (error) {
          failed(error)
          // What it was is for the log alone; this is only to break off.
          throw new Error('the rows of an answer ended before their end')
        }
      },
      cancel: close,
    },
    { highWaterMark: 0 },
  )
}
