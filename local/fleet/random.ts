/**
 * Chance that can be repeated: what the fleet draws from the seeded generator of `query/statistics`.
 * Every session has a stream of its own, so what one does never depends on the others or on when it is asked.
 */

/** The next number in [0, 1). */
export type Random = () => number

/** One seed from several numbers (murmur3's finalizer after each). */
export function mixSeed(...parts: readonly number[]): number {
  let hash = 0x9e3779b9
  for (const part of parts) {
    hash = Math.imul(hash ^ part, 0x85ebca6b)
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35)
    hash ^= hash >>> 16
  }
  return hash >>> 0
}

export const between = (random: Random, low: number, high: number): number => low + random() * (high - low)

/** Waiting time until the next of events that come at random, `mean` apart. */
export const exponential = (random: Random, mean: number): number => -Math.log(1 - random()) * mean

export function pick<T>(random: Random, values: readonly T[]): T {
  const value = values[Math.floor(random() * values.length)]
  if (value === undefined) throw new RangeError('nothing to pick from')
  return value
}

/** Picks by weight; the weights need not add up to anything. */
export function pickWeighted<T>(random: Random, choices: readonly (readonly [T, number])[]): T {
  let left = random() * choices.reduce((sum, [, weight]) => sum + weight, 0)
  for (const [value, weight] of choices) {
    left -= weight
    if (left < 0) return value
  }
  const last = choices.at(-1)
  if (last === undefined) throw new RangeError('nothing to pick from')
  return last[0]
}

/** A version 4 UUID, lower case, as the contract wants it. */
export function drawUuid(random: Random): string {
  const hex = Array.from({ length: 4 }, () =>
    Math.floor(random() * 4_294_967_296)
      .toString(16)
      .padStart(8, '0'),
  ).join('')
  const variant = '89ab'[Math.floor(random() * 4)]
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-4${hex.slice(13, 16)}-${variant}${hex.slice(17, 20)}-${hex.slice(20)}`
}
