/** Numbers on a command line: what does not fit is said with what was expected, before anything is started. */
import { InvalidArgumentError } from 'commander'

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
