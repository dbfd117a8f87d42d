/**
 * A formula that is written once and runs in both places: compiled here for single values, printed as SQL for settling.
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

/**
 * The formula as a function of its names' values, each at the place that `placeOf` says. To walk the terms anew each time costs
 * half as much again, and this runs for every answer to bitrate logic.
 */
export function compile(term: Term, placeOf: (name: string) => number): (values: Float64Array) => number {
  if (typeof term === 'number') return () => term
  if (typeof term === 'string') {
    const place = placeOf(term)
    return values => values[place] ?? Number.NaN
  }
  const { apply } = term
  const given = term.terms.map(inner => compile(inner, placeOf))
  const [a, b, c] = given
  if (a && given.length === 1) return values => apply(a(values))
  if (a && b && given.length === 2) return values => apply(a(values), b(values))
  if (a && b && c && given.length === 3) return values => apply(a(values), b(values), c(values))
  return values => apply(...given.map(value => value(values)))
}

/** @param nameOf what a name is called in SQL */
export function printSql(term: Term, nameOf: (name: string) => string): string {
  if (typeof term === 'number') return term < 0 ? `(${term})` : String(term)
  if (typeof term === 'string') return nameOf(term)
  return term.print(...term.terms.map(inner => printSql(inner, nameOf)))
}
