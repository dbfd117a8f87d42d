/**
 * The fleet's messages as values, for tests and benchmarks: no clock, no emitter, no broker.
 */

import { CONTRACT_VERSION, type QualityEvent } from '../../ingest/contract/events.ts'
import type { Reason } from '../../ingest/contract/refusal.ts'
import { chance } from '../../query/statistics/weights.ts'
import { mutilate } from './faults.ts'
import { type FleetOptions, fleetTicks, readMaterial } from './fleet.ts'
import { mixSeed } from './random.ts'
import type { Material } from './session.ts'

export interface GenerateOptions extends FleetOptions {
  /** Simulated seconds. About two events per session and second. */
  readonly seconds: number
  /** Malformed messages per good one. */
  readonly malformed?: number
  /** Resends (the same bytes once more) per good one. */
  readonly resent?: number
}

export type FleetMessage =
  | {
      readonly at_ms: number
      readonly session_id: string
      readonly event: QualityEvent
      readonly resent: boolean
      readonly reason?: never
    }
  /** One to be refused, for this reason. */
  | {
      readonly at_ms: number
      readonly session_id: string
      readonly value: Buffer | null
      readonly reason: Reason
      readonly event?: never
    }

/** Handing over takes up to this long after the second is over. */
const HANDOVER_MS = 40

/** Everything the fleet says in so many seconds, in order of time. Each session's good events are numbered from 0 without a gap. */
export function* generateEvents(
  options: GenerateOptions,
  material: Material = readMaterial(),
): Generator<FleetMessage, void> {
  const { seed, seconds, start_ms, malformed = 0, resent = 0 } = options
  const numbers = new Map<string, { client: number; host: number; controller: number }>()
  const random = chance(mixSeed(seed, 0x6e657477))
  const end_ms = start_ms + seconds * 1000
  for (const { at_ms, session, said } of fleetTicks(options, material)) {
    if (at_ms >= end_ms) return
    const session_id = session.id
    const next = numbers.get(session_id) ?? { client: 0, host: 0, controller: 0 }
    numbers.set(session_id, next)
    for (const { source, draft } of said) {
      const event: QualityEvent = {
        v: CONTRACT_VERSION,
        session_id,
        source,
        seq: next[source]++,
        context: session.context,
        ...draft,
        sent_at_ms: at_ms + Math.floor(random() * HANDOVER_MS),
      }
      yield { at_ms, session_id, event, resent: false }
      if (random() < resent) yield { at_ms, session_id, event, resent: true }
      if (random() < malformed) yield { at_ms, session_id, ...mutilate(event, random) }
    }
    if (session.ended) numbers.delete(session_id)
  }
}
