/**
 * Whose evidence is known, and whose is to be read next: the sessions of the last day, one entry each, at most so many. Of more, some are
 * drawn by lot, which follows from their id, so that each has the same chance and the same ones stay. Pure.
 *
 * A session is read when it is first heard of, again whenever it has become twice as long, and once more when it is over: however long it
 * plays, a handful of times.
 */
import { z } from 'zod'
import { SESSIONS_TABLE } from '../../ingest/store/sessions.ts'
import { METRICS } from '../metrics/catalogue.ts'
import type { Question } from '../metrics/question.ts'
import { moment } from '../metrics/sql.ts'
import type { PriorSession } from './priors.ts'
import { NARROWING, type PriorContext } from './priors-cohorts.ts'
import { type Batch, INTERVALS_MIN, SHORT_S, type SustainedRow, spokenBy } from './priors-evidence.ts'

export const PAST_S = 86_400
/** Longer than anybody plays: sessions stand in the order of their beginning. */
const LIFE_MAX_S = 2 * 86_400
/** Who played better than this sustained it. */
const STUTTER_MAX_PCT = 1
const OVER_AFTER_S = 300
const LOTS = 65_536
/** Sessions of one question. */
const BATCH = 300
/** Enough for what a fleet's contexts say; more are forgotten and cost a little memory. */
const WORDS_MAX = 10_000
/** They were heard of last within so long of each other: few ten seconds are read beside their own. */
const TOGETHER_S = 300

const sessionRow = z.object({
  id: z.string(),
  first: z.number(),
  last: z.number(),
  lot: z.number(),
  settled_us: z.number(),
  stutter_time_pct: z.number().nullable(),
  /** In the order of `NARROWING`; '' is unknown. */
  labels: z.array(z.string()),
})
export type SessionRow = z.infer<typeof sessionRow>

/** A page of the answer: few enough that nobody waits while it is checked. */
export const PAGE = 120
const SESSIONS = `SELECT toString(session_id) AS id, toUnixTimestamp(t) AS first, toUnixTimestamp(last_t) AS last,
  cityHash64(session_id) % ${LOTS} AS lot, toUnixTimestamp64Micro(settled_at) AS settled_us,
  ${METRICS.stutter_time_pct.value} AS stutter_time_pct, [${NARROWING.map(name => `toString(${name})`)}] AS labels
FROM ${SESSIONS_TABLE} FINAL
WHERE t >= ${moment('from')} - ${LIFE_MAX_S} AND last_t >= ${moment('from')} AND intervals >= ${INTERVALS_MIN}
  AND lot < {lots:UInt32} AND (settled_us, id) > ({settled_us:Int64}, {id:String})
ORDER BY settled_us, id LIMIT ${PAGE}`

/** Sessions that were settled since, the longest ago first. */
export const sessionsQuestion = (from: number, lots: number, after: Cursor): Question<SessionRow> => ({
  id: 'prior_sessions',
  sql: SESSIONS,
  params: { from, lots, ...after },
  row: sessionRow,
})

/** Up to which settled session everything was seen. */
export interface Cursor {
  readonly settled_us: number
  readonly id: string
}
export const BEGINNING: Cursor = { settled_us: 0, id: '' }

/** What is kept of a session: 430 bytes, where rows as they come would be 1,050. */
interface Entry {
  readonly id: string
  readonly lot: number
  /** Something earlier may arrive late. */
  first: number
  last: number
  played_well: boolean
  context: PriorContext
  /** Up to when its events were read; undefined: never. */
  read_until: number | undefined
  /** Undefined: it said too little. */
  sustained: PriorSession | undefined
}

export class PriorSessions {
  readonly #entries = new Map<string, Entry>()
  readonly #words = new Words()
  readonly #sessions_max: number
  #lots = LOTS

  constructor(sessions_max: number) {
    this.#sessions_max = sessions_max
  }

  /** Sessions with a lot below this are kept. */
  get lots(): number {
    return this.#lots
  }

  get size(): number {
    return this.#entries.size
  }

