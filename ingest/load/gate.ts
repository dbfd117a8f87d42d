/**
 * A partition's gate: only what stands exactly where the data ends may enter. Pure decisions about positions; `loader.ts` acts.
 *
 * kafkajs fetches from committed offsets before a take is finished, keeps old fetches over a seek, and jumps when a position has
 * expired. None of that can put a row in the wrong place: a fetch that did not start where we stand is sent back.
 */

export interface Gate {
  readonly partition: number
  /** The first offset that has not entered. */
  next: number
  /**
   * Append time of the record at `next - 1`, to be seen again first: proves that this is still the same log. Undefined once seen, or
   * where that record was never delivered or has expired.
   */
  verify_appended_at_ms: number | undefined
}

/** Where the next fetch must start. */
export const fetchPosition = (gate: Gate): number =>
  gate.verify_appended_at_ms === undefined ? gate.next : gate.next - 1

export type Placement =
  /** It starts where we stand. */
  | 'in_order'
  /** It does not: seek to `fetchPosition` and see whether the log's ends have moved. */
  | 'elsewhere'

export const place = (gate: Gate, fetched_offset: number): Placement =>
  fetched_offset === fetchPosition(gate) ? 'in_order' : 'elsewhere'

/** What to do about the ends of the log, when a fetch came from elsewhere or a partition is taken. */
export type Ends =
  | { readonly ok: true; readonly expired?: undefined }
  /** Kafka deleted offsets [next, expired) before we read them. */
  | { readonly ok: true; readonly expired: number }
  /** The log is shorter than what we stored of it: it is another one. */
  | { readonly ok: false }

export function compareEnds(gate: Gate, low: number, high: number): Ends {
  if (high < gate.next) return { ok: false }
  if (low > gate.next) return { ok: true, expired: low }
  return { ok: true }
}

/**
 * Checks the first record behind a take against what was stored of it.
 * @returns false if another record stands there, or none: the topic was deleted and created again
 */
export function verifySameLog(gate: Gate, offset: number, appended_at_ms: number): boolean {
  return offset === gate.next - 1 && appended_at_ms === gate.verify_appended_at_ms
}
