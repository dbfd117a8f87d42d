/**
 * What goes wrong on the way: broken clients whose messages the contract must refuse, each for its own reason. Made by mutilating a good event,
 * as a bug would. They carry no `seq` of their own that would be missed.
 */
import type { QualityEvent } from '../../ingest/contract/events.ts'
import type { Reason } from '../../ingest/contract/refusal.ts'
import { pickWeighted, type Random } from './random.ts'

export interface Malformed {
  readonly value: Buffer | null
  /** What it should be refused for. */
  readonly reason: Reason
}

const DAY_MS = 86_400_000
const json = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))

const FAULTS: readonly (readonly [(event: QualityEvent) => Malformed, number])[] = [
  // A process that died while writing.
  [event => ({ value: json(event).subarray(0, 60), reason: 'not_json' }), 3],
  // Latin-1 where UTF-8 is meant.
  [
    event => ({
      value: Buffer.concat([json(event).subarray(0, -2), Buffer.from([0xe9, 0x22, 0x7d])]),
      reason: 'not_json',
    }),
    1,
  ],
  [event => ({ value: json([event]), reason: 'not_an_object' }), 1],
  [event => ({ value: json({ ...event, v: 2 }), reason: 'unknown_version' }), 2],
  [event => ({ value: json({ ...event, kind: 'frametimes' }), reason: 'unknown_kind' }), 2],
  // Milliseconds with fractions where whole microseconds are meant.
  [event => ({ value: json({ ...event, started_at_ms: event.started_at_ms + 0.5 }), reason: 'bad_shape' }), 3],
  [event => ({ value: json({ ...event, sessionId: event.session_id }), reason: 'bad_shape' }), 2],
  [() => ({ value: null, reason: 'tombstone' }), 1],
  // Spooled on a disk for longer than anything can wait.
  [event => ({ value: json({ ...event, started_at_ms: event.sent_at_ms - 30 * DAY_MS }), reason: 'too_old' }), 1],
  [event => ({ value: json({ ...event, started_at_ms: event.sent_at_ms + DAY_MS }), reason: 'from_future' }), 1],
]

/** What a broken client would say in place of `event`. */
export const mutilate = (event: QualityEvent, random: Random): Malformed => pickWeighted(random, FAULTS)(event)
