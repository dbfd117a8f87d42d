/**
 * The arms side by side: what each was like at the start and after, and one against another with a 95 % interval. Traces are drawn again,
 * not sessions alone: a trace has its good and bad minutes for everybody who plays over it. What one session is in every arm stays together.
 */
import { chance } from '../../query/statistics/weights.ts'
import { pick } from '../fleet/random.ts'
import { table } from '../fleet/summary.ts'
import { type Outcome, PHASES, type Phase, type Sums, totalOf } from './outcome.ts'

/** Of one arm, by trace. */
export type Outcomes = ReadonlyMap<string, readonly Outcome[]>

interface Figure {
  readonly title: string
  readonly above: (sums: Sums) => number
  readonly below: (sums: Sums) => number
  readonly digits: number
}

const MINUTE_MS = 60_000
const BITS_PER_GB = 8e9
export const FIGURES = {
  bad: {
    title: 'stutter + freeze %',
    above: ({ stutter_us, freeze_us }) => 100 * (stutter_us + freeze_us),
    below: ({ shown_us }) => shown_us,
    digits: 2,
  },
  stutter: { title: 'stutter %', above: s => 100 * s.stutter_us, below: s => s.shown_us, digits: 2 },
  freeze: { title: 'freeze %', above: s => 100 * s.freeze_us, below: s => s.shown_us, digits: 2 },
  bitrate: { title: 'kbit/s', above: s => 1_000 * s.kbit, below: s => s.sent_ms, digits: 0 },
  data: { title: 'GB/h', above: s => (3_600_000 * 1_000 * s.kbit) / BITS_PER_GB, below: s => s.sent_ms, digits: 2 },
  mos: { title: 'MOS', above: s => s.mos, below: s => s.scored, digits: 2 },
  switches: { title: 'switches/min', above: s => MINUTE_MS * s.switches, below: s => s.sent_ms, digits: 1 },
} as const satisfies Record<string, Figure>

/** Traces alike, drawn from one another: nothing is known of fixed lines from 3G. */
export type Strata = readonly (readonly { readonly trace: string; readonly weight: number }[])[]

/** A trace, and of how many times which of its sessions. */
type Drawn = Iterable<{ readonly trace: string; readonly weight: number; readonly sessions: readonly number[] }>

function ratioOver(outcomes: Outcomes, drawn: Drawn, phase: Phase, figure: Figure): number {
  let [above, below] = [0, 0]
  for (const { trace, weight, sessions } of drawn) {
    const of = outcomes.get(trace) ?? []
    const sum = totalOf(sessions.flatMap(session => of[session]?.[phase] ?? []))
    above += weight * figure.above(sum)
    below += weight * figure.below(sum)
  }
  return above / below
}

const everybody = (outcomes: Outcomes, strata: Strata): Drawn =>
  strata.flat().map(one => ({ ...one, sessions: [...(outcomes.get(one.trace) ?? []).keys()] }))

export const figureOf = (outcomes: Outcomes, strata: Strata, phase: Phase, figure: Figure): number =>
  ratioOver(outcomes, everybody(outcomes, strata), phase, figure)

const ROUNDS = 500
const COVERED = [0.025, 0.975] as const

/**
 * How many times as much the one has as the other, over the same people and traces, with a 95 % interval: of each kind as many traces are
 * drawn as there are, of each of these as many sessions (percentiles of a two-stage bootstrap; Davison & Hinkley 1997, 3.8).
 */
export function ratioOf(one: Outcomes, other: Outcomes, strata: Strata, phase: Phase, figure: Figure) {
  const random = chance(1)
  const drawOf = <T>(list: readonly T[]): T[] => list.map(() => pick(random, list))
  const ratios = Array.from({ length: ROUNDS }, () => {
    const drawn = strata.flatMap(traces =>
      drawOf(traces).map(trace => ({ ...trace, sessions: drawOf([...(one.get(trace.trace) ?? []).keys()]) })),
    )
    return ratioOver(one, drawn, phase, figure) / ratioOver(other, drawn, phase, figure)
  }).sort((a, b) => a - b)
  const [low = Number.NaN, high = Number.NaN] = COVERED.map(p => ratios[Math.round(p * (ROUNDS - 1))])
  return { ratio: figureOf(one, strata, phase, figure) / figureOf(other, strata, phase, figure), low, high }
}

const TITLES = { start: 'the first 30 s', after: 'after that' } as const satisfies Record<Phase, string>
const percent = (ratio: number): string => `${ratio >= 1 ? '+' : '−'}${Math.abs(100 * (ratio - 1)).toFixed(0)} %`

/** @param arms by name; `against` and `mine` among them */
export function report(
  arms: ReadonlyMap<string, Outcomes>,
  strata: Strata,
  [against, mine]: readonly [string, string],
): string {
  const figures = Object.values(FIGURES)
  return PHASES.map(phase => {
    const lines = [...arms].map(([name, outcomes]) => [
      name,
      ...figures.map(figure => figureOf(outcomes, strata, phase, figure).toFixed(figure.digits)),
    ])
    const [one, other] = [arms.get(mine) ?? new Map(), arms.get(against) ?? new Map()]
    const changes = [FIGURES.bad, FIGURES.bitrate].map(figure => {
      const { ratio, low, high } = ratioOf(one, other, strata, phase, figure)
      return `${figure.title} ${percent(ratio)} (95 %: ${percent(low)} to ${percent(high)})`
    })
    const networks = strata.map(stratum => {
      const [before, now] = [other, one].map(outcomes => figureOf(outcomes, [stratum], phase, FIGURES.bad).toFixed(2))
      return `${stratum[0]?.trace.split('/')[0]} ${before} → ${now}`
    })
    return `${table([[TITLES[phase], ...figures.map(({ title }) => title)], ...lines])}
  ${mine} against ${against}: ${changes.join('; ')}
  ${FIGURES.bad.title} by network: ${networks.join(', ')}`
  }).join('\n\n')
}
