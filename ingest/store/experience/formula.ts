/**
 * A formula that is written once and runs in both places: evaluated here for single values, printed as SQL for settling.
 * A term is a number, a name (of an input or of an earlier line), or an operation on terms.
 */

export type Term = number | string | Operation
interface Operation {
  readonly apply: (...values: number[]) => number
  readonly print: (...texts: string[]) => string
  readonly terms: readonly Term[]
}

const operation =
  (apply: Operation['apply'], print: Operation['print']) =>
  (...terms: Term[]): Term => ({ apply, print, terms })

export const sum = operation(
  (...values) => values.reduce((a, b) => a + b),
  (...texts) => `(${texts.join(' + ')})`,
)
export const product = operation(
  (...values) => values.reduce((a, b) => a * b),
  (...texts) => `(${texts.join(' * ')})`,
)
export const minus = operation(
  (a = 0, b = 0) => a - b,
  (a, b) => `(${a} - ${b})`,
)
export const over = operation(
  (a = 0, b = 0) => a / b,
  (a, b) => `(${a} / ${b})`,
)
export const exp = operation(
  (x = 0) => Math.exp(x),
  x => `exp(${x})`,
)
export const ln = operation(
  (x = 0) => Math.log(x),
  x => `log(${x})`,
)
export const greatest = operation(
  (...values) => Math.max(...values),
  (...texts) => `greatest(${texts.join(', ')})`,
)
export const clamp = operation(
  (x = 0, low = 0, high = 0) => Math.min(Math.max(x, low), high),
  (x, low, high) => `least(greatest(${x}, ${low}), ${high})`,
)
/** The first where `x` is below the limit, else the second. */
export const below = operation(
  (x = 0, limit = 0, then = 0, otherwise = 0) => (x < limit ? then : otherwise),
  (x, limit, then, otherwise) => `if(${x} < ${limit}, ${then}, ${otherwise})`,
)

export function evaluate(term: Term, values: ReadonlyMap<string, number>): number {
  if (typeof term === 'number') return term
  if (typeof term === 'string') return values.get(term) ?? Number.NaN
  const given: number[] = []
  for (const inner of term.terms) given.push(evaluate(inner, values))
  return term.apply(...given)
}

/** @param nameOf what a name is called in SQL */
export function printSql(term: Term, nameOf: (name: string) => string): string {
  if (typeof term === 'number') return term < 0 ? `(${term})` : String(term)
  if (typeof term === 'string') return nameOf(term)
  return term.print(...term.terms.map(inner => printSql(inner, nameOf)))
}
