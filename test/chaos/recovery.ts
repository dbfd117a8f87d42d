/** How long it took until what is stored was as fresh again as before. Pure: over samples of the age of the oldest record that is not stored. */

export interface Age {
  readonly at_ms: number
  readonly age_ms: number
}

export interface Recovery {
  /** From the event until the age stayed at what it was before. Null: not before the next event. */
  readonly recovered_ms: number | null
  readonly oldest_ms: number
}

/**
 * The last moment of [from, to) at which the age was above what it was before, since it may still be young for a while after the event:
 * whoever is told to leave first stores what is in hand.
 * @param ages in the order of time
 */
export function recoveryOf(ages: readonly Age[], before_ms: number, from_ms: number, to_ms: number): Recovery {
  const within = ages.filter(({ at_ms }) => at_ms >= from_ms && at_ms < to_ms)
  const oldest_ms = Math.max(0, ...within.map(({ age_ms }) => age_ms))
  const old = within.findLastIndex(({ age_ms }) => age_ms > before_ms)
  const fresh = within[old + 1]
  if (!fresh) return { recovered_ms: null, oldest_ms }
  return { recovered_ms: old < 0 ? 0 : fresh.at_ms - from_ms, oldest_ms }
}
