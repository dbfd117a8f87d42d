/** Another order of the same values, the same for the same seed. */
import { chance } from '../../query/statistics/weights.ts'

export function shuffled<T>(values: readonly T[], seed: number): T[] {
  const dice = chance(seed)
  return values
    .map(value => [dice(), value] as const)
    .sort(([a], [b]) => a - b)
    .map(([, value]) => value)
}
