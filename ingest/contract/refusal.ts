/**
 * Why a message was refused: one closed union, from the wire to the `/v1/rejects` answer and the counters.
 * A refused message is stored with its reason, its bytes and its Kafka position; it never stops its neighbours.
 */
export const REASONS = [
  /** Over `MESSAGE_MAX_BYTES`. */
  'too_large',
  /** Not UTF-8, or not JSON. */
  'not_json',
  'not_an_object',
  'unknown_version',
  'unknown_kind',
  /** With the path of the first field that does not fit. */
  'bad_shape',
  /** Begun longer before Kafka's append time than the store keeps raw events whole. */
  'too_old',
  /** Begun after Kafka's append time, beyond what clocks disagree by. */
  'from_future',
  /** A null value. */
  'tombstone',
] as const

export type Reason = (typeof REASONS)[number]

export interface Refusal {
  readonly reason: Reason
  /** What exactly: the path of the first bad field and what it should have been. Never the value itself. */
  readonly detail: string
}

/** Largest message that is looked into. The topic allows far more, so that a larger one arrives and is refused here. */
export const MESSAGE_MAX_BYTES = 256 * 1024
/** How much of a refused message is kept. One kept whole can be replayed. */
export const REFUSED_BYTES_KEPT = 64 * 1024
