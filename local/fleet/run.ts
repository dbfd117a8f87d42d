/**
 * The fleet in real time: what `fleetTicks` says, through one emitter per speaker and one shared sender, when its time has come.
 *
 * Faster than life (`speed` S): simulated time may not run ahead of the real one, for events from the future are refused. So it starts
 * in the past, (S − 1) × the planned length ago, and runs S times as fast until it has caught up; then it goes on with the real clock.
 * Such events are old when made and are stamped `sent_at_ms` when handed over, as those of a client that was offline for a while.
 * If the broker falls behind, the simulated clock waits; the emitters drop nothing.
 */

import { CONTRACT_VERSION, type QualityEvent } from '../../ingest/contract/events.ts'
import { systemClock } from '../../ingest/emit/clock.ts'
import { createEmitter, type Emitter, type Message, type Source } from '../../ingest/emit/emitter.ts'
import type { KafkaSender } from '../../ingest/emit/kafka.ts'
import { chance } from '../../query/statistics/weights.ts'
import { mutilate } from './faults.ts'
import { fleetTicks, type Tick } from './fleet.ts'
import { mixSeed, pick } from './random.ts'
import type { Said, Session } from './session.ts'

export interface RunOptions {
  readonly sender: Pick<KafkaSender, 'send' | 'sendRaw'>
  readonly seed: number
  readonly sessions: number
  readonly speed: number
  /** How long it is meant to run; what `speed` catches up in. */
  readonly planned_ms: number
  /** Malformed messages per good one, and batches of an emitter whose first event is sent again. */
  readonly malformed?: number
  readonly resent?: number
}

export interface RunStats {
  readonly playing: number
  /** How far the simulated clock is behind the real one. */
  readonly behind_ms: number
  /** Good events: made, acknowledged, still on their way, lost on the way. */
  readonly made: number
  readonly sent: number
  readonly waiting: number
  readonly dropped: number
  /** Acknowledged beside those: the same bytes once more, and messages to be refused. */
  readonly resent: number
  readonly malformed: number
  /** Refused by the emitters, which would be a fault of ours. */
  readonly refused: number
}

export interface FleetRun {
  /** Where the simulated clock started: no event is earlier. */
  readonly start_ms: number
  stats(): RunStats
  /** Falls silent: no session says goodbye, what was said is handed over. Resolves with what became of it. */
  stop(deadline_ms: number): Promise<RunStats>
}

const STEP_MS = 20
/** Longest turn before others get theirs. */
const TURN_MS = 15
const LINGER_MS = 40
const WAITING_MAX = 20_000
const BACKLOG_MAX_MS = 6 * 86_400_000
const GOODBYE_MS = 60_000

const MALFORMED = 0.001
const RESENT = 0.005
/** Share of sessions whose clock is in another time zone than it says. */
const WRONG_CLOCK = 0.01
const WRONG_BY_MS = [-3_600_000, 3_600_000, 7_200_000] as const

interface Speaker {
  readonly clock_error_ms: number
  readonly emitters: Map<Source, Emitter>
}

/** Simulated time at a real time. */
export const simulatedTime = (real_ms: number, began_ms: number, speed: number, planned_ms: number): number =>
  Math.min(real_ms, simulatedStart(began_ms, speed, planned_ms) + (real_ms - began_ms) * speed)

export const simulatedStart = (began_ms: number, speed: number, planned_ms: number): number =>
  Math.round(began_ms - Math.min((speed - 1) * planned_ms, BACKLOG_MAX_MS))

