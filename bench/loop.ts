/**
 * `npm run bench:loop`: does it help? The arms of the closed loop over the traces that nothing was tuned on, in virtual time. The priors
 * are those of sessions over the other half. It is a simulation: nobody played.
 */
import { Command } from 'commander'
import { RateController } from '../local/fleet/controller.ts'
import { readMaterial } from '../local/fleet/fleet.ts'
import { FIXED, LEAST, LOCAL, priorsFrom, supervised } from '../local/loop/arms.ts'
import { report } from '../local/loop/compare.ts'
import type { Outcome } from '../local/loop/outcome.ts'
import { fleetOver, type Half, playsOver, strataOf, tracesOf } from '../local/loop/scenario.ts'
import { type Arm, type Play, simulate } from '../local/loop/simulate.ts'
import { wholeFrom } from '../local/number.ts'

const HISTORY = { seed: 11, people: 1_500, plays_ms: 60_000 }
/** The fleet's own controller, which sees more than a host can: what is available to the kbit, every second. */
const CLAIRVOYANT: Arm = {
  name: 'clairvoyant controller',
  controllerOn: (ladder, start_kbps) => new RateController(ladder, start_kbps),
}

interface Flags {
  readonly perTrace: number
  readonly seconds: number
  readonly half: Half
}

new Command('npm run bench:loop --')
  .option('--per-trace <number>', 'sessions over each trace', wholeFrom(1, 10_000), 60)
  .option('--seconds <number>', 'how long each plays', wholeFrom(31, 3_600), 120)
  .option('--half <name>', 'of the traces: report, or development to tune on', 'report')
  .allowExcessArguments(false)
  .action(run)
  .parse()

function run({ perTrace, seconds, half }: Flags): void {
  const material = readMaterial()
  const traces = tracesOf(material, half)
  const strata = strataOf(material, traces)
  const played = (arm: Arm, plays: Iterable<Play>) => [...plays].map(play => simulate(material, arm, play))
  for (const local of [LOCAL, CLAIRVOYANT]) {
    const priors = priorsFrom(played(local, fleetOver(material, tracesOf(material, 'development'), HISTORY)))
    const mine = supervised(priors, local)
    const arms = new Map<string, Map<string, Outcome[]>>()
    for (const arm of [FIXED, local, mine, LEAST]) {
      const outcomes = new Map(traces.map(({ name }): [string, Outcome[]] => [name, []]))
      for (const play of playsOver(material, traces, { seed: 7, per_trace: perTrace, plays_ms: 1_000 * seconds }))
        outcomes.get(play.trace.name)?.push(simulate(material, arm, play).outcome)
      arms.set(arm.name, outcomes)
    }
    console.log(
      `${traces.length} ${half} traces, ${perTrace} sessions over each, priors from ${priors.sessions} others\n`,
    )
    console.log(`${report(arms, strata, [local.name, mine.name])}\n`)
  }
}
