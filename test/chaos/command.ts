/**
 * `npm run chaos -- --kills N`: kills, freezes and cuts, aimed at the steps of an insert and now and then at random, while events
 * flow. Writes what landed where and what was lost or doubled, and ends with 1 if anything was, with 130 if it was broken off.
 */
import { join } from 'node:path'
import { Command } from 'commander'
import { onSignal } from '../../ingest/runtime/shutdown.ts'
import { wholeFrom } from '../../local/number.ts'
import { writeReport } from '../support/report.ts'
import { Kills } from './kills.ts'
import { killsReport } from './kills-report.ts'
import { left, total } from './shots.ts'
import { emptyTally, isGood, readTally, removeTally } from './tally.ts'

interface Flags {
  readonly kills: number
  readonly each?: number
  readonly seed: number
  readonly judgeEvery: number
  readonly dir: string
  readonly fresh: boolean
  readonly report: string
}

/** A thousand kills, forty inside each window by each kind. */
const KILLS_PER_EACH = 25

new Command('npm run chaos --')
  .description('kill the pipeline in every step, again and again, and count what was lost or doubled')
  .option('--kills <number>', 'how many must land, in all', wholeFrom(1), 100)
  .option(
    '--each <number>',
    `how many inside each window by each kind (default: kills / ${KILLS_PER_EACH})`,
    wholeFrom(0),
  )
  .option('--seed <number>', 'another order of shots', wholeFrom(1), 1)
  .option('--judge-every <number>', 'shots at one pipeline; then it is judged, and a fresh one built', wholeFrom(1), 60)
  .option('--dir <directory>', 'where a run is kept that was broken off: asked for again, it goes on', '.data/chaos')
  .option('--fresh', 'forget what is kept, and begin anew', false)
  .option('--report <file>', 'where the table goes', 'test/chaos/results/kills.md')
  .allowExcessArguments(false)
  .action(async (flags: Flags) => {
    process.exit(await chaos(flags))
  })
  .parseAsync()

async function chaos({ kills, each = Math.floor(kills / KILLS_PER_EACH), seed, ...flags }: Flags): Promise<number> {
  const say = (line: string): void => console.log(line)
  const goal = { kills, each }
  const file = join(flags.dir, `kills-${seed}.json`)
  if (flags.fresh) removeTally(file)
  const before = readTally(file)
  if (before) say(`goes on after ${total(before.landed)} kills in ${before.fields} pipelines; --fresh begins anew`)
  const run = new Kills({ goal, shots_per_field: flags.judgeEvery, file, say }, before ?? emptyTally(seed))
  let broken_off = false
  onSignal(async () => {
    broken_off = true
    say('stopping; what this pipeline has seen is not judged and not kept')
    await run.stop()
    say(`${total(run.tally.landed)} kills are kept in ${file}: the same command goes on`)
    return 130
  })
  await run.run().catch(error => {
    if (!broken_off) throw error
  })
  // The handler above ends the process.
  if (broken_off) return new Promise(() => {})
  const report = killsReport(run.tally)
  writeReport(flags.report, report)
  say(report)
  removeTally(file)
  return isGood(run.tally) && left(goal, run.tally.landed) === 0 ? 0 : 1
}
