/**
 * What a question would cost, before it is asked: the rows it has to read, as far as its text tells. Each table it names is counted over
 * its range (the parameters called `from`, `to`, `cut`) as often as it is named, so groups that are chosen first count twice. Questions
 * without a range read little by their nature. ClickHouse's own limits stand behind this one; this one answers at once and says what to narrow.
 */
import { z } from 'zod'
import type { Params } from '../../ingest/store/clickhouse.ts'
import { TIERS } from '../../ingest/store/settle.ts'
import { Mistake } from './mistake.ts'
import type { Ask, Question } from './question.ts'
import { moment } from './sql.ts'

/** Rows of a table between two moments (epoch seconds), spread evenly. */
interface Span {
  readonly table: string
  readonly first: number
  readonly last: number
  readonly rows: number
}
/** Where the rows are. Empty: not known. */
export type Ledger = readonly Span[]

const EVENTS = 'events_v1'
const FINEST = TIERS['10s'].table
const CELLS: readonly string[] = Object.values(TIERS).map(({ table }) => table)
/** A raw row carries an array of frames, of which cells are made on the fly; whoever does not read it reads little. */
const FRAMES = 'frame_time_us'
const EVENT_WEIGHTS = { with_frames: 4, without: 0.05 } as const
/** Of a question about sessions by their ids, which indexes find. */
const BY_SESSION = /\bsession_id (=|IN) \{/
const SESSION_SHARE = 0.02
/** By which minutes that stand in for the cube are chosen, each time they do. */
const STANDING_IN = 'toUnixTimestamp(t) IN {holes'

/** From here on a question takes long enough to be in somebody's way. */
export const HEAVY_ROWS = 2_000_000

const overlap = ({ first, last }: Span, from: number, to: number): number =>
  last > first
    ? Math.max(0, Math.min(last, to) - Math.max(first, from)) / (last - first)
    : Number(from <= first && first < to)

const rowsIn = (ledger: Ledger, table: string, from: number, to: number): number =>
  ledger.reduce((sum, span) => (span.table === table ? sum + span.rows * overlap(span, from, to) : sum), 0)

/** From the first to the last of the ranges that are bound. */
function rangeOf(params: Params): { readonly from: number; readonly to: number } | undefined {
  const bound = (name: RegExp): number[] =>
    Object.entries(params).flatMap(([key, value]) => (name.test(key) && typeof value === 'number' ? [value] : []))
  const [froms, tos] = [bound(/(^|_)from(_|$)/), bound(/(^|_)to(_|$)/)]
  return froms.length > 0 && tos.length > 0 ? { from: Math.min(...froms), to: Math.max(...tos) } : undefined
}

export function rowsToRead({ sql, params }: Pick<Question<unknown>, 'sql' | 'params'>, ledger: Ledger): number {
  const range = rangeOf(params)
  if (!range) return 0
  const { from, to } = range
  const given = (name: string, otherwise: number): number => {
    const value = params[name]
    return typeof value === 'number' ? value : otherwise
  }
  const rowsOf = (table: string): number => {
    // From there on they stand in for minutes; these do around hours.
    if (table === FINEST) return rowsIn(ledger, table, given('cut', given('recent', from)), to)
    const hours = [given('hours_from', from), given('hours_to', from)] as const
    if (table === TIERS.minute.table) return rowsIn(ledger, table, from, to) - rowsIn(ledger, table, ...hours)
    return rowsIn(ledger, table, from, to)
  }
  const over = (table: string): number => {
    const times = sql.split(table).length - 1
    if (times === 0) return 0
    if (table === EVENTS) {
      const weight = sql.includes(FRAMES) ? EVENT_WEIGHTS.with_frames : EVENT_WEIGHTS.without
      return times * weight * rowsIn(ledger, table, from, to)
    }
    if (table !== TIERS.minute.table) return times * rowsOf(table)
    // The cube's own rows are few; what counts is the cells that stand in for the rest.
    const standing = sql.split(STANDING_IN).length - 1
    return (times - standing) * rowsOf(table) + standing * rowsIn(ledger, table, given('cube_to', to), given('cut', to))
  }
  const rows = [EVENTS, ...CELLS].reduce((sum, table) => sum + over(table), 0)
  return BY_SESSION.test(sql) ? rows * SESSION_SHARE : rows
}

/** @throws Mistake that says what to narrow, and to what */
export function mustBeAffordable({ params }: Pick<Question<unknown>, 'params'>, rows: number, most: number): void {
  if (rows <= most) return
  const { from, to } = rangeOf(params) ?? { from: 0, to: 0 }
  const hours = ((to - from) / 3_600) * (most / rows)
  const fitting = hours >= 1 ? `${Math.floor(hours)} h` : `${Math.max(1, Math.floor(hours * 60))} min`
  throw new Mistake(
    'too_expensive',
    'from',
    `about ${millions(rows)} million rows would be read, of at most ${millions(most)}: narrow from and to to about ${fitting}, name fewer groups, or take a longer step so that a coarser tier answers`,
  )
}
const millions = (rows: number): string => (rows / 1_000_000).toFixed(rows < 10_000_000 ? 1 : 0)

const row = z.object({ table: z.string(), first: z.number(), last: z.number(), rows: z.number() })

/** Parts know the first and last moment in them. Those of raw events are by the time of their ingestion, which is about the same. */
const LEDGER: Question<z.infer<typeof row>> = {
  id: 'ledger',
  sql: `SELECT table, toUnixTimestamp(min(min_time)) AS first, toUnixTimestamp(max(max_time)) AS last, sum(rows) AS rows
FROM system.parts
WHERE database = currentDatabase() AND active AND table IN {tables:Array(String)} AND max_time > ${moment('epoch')}
GROUP BY table, toStartOfHour(min_time), toStartOfHour(max_time)`,
  params: { tables: [EVENTS, ...CELLS], epoch: 0 },
  row,
}
const RENEW_MS = 30_000

/** The ledger, at most half a minute old; the first to ask waits for it. Where it cannot be read nothing is known, and nothing refused. */
export function createLedger(ask: Ask, clock: () => number = () => performance.now()): () => Promise<Ledger> {
  let known: Ledger | undefined
  let renewing: Promise<Ledger> | undefined
  let renewed_ms = Number.NEGATIVE_INFINITY
  const renew = (): Promise<Ledger> => {
    renewed_ms = clock()
    return ask(LEDGER).then(
      spans => {
        known = spans
        renewing = undefined
        return spans
      },
      () => {
        renewing = undefined
        return known ?? []
      },
    )
  }
  return async () => {
    if (!renewing && clock() - renewed_ms >= RENEW_MS) renewing = renew()
    return known ?? renewing ?? []
  }
}
