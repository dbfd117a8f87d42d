/** Two filters at once: what both select. Within one filter values of a dimension are alternatives; between the two both must hold. */
import type { Filter } from '../metrics/filter.ts'
import { Mistake } from '../metrics/mistake.ts'

/**
 * @param parameter whose `own` filters are
 * @throws Mistake where the two contradict each other
 */
export function narrowed(common: readonly Filter[], own: readonly Filter[], parameter: string): readonly Filter[] {
  const excluded = [...common, ...own].filter(filter => filter.exclude)
  const dimensions = new Set([...common, ...own].map(filter => filter.dimension))
  const included = [...dimensions].flatMap(dimension => {
    const of = (filters: readonly Filter[]) => filters.filter(f => f.dimension === dimension && !f.exclude)
    const [first, second] = [of(common), of(own)]
    if (first.length === 0 || second.length === 0) return [...first, ...second]
    const both = first.filter(({ value }) => second.some(filter => filter.value === value))
    if (both.length === 0)
      throw new Mistake('bad_filter', parameter, `${parameter} asks for a ${dimension} that filter leaves out`)
    return both
  })
  return [...included, ...excluded]
}
