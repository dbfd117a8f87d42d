/**
 * Which segments of a fleet (one value of a dimension, or two of two) got worse beyond everybody else. Every segment with enough
 * sessions is tested for every metric; the false discovery rate over all of them is held; segments of the very same sessions are one,
 * under the simplest name; and what a stronger finding already explains is left out: its sessions are taken away and the others
 * tested again.
 */
import { addTerms, badShare, type Excess, excessOf, presence, SUMS, writeTerms } from './excess.ts'
import type { Steps } from './slices.ts'
import { falseDiscoveryRates } from './tail.ts'

/** A session's amounts of one metric: x is bad, y what it is measured in; now and before. */
export interface Amounts {
  readonly x1: Float64Array
  readonly y1: Float64Array
  readonly x0: Float64Array
  readonly y0: Float64Array
}

export interface Fleet {
  /** Per dimension the value of each session, as a number below `values`, or UNKNOWN. */
  readonly dimensions: readonly { readonly codes: Int32Array; readonly values: number }[]
  readonly metrics: readonly Amounts[]
  readonly sessions: number
}

/** Positions in the fleet's dimensions, and the code of each. */
export type Name = readonly { readonly dimension: number; readonly code: number }[]

export interface Finding extends Excess {
  readonly metric: number
  readonly name: Name
  readonly sessions: number
  /** Of all that is bad now. */
  readonly share_of_bad: number
  readonly q: number
}

/** A segment has so many sessions now and before, as has the rest; below, a sum of a few says too little of its own error. */
const SEGMENT_SESSIONS_MIN = 30
export const UNKNOWN = -1
export const FALSE_DISCOVERY_RATE = 0.05

interface Segment {
  readonly name: Name
  readonly members: Int32Array
}

interface Tested extends Excess {
  readonly metric: number
  readonly segment: Segment
  readonly sessions: number
  readonly share_of_bad: number
}

export interface Found {
  /** Of each metric the strongest first. */
  readonly findings: readonly Finding[]
  /** How many pairs of segment and metric were tested. */
  readonly tested: number
}

export function* findSegments(fleet: Fleet): Steps<Found> {
  const terms: Float64Array[] = []
  for (const amounts of fleet.metrics) {
    terms.push(termsOf(amounts, fleet.sessions))
    yield
  }
  const everybody = Int32Array.from({ length: fleet.sessions }, (_, i) => i)
  const all = terms.map(of => sumsOf(of, everybody))
  const segments = yield* segmentsOf(fleet)
  const tests: Tested[] = []
  for (const segment of segments) {
    for (const [metric, of] of terms.entries()) {
      const test = tested(metric, segment, sumsOf(of, segment.members), all[metric])
      if (test) tests.push(test)
    }
    yield
  }
  const q = falseDiscoveryRates(tests.map(({ p }) => p))
  yield
  const found = tests.flatMap((test, i) => ((q[i] ?? 1) <= FALSE_DISCOVERY_RATE ? [{ ...test, q: q[i] ?? 1 }] : []))
  const findings: Finding[] = []
  for (const [metric, of] of terms.entries())
    findings.push(
      ...(yield* unexplained(
        found.filter(test => test.metric === metric),
        of,
        everybody,
      )),
    )
  return { findings, tested: tests.length }
}

function termsOf({ x1, y1, x0, y0 }: Amounts, sessions: number): Float64Array {
  const terms = new Float64Array(sessions * SUMS)
  for (let i = 0; i < sessions; i++) writeTerms(terms, i * SUMS, x1[i] ?? 0, y1[i] ?? 0, x0[i] ?? 0, y0[i] ?? 0)
  return terms
}

function sumsOf(terms: Float64Array, members: Int32Array): Float64Array {
  const sums = new Float64Array(SUMS)
  for (const member of members) addTerms(sums, terms, member * SUMS)
  return sums
}

function tested(metric: number, segment: Segment, group: Float64Array, all: Float64Array | undefined) {
  if (all === undefined) return undefined
  const rest = all.map((sum, i) => sum - (group[i] ?? 0))
  if (Math.min(...[group, rest].flatMap(presence)) < SEGMENT_SESSIONS_MIN) return undefined
  const excess = excessOf(group, rest)
  return excess && { ...excess, metric, segment, sessions: presence(group)[0], share_of_bad: badShare(group, all) }
}

/** Every segment that might have sessions enough, those of the same sessions once: single values come first and so win. */
function* segmentsOf({ dimensions, sessions }: Fleet): Steps<Segment[]> {
  const segments = new Map<string, Segment>()
  const singles = dimensions.map((_, i) => [i])
  const pairs = dimensions.flatMap((_, i) => dimensions.slice(i + 1).map((_, j) => [i, i + 1 + j]))
  for (const combination of [...singles, ...pairs]) {
    const members = new Map<number, number[]>()
    for (let session = 0; session < sessions; session++) {
      const code = jointCode(dimensions, combination, session)
      if (code === undefined) continue
      const list = members.get(code)
      if (list) list.push(session)
      else members.set(code, [session])
    }
    for (const list of members.values()) {
      const [first = 0] = list
      if (list.length < SEGMENT_SESSIONS_MIN) continue
      const name = combination.map(dimension => ({ dimension, code: dimensions[dimension]?.codes[first] ?? 0 }))
      const key = fingerprint(list)
      if (!segments.has(key)) segments.set(key, { name, members: Int32Array.from(list) })
    }
    yield
  }
  return [...segments.values()]
}

/** Undefined where one of the values is unknown: not knowing is no segment. */
function jointCode(dimensions: Fleet['dimensions'], combination: readonly number[], session: number) {
  let joint = 0
  for (const i of combination) {
    const code = dimensions[i]?.codes[session] ?? UNKNOWN
    if (code === UNKNOWN) return undefined
    joint = joint * (dimensions[i]?.values ?? 1) + code
  }
  return joint
}

/** Equal for the same sessions, and practically only for those. */
function fingerprint(members: readonly number[]): string {
  let [one, other] = [0, 0]
  for (const member of members) {
    one = (Math.imul(one, 31) + member) | 0
    other = (Math.imul(other, 0x01000193) ^ member) | 0
  }
  return `${members.length}:${one}:${other}`
}

/** The strongest, then whatever is still found without its sessions, and so on. */
function* unexplained(
  found: readonly (Tested & { readonly q: number })[],
  terms: Float64Array,
  everybody: Int32Array,
): Steps<Finding[]> {
  const threshold = Math.max(0, ...found.map(({ p }) => p))
  const gone = new Uint8Array(everybody.length)
  const here = (members: Int32Array): Int32Array => members.filter(member => gone[member] === 0)
  const findings: Finding[] = []
  let open = [...found].sort(stronger)
  for (let [strongest] = open; strongest !== undefined; [strongest] = open) {
    const { segment, ...rest } = strongest
    findings.push({ ...rest, name: segment.name })
    for (const member of segment.members) gone[member] = 1
    const all = sumsOf(terms, here(everybody))
    const still: (Tested & { readonly q: number })[] = []
    for (const candidate of open) {
      const again = tested(candidate.metric, candidate.segment, sumsOf(terms, here(candidate.segment.members)), all)
      // As it was found, with everybody: only whether it is told depends on what is left of it.
      if (again && again.p <= threshold) still.push(candidate)
      yield
    }
    open = still
  }
  return findings
}

const strength = ({ excess, error }: Excess): number => excess / error
const stronger = (one: Tested, other: Tested): number =>
  strength(other) - strength(one) || one.segment.name.length - other.segment.name.length
