/**
 * Deploys, incidents and notes. Whoever writes one gives it an id, so that a pipeline may repeat itself: the same again is the same
 * answer, something else under a known id is refused. Nothing is ever changed or taken back.
 */
import { z } from 'zod'
import type { Store } from '../../ingest/store/clickhouse.ts'
import type { Desk } from '../metrics/answer.ts'
import { DIMENSIONS, type Dimension } from '../metrics/filter.ts'
import { Mistake } from '../metrics/mistake.ts'
import { type Question, StoreFailure } from '../metrics/question.ts'
import { type Asked, iso, rawWindow } from '../metrics/range.ts'
import { moment } from '../metrics/sql.ts'

export const ANNOTATION_KINDS = ['deploy', 'incident', 'note'] as const

export interface NewAnnotation {
  readonly id: string
  readonly at_ms: number
  readonly until_ms: number | null
  readonly kind: (typeof ANNOTATION_KINDS)[number]
  readonly title: string
  readonly text: string
  readonly dimensions: Readonly<Partial<Record<Dimension, string>>>
}

export interface Annotation {
  readonly id: string
  readonly at: string
  readonly until: string | null
  readonly kind: (typeof ANNOTATION_KINDS)[number]
  readonly title: string
  readonly text: string
  readonly dimensions: Partial<Record<Dimension, string>>
  readonly created_at: string
  readonly created_by: string | null
}

const row = z.object({
  id: z.string(),
  at_ms: z.number(),
  until_ms: z.number().nullable(),
  kind: z.enum(ANNOTATION_KINDS),
  title: z.string(),
  text: z.string(),
  dimensions: z.partialRecord(z.enum(DIMENSIONS), z.string()),
  created_ms: z.number(),
  created_by: z.string().transform(key => (key === '' ? null : key)),
})
type Row = z.infer<typeof row>

const select = (which: string, rest: string): string =>
  `SELECT toString(id) AS id, toUnixTimestamp64Milli(at) AS at_ms, toUnixTimestamp64Milli(until) AS until_ms, toString(kind) AS kind,
  title, text, dimensions, toUnixTimestamp64Milli(toDateTime64(created_at, 3, 'UTC')) AS created_ms, created_by
FROM (SELECT * FROM annotations_v1 ${which} ORDER BY created_at, title, text LIMIT 1 BY id) ${rest}`

const oneQuestion = (id: string): Question<Row> => ({
  id: 'annotation',
  sql: select('WHERE id = {id:UUID}', ''),
  params: { id },
  row,
})

/** Whatever reaches into the range. What has no end is a moment. */
export const rangeQuestion = (from: number, to: number, limit: number): Question<Row> => ({
  id: 'annotations',
  sql: select(
    '',
    `WHERE at < ${moment('to')} AND ifNull(until, at) >= ${moment('from')} ORDER BY at_ms DESC, id LIMIT {limit:UInt32}`,
  ),
  params: { from, to, limit },
  row,
})

export interface Annotations {
  readonly data: Annotation[]
  /** What the range was snapped to. */
  readonly from: string
  readonly to: string
}

/** The newest first. */
export async function annotations(desk: Desk, asked: Pick<Asked, 'from' | 'to'>, limit: number): Promise<Annotations> {
  const { from, to } = rawWindow(asked, desk.now())
  const rows = await desk.ask(rangeQuestion(from, to, limit))
  return { data: rows.map(readable), from: iso(from * 1_000), to: iso(to * 1_000) }
}

/**
 * @param key_id of whoever writes it
 * @throws Mistake where the id is that of another one
 */
export async function annotate(desk: Desk, store: Store, given: NewAnnotation, key_id: string): Promise<Annotation> {
  if (given.until_ms !== null && given.until_ms < given.at_ms)
    throw new Mistake('bad_range', 'until', 'until lies before at')
  const [known] = await desk.ask(oneQuestion(given.id))
  if (known) return same(known, given)
  await write(store, given, key_id)
  // Of two at once under one id the first counts, and the other hears of it.
  const [kept] = await desk.ask(oneQuestion(given.id))
  if (!kept) throw new StoreFailure('annotation', new Error('what was written is not there'))
  return same(kept, given)
}

async function write(store: Store, { at_ms, until_ms, ...rest }: NewAnnotation, key_id: string): Promise<void> {
  const until = until_ms === null ? 'NULL' : "fromUnixTimestamp64Milli({until_ms:Int64}, 'UTC')"
  try {
    await store.command(
      `INSERT INTO annotations_v1 (id, at, until, kind, title, text, dimensions, created_at, created_by)
       SELECT {id:UUID}, fromUnixTimestamp64Milli({at_ms:Int64}, 'UTC'), ${until}, {kind:String}, {title:String}, {text:String},
         mapFromArrays({names:Array(String)}, {values:Array(String)}), now64(6, 'UTC'), {key_id:String}
       SETTINGS async_insert = 0`,
      {
        ...{ id: rest.id, at_ms, kind: rest.kind, title: rest.title, text: rest.text, key_id },
        ...{ names: Object.keys(rest.dimensions), values: Object.values(rest.dimensions) },
        ...(until_ms === null ? {} : { until_ms }),
      },
      { log_comment: 'annotate' },
    )
  } catch (error) {
    throw new StoreFailure('annotate', error)
  }
}

function same(row: Row, given: NewAnnotation): Annotation {
  const content = ({ id, at_ms, until_ms, kind, title, text, dimensions }: NewAnnotation): string =>
    JSON.stringify([id, at_ms, until_ms, kind, title, text, DIMENSIONS.map(name => dimensions[name] ?? null)])
  if (content(row) !== content(given))
    throw new Mistake('already_exists', 'id', 'another annotation has this id; take a new one')
  return readable(row)
}

const readable = ({ at_ms, until_ms, created_ms, ...rest }: Row): Annotation => ({
  ...rest,
  at: iso(at_ms),
  until: until_ms === null ? null : iso(until_ms),
  created_at: iso(created_ms),
})
