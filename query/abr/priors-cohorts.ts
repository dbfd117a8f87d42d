/**
 * Which sessions have how much of their context in common: all of them in the order of their context, so that those who share its first
 * dimensions stand together. A cohort is then a range, found by bisection, and nothing has to be kept for the many that have one member.
 */
import type { Context } from '../../ingest/contract/events.ts'
import type { Steps } from '../statistics/slices.ts'

/** Of a context what a cohort may have in common: from the widest level on, each has one more. */
export const NARROWING = ['access', 'isp', 'region', 'device', 'game'] as const satisfies readonly (keyof Context)[]
export type PriorContext = Pick<Context, (typeof NARROWING)[number]>

/** Members [from, to) of the order. */
export interface Range {
  readonly from: number
  readonly to: number
}

const UNKNOWN = 0
/** Between two looks at the clock. */
const AT_ONCE = 1_000

export class Cohorts {
  /** By dimension: its values, numbered. */
  readonly #numbers: readonly ReadonlyMap<string, number>[]
  /** By dimension: the number of each member's value, in their order. */
  readonly #codes: readonly Int32Array[]
  /** Which of the sessions given stands where. */
  readonly order: Int32Array

  constructor(numbers: readonly ReadonlyMap<string, number>[], codes: readonly Int32Array[], order: Int32Array) {
    this.#numbers = numbers
    this.#codes = codes
    this.order = order
  }

  /** From the widest, everybody, to the narrowest that the context can say. */
  rangesOf(context: PriorContext): Range[] {
    let range: Range = { from: 0, to: this.order.length }
    const ranges = [range]
    for (const [i, dimension] of NARROWING.entries()) {
      const value = context[dimension]
      if (value === undefined) break
      const code = this.#numbers[i]?.get(value)
      range = code === undefined ? { from: range.to, to: range.to } : this.#within(i, range, code)
      ranges.push(range)
    }
    return ranges
  }

  #within(dimension: number, { from, to }: Range, code: number): Range {
    const codes = this.#codes[dimension] ?? new Int32Array()
    const first = (least: number): number => {
      let [low, high] = [from, to]
      while (low < high) {
        const middle = (low + high) >> 1
        if ((codes[middle] ?? 0) < least) low = middle + 1
        else high = middle
      }
      return low
    }
    return { from: first(code), to: first(code + 1) }
  }

  /** Of each level, from the widest, those who share what it names. Members who do not know one of its dimensions are in none. */
  *ranges(): Generator<Range & { readonly level: number }> {
    let parents: Range[] = [{ from: 0, to: this.order.length }]
    yield { level: 0, from: 0, to: this.order.length }
    for (const [i, codes] of this.#codes.entries()) {
      const ranges: Range[] = []
      for (const { from, to } of parents) {
        for (let begin = from; begin < to; ) {
          const code = codes[begin] ?? UNKNOWN
          let end = begin + 1
          while (end < to && codes[end] === code) end++
          if (code !== UNKNOWN) ranges.push({ from: begin, to: end })
          begin = end
        }
      }
      for (const range of ranges) yield { level: i + 1, ...range }
      parents = ranges
    }
  }
}

export function* cohortsOf(contexts: readonly PriorContext[]): Steps<Cohorts> {
  const numbers = NARROWING.map(() => new Map<string, number>())
  const given = NARROWING.map(() => new Int32Array(contexts.length))
  for (const [n, context] of contexts.entries()) {
    for (const [i, dimension] of NARROWING.entries()) {
      const value = context[dimension]
      const codes = given[i]
      if (value !== undefined && codes) codes[n] = numberOf(numbers[i] ?? new Map(), value)
    }
    if (n % AT_ONCE === 0) yield
  }
  // Stable, from the last dimension to the first.
  let order = Int32Array.from(contexts.keys())
  for (const [i, codes] of [...given.entries()].reverse()) {
    order = counted(order, codes, (numbers[i]?.size ?? 0) + 1)
    yield
  }
  const sorted = given.map(codes => order.map(n => codes[n] ?? UNKNOWN))
  return new Cohorts(numbers, sorted, order)
}

function numberOf(numbers: Map<string, number>, value: string): number {
  const known = numbers.get(value)
  if (known !== undefined) return known
  numbers.set(value, numbers.size + 1)
  return numbers.size
}

/** Sorted by counting: no comparison, no garbage. */
function counted(order: Int32Array, codes: Int32Array, values: number): Int32Array<ArrayBuffer> {
  const next = new Int32Array(values + 1)
  for (const code of codes) next[code + 1] = (next[code + 1] ?? 0) + 1
  for (let i = 1; i <= values; i++) next[i] = (next[i] ?? 0) + (next[i - 1] ?? 0)
  const sorted = new Int32Array(order.length)
  for (const n of order) {
    const code = codes[n] ?? UNKNOWN
    const place = next[code] ?? 0
    sorted[place] = n
    next[code] = place + 1
  }
  return sorted
}
