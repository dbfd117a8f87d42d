/**
 * Where somebody is: page, range, filters and what the page was set to. The URL is all there is of it, so whoever gets the link sees the
 * same. Pure. What has its default is not written, what is unknown is not read.
 */
import { type Page, pageOf, pathOf } from './paths.ts'

export interface Place {
  readonly page: Page
  /** Of the session that a page is about. */
  readonly id: string
  /** As the API takes them: `now-1h`, or ISO 8601. */
  readonly from: string
  readonly to: string
  readonly filter: readonly string[]
  readonly metric: string
  /** How the chart is split; '' is not at all. */
  readonly group: string
  /** How the table is split. */
  readonly by: string
  readonly order: string
  readonly where: readonly string[]
  readonly threshold_us: string
  /** Whom bitrate logic asks about: a session, and where nobody knows it, what it is like (`isp:examplenet`). */
  readonly session: string
  readonly like: readonly string[]
  /** The part of the range that charts are zoomed to, in epoch milliseconds: `from-to`. */
  readonly view: string
  /** Asked again by itself; '' is yes, where the range reaches until now. */
  readonly live: string
}

type Named = Omit<Place, 'page' | 'id'>

export const DEFAULTS: Named = {
  from: 'now-1h',
  to: 'now',
  filter: [],
  metric: '',
  group: '',
  by: '',
  order: '',
  where: [],
  threshold_us: '',
  session: '',
  like: [],
  view: '',
  live: '',
}
const NAMES = Object.keys(DEFAULTS) as (keyof Named)[]

/** Kept from page to page; the rest belongs to the page it was set on. */
const SHARED = ['from', 'to', 'filter', 'live'] as const satisfies readonly (keyof Named)[]

export function placeOf(pathname: string, search: string): Place {
  const given = new URLSearchParams(search)
  const entries = NAMES.filter(name => given.has(name)).map(name => {
    const values = given.getAll(name)
    return [name, Array.isArray(DEFAULTS[name]) ? values : (values[0] ?? '')] as const
  })
  return { ...pageOf(pathname), ...DEFAULTS, ...Object.fromEntries(entries) }
}

export function urlOf(place: Place): string {
  const search = new URLSearchParams()
  for (const name of NAMES) {
    const value = place[name]
    if (typeof value !== 'string') for (const one of value) search.append(name, one)
    else if (value !== DEFAULTS[name]) search.set(name, value)
  }
  const query = search.toString()
  return pathOf(place.page, place.id) + (query === '' ? '' : `?${query}`)
}

/** To another page, with the range and the filters of this one. */
export const elsewhere = (place: Place, page: Page, id = '', more: Partial<Named> = {}): Place => ({
  page,
  id,
  ...DEFAULTS,
  ...Object.fromEntries(SHARED.map(name => [name, place[name]])),
  // A session has a range of its own: from its beginning to its end.
  ...(page === 'session' || place.page === 'session' ? { from: DEFAULTS.from, to: DEFAULTS.to } : {}),
  ...more,
})

/** Whether the range moves on by itself. */
export const isMoving = ({ to }: Pick<Place, 'to'>): boolean => to.startsWith('now')

export const isLive = (place: Pick<Place, 'to' | 'live'>): boolean => place.live !== 'off' && isMoving(place)

/** The part that charts are zoomed to, in epoch seconds. */
export function viewOf({ view }: Pick<Place, 'view'>): { readonly min: number; readonly max: number } | undefined {
  const [, from, to] = /^(\d{1,13})-(\d{1,13})$/.exec(view) ?? []
  if (from === undefined || to === undefined || Number(from) >= Number(to)) return undefined
  return { min: Number(from) / 1_000, max: Number(to) / 1_000 }
}

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 }

/** Epoch milliseconds of a moment as the API takes it; undefined: none that we can read. */
export function momentOf(text: string, now_ms: number): number | undefined {
  if (text === 'now') return now_ms
  const [, amount, unit = ''] = /^now-(\d{1,6})([smhd])$/.exec(text) ?? []
  if (amount !== undefined) return now_ms - Number(amount) * (UNIT_MS[unit] ?? 0)
  const ms = /^\d{1,13}$/.test(text) ? Number(text) : Date.parse(text)
  return Number.isFinite(ms) ? ms : undefined
}

/** Of a range, in seconds. */
export function lengthOf({ from, to }: Pick<Place, 'from' | 'to'>, now_ms: number): number | undefined {
  const [begin, end] = [momentOf(from, now_ms), momentOf(to, now_ms)]
  return begin === undefined || end === undefined || end <= begin ? undefined : (end - begin) / 1_000
}

const STEPS = [
  [10, '10s'],
  [60, '1m'],
  [300, '5m'],
  [900, '15m'],
  [3_600, '1h'],
  [21_600, '6h'],
  [86_400, '1d'],
] as const

/** What is older may be known in coarser steps only, which the API knows better. */
const FINE_MS = 20 * 86_400_000

/** The shortest step that makes no more than so many points of a range: more of them have too few values each, and are not drawn. */
export function stepFor(range: Pick<Place, 'from' | 'to'>, points: number, now_ms: number): string {
  const length_s = lengthOf(range, now_ms)
  if (length_s === undefined || (momentOf(range.from, now_ms) ?? 0) < now_ms - FINE_MS) return 'auto'
  return STEPS.find(([seconds]) => length_s / seconds <= points)?.[1] ?? 'auto'
}
