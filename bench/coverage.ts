/**
 * How often the 95 % interval of a comparison holds the truth, on skewed sessions whose truth is known:
 * `npm run bench:coverage -- --repetitions 1000 --rounds 1000`. What it printed last stands in ARCHITECTURE.md.
 */

import { Command } from 'commander'
import { wholeFrom } from '../local/number.ts'
import { differenceOf, type Interval, ROUNDS } from '../query/statistics/difference.ts'
import { atOnce } from '../query/statistics/slices.ts'
import { chance } from '../query/statistics/weights.ts'
import { SCENARIOS, type Scenario } from './skewed-sessions.ts'

const SIDES = [20, 50, 200]

new Command('bench:coverage')
  .description('print how often the 95 % interval of a comparison holds a known difference, in percent')
  .allowExcessArguments(false)
  .option('--repetitions <count>', 'comparisons per row', wholeFrom(1), 1_000)
  .option('--rounds <count>', 'bootstrap rounds per comparison', wholeFrom(1), ROUNDS)
  .action(({ repetitions, rounds }: { repetitions: number; rounds: number }) => {
    for (const scenario of SCENARIOS) {
      for (const sessions of SIDES) report(scenario, sessions, repetitions, rounds)
    }
  })
  .parse()

function report(scenario: Scenario, sessions: number, repetitions: number, rounds: number): void {
  const uniform = chance(sessions)
  const tally = { difference: 0, tooLow: 0, tooHigh: 0, ratio: 0, none: 0 }
  let width = 0
  for (let i = 0; i < repetitions; i++) {
    const { a, b, shared } = scenario.draw(sessions, uniform)
    const found = atOnce(differenceOf(a, b, shared, { rounds, seed: i }))
    if (found === undefined) {
      tally.none++
      continue
    }
    const { low, high } = found.difference
    if (holds(found.difference, scenario.difference)) tally.difference++
    if (high < scenario.difference) tally.tooLow++
    if (low > scenario.difference) tally.tooHigh++
    if (found.ratio !== null && holds(found.ratio, scenario.ratio)) tally.ratio++
    width += high - low
  }
  const pct = (count: number): string => `${((100 * count) / repetitions).toFixed(1)} %`
  console.log(
    `${scenario.name}, ${sessions} a side: difference ${pct(tally.difference)} (below ${pct(tally.tooLow)}, above ${pct(tally.tooHigh)}), ` +
      `ratio ${pct(tally.ratio)}, without interval ${pct(tally.none)}, mean width ${(width / repetitions).toPrecision(3)} for ${scenario.difference.toPrecision(3)}`,
  )
}

function holds({ low, high }: Interval, truth: number): boolean {
  return low <= truth && (high === null || truth <= high)
}
