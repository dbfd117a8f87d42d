/**
 * A simulated fleet, and nothing but a simulation: no player was measured. Frame cadence and bandwidth come from real captures
 * (`data/SOURCES.md`); who plays, the network's other figures and all failures are drawn (`population.ts`, `session.ts`).
 *
 *   captures.ts  host cadence from recombined blocks ─┐
 *   traces.ts    measured bandwidth ── link.ts ───────┼── stream.ts ── session.ts ── fleet.ts ── generate.ts: for tests and benches
 *   controller.ts rate and rungs ── playout.ts ───────┘                                      └── run.ts: paced, through emitters
 *
 * A fleet has so many places; each holds one session after the other. A place speaks once a second at its own millisecond. Everything
 * follows from the seed: the same seed gives the same sessions, frames, failures and bytes, whenever they are asked for.
 */
import { chance } from '../../query/statistics/weights.ts'
import { cutBlocks, readCaptures } from './captures.ts'
import { between, mixSeed } from './random.ts'
import { type Material, type Said, Session, sessionSeed } from './session.ts'
import { readTraces } from './traces.ts'

export interface FleetOptions {
  readonly seed: number
  /** How many play at once. */
  readonly sessions: number
  /** Where the simulated clock starts, epoch milliseconds. */
  readonly start_ms: number
}

/** What a session said at one moment. */
export interface Tick {
  readonly at_ms: number
  /** Unique in the fleet, from 0: seeds what happens to the messages on their way. */
  readonly number: number
  readonly session: Session
  readonly said: readonly Said[]
}

export const readMaterial = (): Material => ({
  blocks: readCaptures().flatMap(capture => cutBlocks(capture)),
  traces: readTraces(),
})

/** Between one session of a place and the next. */
const PAUSE_MAX_S = 4

/** Everything the fleet says, in order of time, without end. */
export function* fleetTicks(
  { seed, sessions, start_ms }: FleetOptions,
  material: Material = readMaterial(),
): Generator<Tick, never> {
  const places = Array.from({ length: sessions }, (_, place) => {
    const random = chance(mixSeed(seed, place, -1))
    const phase_ms = Math.floor((1000 * (place + 0.5)) / sessions)
    return { place, random, phase_ms, generation: 0, free_at_s: 0, session: undefined as Session | undefined }
  })
  let number = 0
  for (let second = 0; ; second++) {
    for (const place of places) {
      if (second < place.free_at_s) continue
      const at_ms = start_ms + second * 1000 + place.phase_ms
      place.session ??= new Session(sessionSeed(seed, place.place, place.generation), at_ms, material)
      const { session } = place
      const said = session.tick(at_ms)
      if (session.ended) {
        place.session = undefined
        place.generation++
        place.free_at_s = second + Math.ceil(between(place.random, 1, PAUSE_MAX_S))
      }
      if (said.length > 0) yield { at_ms, number: number++, session, said }
    }
  }
}
