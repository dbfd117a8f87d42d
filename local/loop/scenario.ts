/**
 * Who plays over what: the traces in two halves, one to develop and tune on, one to report on, and so many of the fleet's people on each.
 * The halves were cut before anything was tuned: every other trace, kind by kind. Figures weigh each kind of network as the fleet has it.
 */
import { mixSeed } from '../fleet/random.ts'
import { type Material, Session } from '../fleet/session.ts'
import type { Network, Trace } from '../fleet/traces.ts'
import type { Strata } from './compare.ts'
import type { Play } from './simulate.ts'

export type Half = 'development' | 'report'

export const tracesOf = ({ traces }: Pick<Material, 'traces'>, half: Half): Trace[] =>
  traces.filter((_, i) => (i % 2 === 0) === (half === 'development'))

/** The first people of the fleet, by their seed, whose network is of the trace's kind. */
export function* playsOver(
  material: Material,
  traces: readonly Trace[],
  { seed, per_trace, plays_ms }: { seed: number; per_trace: number; plays_ms: number },
): Generator<Play> {
  for (const trace of traces)
    for (let person = 0, found = 0; found < per_trace; person++) {
      const one = mixSeed(seed, person)
      if (new Session(one, 0, material).network !== trace.kind) continue
      found++
      yield { seed: one, trace, plays_ms }
    }
}

/** As the fleet is: so many people, each over a trace of their network. */
export function* fleetOver(
  material: Material,
  traces: readonly Trace[],
  { seed, people, plays_ms }: { seed: number; people: number; plays_ms: number },
): Generator<Play> {
  for (let person = 0; person < people; person++) {
    const one = mixSeed(seed, person)
    const { network } = new Session(one, 0, material)
    const alike = traces.filter(({ kind }) => kind === network)
    const trace = alike[person % alike.length]
    if (trace) yield { seed: one, trace, plays_ms }
  }
}

const PEOPLE = 20_000

/** Traces by kind, each with the share of the fleet it stands for. */
export function strataOf(material: Material, traces: readonly Trace[]): Strata {
  const people = new Map<Network, number>()
  for (let person = 0; person < PEOPLE; person++) {
    const { network } = new Session(mixSeed(0, person), 0, material)
    people.set(network, (people.get(network) ?? 0) + 1)
  }
  return [...people].map(([kind, count]) => {
    const alike = traces.filter(trace => trace.kind === kind)
    return alike.map(({ name }) => ({ trace: name, weight: count / PEOPLE / alike.length }))
  })
}
