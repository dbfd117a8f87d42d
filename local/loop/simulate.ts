/**
 * One session of one arm in virtual time, thousands of times faster than life: what it says goes into the very window, recommendation and
 * supervision that the API and its callers run, told as late as they would be. The same seed and trace give every arm the same player,
 * frames, stalls and bandwidth. A simulation: nobody played.
 */
import { CONTRACT_VERSION, type QualityEvent } from '../../ingest/contract/events.ts'
import type { EventDraft, Source } from '../../ingest/emit/emitter.ts'
import { type Advice, adviceOn, type Knowledge } from '../../query/abr/advice.ts'
import type { Ladder } from '../../query/abr/ladder.ts'
import { type LiveSession, stateOf } from '../../query/abr/live.ts'
import type { Standing } from '../../query/abr/state.ts'
import { LiveWindow } from '../../query/abr/window.ts'
import type { Controller, Rung } from '../fleet/controller.ts'
import { type Material, Session } from '../fleet/session.ts'
import type { Trace } from '../fleet/traces.ts'
import { Account, type Outcome } from './outcome.ts'
import { ladderOf, Supervision } from './supervision.ts'

export interface Play {
  readonly seed: number
  readonly trace: Trace
  readonly plays_ms: number
}

/** How the rate is controlled. `supervised`: with our start, cap and supervision. */
export interface Arm {
  readonly name: string
  readonly controllerOn: (ladder: readonly Rung[], start_kbps?: number) => Controller
  readonly advisor?: Pick<Knowledge, 'stale_after_ms' | 'priors'>
}

export interface Played {
  readonly outcome: Outcome
  readonly events: readonly QualityEvent[]
  readonly session: Session
}

/** An event is told of a second after it was said: batching, Kafka, the follower. Measured: p50 half a second, p99 under two. */
const TOLD_AFTER_S = 1

export const eventOf = (
  { id, context }: Session,
  source: Source,
  seq: number,
  draft: EventDraft,
  sent_at_ms: number,
): QualityEvent =>
  ({ ...{ v: CONTRACT_VERSION, session_id: id, context, source }, ...draft, seq, sent_at_ms }) as QualityEvent

export function simulate(material: Material, arm: Arm, { seed, trace, plays_ms }: Play): Played {
  const window = new LiveWindow()
  const account = new Account()
  const events: QualityEvent[] = []
  const untold: QualityEvent[][] = []
  let now_ms = 0
  let live: LiveSession | undefined
  let supervision: Supervision | undefined
  let ladder: Ladder | undefined
  const advise = (standing: Standing | undefined): Advice['recommendation'] | undefined =>
    arm.advisor &&
    ladder &&
    adviceOn(
      { ...arm.advisor, ladder, sessions: { of: () => live, heard_ms: live?.as_of_ms ?? 0 } },
      { session_id: session.id, context: session.context, standing },
      now_ms,
    ).recommendation
  const session: Session = new Session(seed, 0, material, {
    ...{ trace, plays_ms },
    controllerOn: rungs => {
      ladder = ladderOf(rungs)
      const start = advise(undefined)
      if (!start) return arm.controllerOn(rungs)
      supervision = new Supervision(ladder, start, now_ms)
      return supervision.over(arm.controllerOn(rungs, supervision.start_kbps))
    },
  })
  for (let second = 1, seq = 0; !session.ended; second++) {
    now_ms = second * 1_000
    const said = session.tick(now_ms).map(({ source, draft }) => eventOf(session, source, seq++, draft, now_ms))
    account.hear(said, now_ms - 1_000 - session.startup_ms)
    events.push(...said)
    untold.push(said)
    if (!supervision || untold.length <= TOLD_AFTER_S) continue
    for (const event of untold.splice(0, untold.length - TOLD_AFTER_S).flat()) window.add(event, event.started_at_ms)
    live = {
      state: stateOf(window.figures(), window.rung, session.context, {}),
      context: session.context,
      period_ms: 1_000,
      as_of_ms: now_ms - 1_000 * TOLD_AFTER_S,
    }
    const recommendation = advise(supervision.standing(now_ms))
    if (recommendation) supervision.heed(recommendation, now_ms)
  }
  return { outcome: account.outcome, events, session }
}
