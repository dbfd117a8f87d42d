/**
 * Numbers for people: three digits that matter, the unit in words that are spoken, unknown as a dash. Pure. Units are those of the
 * catalogue; times of day are those of whoever looks.
 */
import type { UNITS } from '../../../query/metrics/entry.ts'

export type Unit = (typeof UNITS)[number]
export const UNKNOWN = '–'

export interface Said {
  readonly number: string
  readonly unit: string
}

/** Three digits that matter, none behind the point of a number over a hundred; thousands apart. */
export function digits(value: number): string {
  const size = Math.abs(value)
  if (value !== 0 && size < 0.001) return value < 0 ? '−0.00…' : '<0.001'
  const places = size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3
  const fixed = size.toFixed(places)
  const [whole = '', rest] = (fixed.includes('.') ? fixed.replace(/\.?0+$/, '') : fixed).split('.')
  const apart = whole.replace(/\B(?=(\d{3})+$)/g, '\u202f')
  return (value < 0 ? '−' : '') + (rest === undefined ? apart : `${apart}.${rest}`)
}

const scaled = (value: number, steps: readonly (readonly [from: number, divisor: number, unit: string])[]): Said => {
  const size = Math.abs(value)
  const [, divisor, unit] = steps.find(([from]) => size >= from) ?? [0, 1, '']
  return { number: digits(value / divisor), unit }
}

const MICROSECONDS = [
  [999_500, 1_000_000, 's'],
  [1_000, 1_000, 'ms'],
  [0, 1_000, 'ms'],
] as const
const SAYINGS: Readonly<Record<Unit, (value: number) => Said>> = {
  us: value => scaled(value, MICROSECONDS),
  ms: value => scaled(value * 1_000, MICROSECONDS),
  fps: value => ({ number: digits(value), unit: 'fps' }),
  pct: value => ({ number: digits(value), unit: '%' }),
  per_minute: value => ({ number: digits(value), unit: 'a minute' }),
  kbps: value =>
    scaled(value, [
      [1_000, 1_000, 'Mbit/s'],
      [0, 1, 'kbit/s'],
    ]),
  gb_per_hour: value => ({ number: digits(value), unit: 'GB an hour' }),
  mos: value => ({ number: value.toFixed(2), unit: 'of 5' }),
  sessions: value => ({ number: digits(value), unit: '' }),
  minutes: value => ({ number: digits(value), unit: 'min' }),
}

export const say = (value: number | null | undefined, unit: Unit): Said =>
  value === null || value === undefined ? { number: UNKNOWN, unit: '' } : SAYINGS[unit](value)

/** In one text. */
export function saying(value: number | null | undefined, unit: Unit): string {
  const said = say(value, unit)
  return said.unit === '' ? said.number : `${said.number}\u00a0${said.unit}`
}

export const count = (n: number | null | undefined): string =>
  n === null || n === undefined ? UNKNOWN : digits(Math.round(n))

export const share = (part: number | null): string => (part === null ? UNKNOWN : `${digits(100 * part)}\u00a0%`)

const two = (n: number): string => String(n).padStart(2, '0')
export const timeOfDay = (ms: number, seconds = true): string => {
  const at = new Date(ms)
  return `${two(at.getHours())}:${two(at.getMinutes())}${seconds ? `:${two(at.getSeconds())}` : ''}`
}
const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec']
export const day = (ms: number): string => `${new Date(ms).getDate()} ${MONTHS[new Date(ms).getMonth()]}`
export const moment = (at: string | number): string => {
  const ms = typeof at === 'number' ? at : Date.parse(at)
  return `${day(ms)} ${timeOfDay(ms)}`
}

/** How long: the largest two units at most. */
export function length(ms: number): string {
  const s = Math.round(ms / 1_000)
  if (s < 60) return `${s}\u00a0s`
  if (s < 3_600) return s % 60 === 0 ? `${s / 60}\u00a0min` : `${Math.floor(s / 60)}\u00a0min ${s % 60}\u00a0s`
  const minutes = Math.round(s / 60)
  if (minutes < 48 * 60)
    return minutes % 60 === 0 ? `${minutes / 60}\u00a0h` : `${Math.floor(minutes / 60)}\u00a0h ${minutes % 60}\u00a0min`
  return `${Math.round(minutes / 1_440)}\u00a0days`
}

/** The zone of whoever looks, as `UTC+2`. */
export function zone(at = new Date()): string {
  const minutes = -at.getTimezoneOffset()
  if (minutes === 0) return 'UTC'
  const hours = Math.floor(Math.abs(minutes) / 60)
  const rest = Math.abs(minutes) % 60
  return `UTC${minutes < 0 ? '−' : '+'}${hours}${rest === 0 ? '' : `:${two(rest)}`}`
}

const words = (text: string): string => text.replaceAll('_', ' ')
/** A name of ours in words: `client_version` → `client version`. */
export const plain = (name: string): string => (name === 'isp' ? 'ISP' : words(name))
