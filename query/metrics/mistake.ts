/**
 * A question that cannot be answered as it was put. Thrown by whatever reads the question; `http/problems.ts` turns it into the
 * document the caller gets. The text is ours and names the caller's own words at most: never a database's.
 */

/** What callers can do wrong: one closed list, from the parser to the OpenAPI document. */
export const MISTAKES = [
  'unknown_metric',
  'unknown_session',
  'unknown_dimension',
  'unknown_parameter',
  'bad_time',
  'bad_range',
  'bad_step',
  'too_many_buckets',
  'bad_tier',
  'bad_filter',
  'bad_limit',
  'bad_order',
  'bad_session_id',
  'bad_ladder',
  'unknown_rung',
  'bad_parameter',
  'no_distribution',
  'bad_condition',
  'bad_cursor',
  'not_comparable',
  'bad_body',
  'already_exists',
  /** Well put, but more than one question may cost. */
  'too_expensive',
] as const
export type MistakeCode = (typeof MISTAKES)[number]

export class Mistake extends Error {
  override readonly name = 'Mistake'
  readonly code: MistakeCode
  readonly parameter: string | undefined

  /** @param detail a sentence for the caller: what was expected */
  constructor(code: MistakeCode, parameter: string | undefined, detail: string) {
    super(detail)
    this.code = code
    this.parameter = parameter
  }
}
