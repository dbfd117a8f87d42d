/**
 * `npm run chaos -- --kills N`: kills, freezes and cuts, aimed at the steps of an insert in turn and now and then at random, while
 * events flow. Prints each shot, judges on the way and at the end, and ends with 1 if anything was lost, doubled or wrong.
 */

import { Command } from 'commander'
import { wholeFrom } from '../../local/number.ts'
import { chance } from '../../query/statistics/weights.ts'

import type { Verdict } from '../support/verify.ts'
import { Field, KINDS, type Shot } from './field.ts'
import { WINDOWS } from './proxy.ts'

new Command('npm run chaos --')
  .description('kill the pipeline in every step, again and again, and count what was lost or doubled')
  .option('--kills <number>', 'how many', wholeFrom(1), 100)
  .option('--seed <number>', 'the same shots again', wholeFrom(1), 1)
  .option('--judge-every <number>', 'kills between two judgements', wholeFrom(1), 60)
  .allowExcessArguments(false)
  .action(async (flags: { kills: number; seed: number; judgeEvery: number }) => {
    process.exit((await chaos(flags)) ? 0 : 1)
  })
  .parseAsync()

const COMBINATIONS: readonly Shot[] = WINDOWS.flatMap(window => KINDS.map(kind => ({ kind, window })))
/** One shot in so many is not aimed. */
const RANDOM_EVERY = 10

async function chaos({
  kills,
  seed,
  judgeEvery,
}: {
  kills: number
  seed: number
  judgeEvery: number
}): Promise<boolean> {
  const dice = chance(seed)
  const landed = new Map<string, number>()
  const field = await Field.start()
  const begun = Date.now()
  let verdict: Verdict | undefined
  let good = true
  let order: Shot[] = []
  try {
    for (let shot_number = 1; shot_number <= kills; shot_number++) {
      if (order.length === 0) order = [...COMBINATIONS].sort(() => dice() - 0.5)
      const next = shot_number % RANDOM_EVERY === 0 ? undefined : order.pop()
      const shot = next ?? {
        kind: KINDS[Math.floor(dice() * KINDS.length)] ?? 'kill_ingester',
        window: 'random' as const,
      }
      const fired = await field.shoot(shot, Math.floor(dice() * 2))
      const name = `${shot.kind} ${shot.window}`
      if (fired) landed.set(name, (landed.get(name) ?? 0) + 1)
      console.log(
        `${shot_number}/${kills} ${((Date.now() - begun) / 1_000).toFixed(0)} s ${name}${fired ? '' : ': the window did not open'}`,
      )
      if (shot_number % judgeEvery === 0 || shot_number === kills) {
        verdict = await field.judge(shot_number < kills)
        good = report(verdict) && good
      }
    }
  } finally {
    await field.stop()
  }
  console.table(
    Object.fromEntries(
      KINDS.map(kind => [
        kind,
        Object.fromEntries([...WINDOWS, 'random'].map(window => [window, landed.get(`${kind} ${window}`) ?? 0])),
      ]),
    ),
  )
  console.log(good ? 'lost 0, doubled 0, cells = raw' : 'NOT exactly once: see above')
  return good
}

function report({ lost, doubled, different, wrong_cells, wrong_minutes, audit }: Verdict): boolean {
  const rows = audit.reduce((sum, row) => sum + row.next - row.first, 0)
  console.log(
    `${rows} offsets: lost ${lost}, doubled ${doubled}, rows unlike their message ${different}, cells unlike their rows ${wrong_cells}, minutes unlike their cells ${wrong_minutes}`,
  )
  return lost + doubled + different + wrong_cells + wrong_minutes === 0
}
