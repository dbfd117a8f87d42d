/**
 * From when to when a session lived. Whoever settles whole sessions notes it (`session_spans_v1`), which is found by its key; what came
 * since is looked for in the last hours. Only a session without such a note is looked for in every tier, by the indexes of session ids.
 */
import { z } from 'zod'
import { EVENT_KINDS } from '../../ingest/store/cells.ts'
import { SPANS_TABLE } from '../../ingest/store/sessions.ts'
import { TIERS } from '../../ingest/store/settle.ts'
import type { Desk } from '../metrics/answer.ts'
import type { AnswerTier } from '../metrics/catalogue.ts'
import type { Question } from '../metrics/question.ts'
import { bucketSeconds } from '../metrics/range.ts'
import { moment } from '../metrics/sql.ts'

/** Its first and last bucket, in epoch seconds; of ten seconds, or of what the coarsest tier that is left knows. */
export interface Life {
  readonly first: number
  readonly last: number
  readonly bucket_s: number
  /** Whether it has a cell: one that began a moment ago may have events only. */
  readonly settled: boolean
}

/** A session this young may have no cell yet. */
const UNSETTLED_S = 120
/** Whole sessions are settled every few minutes. Where that is further behind, what came since is looked for from there on. */
const RECENT_S = 2 * 3_600

const NOTED = 'noted'
const lifeRow = z.object({
  source: z.enum([NOTED, 'events', '10s', 'minute', 'hour']),
  first: z.number(),
  last: z.number(),
})
type LifeRow = z.infer<typeof lifeRow>

const heard = (
  source: LifeRow['source'],
  table: string,
  [first, last]: readonly [string, string],
  and: string,
): string =>
  `SELECT '${source}' AS source, toUnixTimestamp(min(${first})) AS first, toUnixTimestamp(max(${last})) AS last
  FROM ${table} WHERE session_id = {id:UUID} AND ${and} HAVING count() > 0`
const heardInCells = (tier: '10s' | 'minute' | 'hour', and = '1'): string =>
  heard(tier, TIERS[tier].table, ['t', 't'], and)

const SINCE = `least(${moment('recent')}, (SELECT max(t) FROM settled_v1 WHERE tier = 'session'))`

const lifeQuestion = (id: string, now_s: number): Question<LifeRow> => ({
  id: 'session_life',
  sql: [
    heard(NOTED, SPANS_TABLE, ['first', 'last'], '1'),
    heardInCells('10s', `t >= ${SINCE}`),
    heard('events', 'events_v1', ['t10', 't10'], `t10 >= ${moment('unsettled')} AND kind IN ${EVENT_KINDS}`),
  ].join(' UNION ALL '),
  params: { id, recent: now_s - RECENT_S, unsettled: now_s - UNSETTLED_S },
  row: lifeRow,
  reads_little: true,
})

const searchQuestion = (id: string): Question<LifeRow> => ({
  id: 'session_search',
  sql: (['10s', 'minute', 'hour'] as const).map(tier => heardInCells(tier)).join(' UNION ALL '),
  params: { id },
  row: lifeRow,
})

const wholeRow = z.object({ whole: z.number() })

/** Whether its row in `sessions_v1` knows all of it: every hour of its life was settled into whole sessions as often as into cells. */
export const wholeQuestion = ({ first, last }: Life): Question<z.infer<typeof wholeRow>> => ({
  id: 'session_whole',
  sql: `SELECT count() > 0 AND min(below) = 1 AS whole
FROM (
  SELECT sumIf(rows, tier = '10s') = sumIf(rows, tier = 'session') AS below
  FROM settled_v1 FINAL
  WHERE tier IN ('10s', 'session') AND t >= toStartOfHour(${moment('first')}) AND t < toStartOfHour(${moment('last')}) + INTERVAL 1 HOUR
  GROUP BY toStartOfHour(t)
)`,
  params: { first, last },
  row: wholeRow,
  reads_little: true,
})

/** Undefined: nobody has heard of it. */
export async function lifeOf({ ask, now }: Pick<Desk, 'ask' | 'now'>, id: string): Promise<Life | undefined> {
  const rows = await ask(lifeQuestion(id, Math.floor(now() / 1_000)))
  const noted = rows.some(({ source }) => source === NOTED)
  return lived(noted ? rows : [...rows, ...(await ask(searchQuestion(id)))])
}

const bucketOf = (source: LifeRow['source']): number =>
  bucketSeconds(source === NOTED ? '10s' : (source satisfies AnswerTier))

/** A coarser tier says less exactly when it was, but remembers for longer. */
function lived(rows: readonly LifeRow[]): Life | undefined {
  const fine = rows.filter(({ source }) => bucketOf(source) === bucketSeconds('10s'))
  const [finest, ...coarser] = [...rows].sort((a, b) => bucketOf(a.source) - bucketOf(b.source))
  if (!finest) return undefined
  const known = fine.length > 0 ? fine : [finest]
  const exact = {
    first: Math.min(...known.map(({ first }) => first)),
    last: Math.max(...known.map(({ last }) => last)),
    bucket_s: bucketOf(finest.source),
  }
  const first = coarser.reduce(
    (first, row) => (row.first + bucketOf(row.source) <= first ? row.first : first),
    exact.first,
  )
  return { ...exact, first, settled: rows.some(({ source }) => source !== 'events') }
}
