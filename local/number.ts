/** Numbers and lengths on a command line: what does not fit is said with what was expected, before anything is started. */
import { InvalidArgumentError, Option } from 'commander'

const MOST = 4_294_967_295

export const numberFrom =
  (low: number, high: number, whole = false) =>
  (text: string): number => {
    const value = Number(text)
    if (text.trim() === '' || !(value >= low && value <= high) || (whole && !Number.isInteger(value)))
      throw new InvalidArgumentError(`expected a ${whole ? 'whole ' : ''}number from ${low} to ${high}`)
    return value
  }

export const wholeFrom = (low: number, high = MOST) => numberFrom(low, high, true)

const UNITS_MS = { s: 1_000, m: 60_000, h: 3_600_000 } as const
const LENGTH_MAX_MS = 7 * 86_400_000

export function duration_ms(text: string): number {
  const [, amount, unit = 's'] = /^(\d+)([smh])?$/.exec(text) ?? []
  const length_ms = Number(amount) * UNITS_MS[unit as keyof typeof UNITS_MS]
  if (!(length_ms > 0 && length_ms <= LENGTH_MAX_MS))
    throw new InvalidArgumentError('expected a length such as 90s, 5m or 1h')
  return length_ms
}

/** Milliseconds to whoever runs the command; its help shows them as they are written. */
export const lengthOption = (flags: string, description: string, otherwise: string): Option =>
  new Option(flags, description).argParser(duration_ms).default(duration_ms(otherwise), otherwise)