  hear(rows: readonly SessionRow[]): void {
    for (const { id, first, last, lot, stutter_time_pct, labels } of rows) {
      const known = this.#entries.get(id)
      if (!known && lot >= this.#lots) continue
      const heard = {
        first,
        last,
        played_well: stutter_time_pct !== null && stutter_time_pct < STUTTER_MAX_PCT,
        context: this.#words.contextOf(labels),
      }
      if (known) Object.assign(known, heard)
      else this.#entries.set(id, { id, lot, ...heard, read_until: undefined, sustained: undefined })
    }
    if (this.#entries.size > this.#sessions_max) this.#draw()
  }

  /** As many as may stay do, those with the least lots; who shares the first lot that is too many goes with it. */
  #draw(): void {
    const lots = Uint16Array.from(this.#entries.values(), ({ lot }) => lot).sort()
    this.#lots = Math.max(1, lots[this.#sessions_max] ?? LOTS)
    this.#drop(({ lot }) => lot >= this.#lots)
  }

  forgetBefore(from: number): void {
    this.#drop(({ last }) => last < from)
    // Fewer play than did: those to come are drawn more often again.
    if (this.#entries.size < this.#sessions_max / 4) this.#lots = Math.min(LOTS, this.#lots * 2)
  }

  #drop(which: (entry: Entry) => boolean): void {
    for (const [id, entry] of this.#entries) if (which(entry)) this.#entries.delete(id)
  }

  /** Who is to be read now, those heard of last first: they tell most of what is now. */
  due(now_s: number): Batch[] {
    const groups = new Map<number, Entry[]>()
    for (const entry of this.#entries.values()) {
      if (!isDue(entry, now_s)) continue
      const group = 2 * Math.floor(entry.last / TOGETHER_S) + Number(isShort(entry))
      const entries = groups.get(group)
      if (entries) entries.push(entry)
      else groups.set(group, [entry])
    }
    return [...groups].sort(([a], [b]) => b - a).flatMap(([, entries]) => batchesOf(entries))
  }

  /** What was answered of the batch: who is not in it said too little. */
  read({ ids }: Batch, rows: readonly SustainedRow[]): void {
    const byId = new Map(rows.map(row => [row.id, row]))
    for (const id of ids) {
      const entry = this.#entries.get(id)
      if (!entry) continue
      entry.read_until = entry.last
      entry.sustained = sustainedOf(byId.get(id), entry.context)
    }
  }

  /** Those that played well, with what they sustained. */
  sustained(): PriorSession[] {
    const sessions: PriorSession[] = []
    for (const { played_well, sustained } of this.#entries.values()) {
      if (played_well && sustained) sessions.push(sustained)
    }
    return sessions
  }
}

/** Contexts that share their words: as they are read, each is a text of its own. */
class Words {
  readonly #known = new Map<string, string>()

  contextOf(labels: readonly string[]): PriorContext {
    const known = NARROWING.map((name, i) => [name, this.#shared(labels[i] ?? '')] as const)
    return Object.fromEntries(known.filter(([, value]) => value))
  }

  #shared(word: string): string {
    const known = this.#known.get(word)
    if (known !== undefined) return known
    if (this.#known.size === WORDS_MAX) this.#known.clear()
    this.#known.set(word, word)
    return word
  }
}

function isDue({ first, last, read_until }: Entry, now_s: number): boolean {
  if (read_until === undefined) return true
  return last > read_until && (last - first >= 2 * (read_until - first) || now_s - last > OVER_AFTER_S)
}

const isShort = ({ first, last }: Entry): boolean => last - first < SHORT_S

const batchesOf = (entries: readonly Entry[]): Batch[] =>
  Array.from({ length: Math.ceil(entries.length / BATCH) }, (_, i) => {
    const some = entries.slice(i * BATCH, (i + 1) * BATCH)
    const lasts = some.map(({ last }) => last)
    const short = some.every(isShort)
    return { ids: some.map(({ id }) => id), short, buckets: spokenBy(short, Math.min(...lasts), Math.max(...lasts)) }
  })

const sustainedOf = (row: SustainedRow | undefined, context: PriorContext): PriorSession | undefined =>
  row && {
    kbps: row.kbps,
    censored: row.censored,
    rtt_p50_us: row.rtt_p50_us,
    packet_loss_pct: row.packet_loss_pct,
    context,
  }