export function runFleet(options: RunOptions): FleetRun {
  const { sender, seed, sessions, speed, planned_ms, malformed = MALFORMED, resent = RESENT } = options
  const began_ms = Date.now()
  const start_ms = simulatedStart(began_ms, speed, planned_ms)
  const ticks = fleetTicks({ seed, sessions, start_ms })
  const random = chance(mixSeed(seed, 0x72756e))
  const speakers = new Map<string, Speaker>()
  const closing = new Set<Promise<unknown>>()
  const counts = { made: 0, sent: 0, dropped: 0, resent: 0, malformed: 0, refused: 0 }
  let next: Tick = ticks.next().value
  let stopped = false
  let timer = setTimeout(turn, 0)

  function turn(): void {
    const now = Date.now()
    const until_ms = simulatedTime(now, began_ms, speed, planned_ms)
    while (!stopped && next.at_ms <= until_ms && waiting() < WAITING_MAX && Date.now() - now < TURN_MS) {
      for (const said of next.said) say(next.session, said)
      if (next.session.ended) goodbye(next.session.id)
      next = ticks.next().value
    }
    if (!stopped) timer = setTimeout(turn, next.at_ms <= until_ms && waiting() < WAITING_MAX ? 0 : STEP_MS)
  }

  // What was abandoned at a deadline counts as dropped and may arrive after all.
  const waiting = () => Math.max(0, counts.made - counts.sent - counts.dropped - counts.refused)

  function say(session: Session, { source, draft }: Said): void {
    const { clock_error_ms, emitters } = speakerOf(session)
    let emitter = emitters.get(source)
    if (!emitter) {
      emitter = newEmitter(session, source, clock_error_ms)
      emitters.set(source, emitter)
    }
    const shifted = { ...draft, started_at_ms: draft.started_at_ms + clock_error_ms }
    counts.made++
    emitter.emit(shifted)
    if (random() < malformed) {
      const { id: session_id, context } = session
      const event: QualityEvent = {
        v: CONTRACT_VERSION,
        session_id,
        source,
        seq: 0,
        context,
        ...draft,
        sent_at_ms: Date.now(),
      }
      resend([{ key: session_id, value: mutilate(event, random).value }], 'malformed')
    }
  }

  function speakerOf({ id }: Session): Speaker {
    let speaker = speakers.get(id)
    if (!speaker) {
      speaker = { clock_error_ms: random() < WRONG_CLOCK ? pick(random, WRONG_BY_MS) : 0, emitters: new Map() }
      speakers.set(id, speaker)
    }
    return speaker
  }

  function newEmitter(session: Session, source: Source, clock_error_ms: number): Emitter {
    return createEmitter({
      session_id: session.id,
      source,
      context: session.context,
      linger_ms: LINGER_MS,
      clock: { ...systemClock, now: () => Date.now() + clock_error_ms },
      onDrop: () => counts.dropped++,
      onRefuse: () => counts.refused++,
      send: async messages => {
        await sender.send(messages)
        counts.sent += messages.length
        if (random() < resent) resend(messages.slice(0, 1), 'resent')
      },
    })
  }

  function resend(
    messages: readonly (Message | { key: string; value: Buffer | null })[],
    as: 'resent' | 'malformed',
  ): void {
    const sending = sender.sendRaw(messages).then(
      () => {
        counts[as] += messages.length
      },
      // Nobody tries these again: they count only once they have arrived.
      () => {},
    )
    track(sending)
  }

  function goodbye(session_id: string): void {
    for (const emitter of speakers.get(session_id)?.emitters.values() ?? []) track(emitter.close(GOODBYE_MS))
    speakers.delete(session_id)
  }

  function track(work: Promise<unknown>): void {
    closing.add(work)
    work.finally(() => closing.delete(work))
  }

  const stats = (): RunStats => ({
    playing: speakers.size,
    behind_ms: Math.max(0, Date.now() - next.at_ms),
    waiting: waiting(),
    ...counts,
  })

  return {
    start_ms,
    stats,
    async stop(deadline_ms) {
      stopped = true
      clearTimeout(timer)
      const emitters = [...speakers.values()].flatMap(speaker => [...speaker.emitters.values()])
      let cancel = () => {}
      const deadline = new Promise<void>(resolve => {
        cancel = systemClock.after(deadline_ms, resolve, true)
      })
      const handedOver = Promise.all(emitters.map(emitter => emitter.close(deadline_ms))).then(async () => {
        while (closing.size > 0) await Promise.all(closing)
      })
      await Promise.race([handedOver, deadline])
      cancel()
      return stats()
    },
  }
}
