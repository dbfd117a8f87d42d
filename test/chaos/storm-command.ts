/**
 * `npm run storm -- --for 5m`: three ingesters, one joining or leaving every ten seconds, while events flow. Ends with 1 if anything is
 * lost, doubled or wrong, or if what is stored is not as fresh as before within ten seconds of each change.
 */
import { join } from 'node:path'
import { Command } from 'commander'
import { onSignal } from '../../ingest/runtime/shutdown.ts'
import { lengthOption, wholeFrom } from '../../local/number.ts'
import { chance } from '../../query/statistics/weights.ts'
import { machine, quantile, seconds, table, writeReport } from '../support/report.ts'
import type { Verdict } from '../support/verify.ts'
import { Storm, type StormResult } from './storm.ts'

interface Flags {
  readonly for: number
  readonly every: number
  readonly rate: number
  readonly seed: number
  readonly dir: string
  readonly report: string
}

new Command('npm run storm --')
  .description(
    'three ingesters, one joining or leaving all the time: nothing lost, nothing doubled, soon as fresh as before',
  )
  .addOption(lengthOption('--for <length>', 'how long: 60s, 5m …', '5m'))
  .addOption(lengthOption('--every <length>', 'between two changes, and how long each may be felt', '10s'))
  .option('--rate <events/s>', 'how much is said meanwhile', wholeFrom(1, 10_000), 2_000)
  .option('--seed <number>', 'other ingesters at other times', wholeFrom(1), 1)
  .option('--dir <directory>', 'where logs are kept if it goes wrong', '.data/chaos')
  .option('--report <file>', 'where the table goes', 'test/chaos/results/storm.md')
  .allowExcessArguments(false)
  .action(async (flags: Flags) => {
    process.exit(await run(flags))
  })
  .parseAsync()

async function run({ every, rate, seed, ...flags }: Flags): Promise<number> {
  const say = (line: string): void => console.log(line)
  const starting = Storm.start({ for_ms: flags.for, every_ms: every, rate, dice: chance(seed), say })
  let broken_off = false
  onSignal(async () => {
    broken_off = true
    say('stopping')
    await (await starting.catch(() => undefined))?.stop()
    return 130
  })
  const storm = await starting
  try {
    const result = await storm.run()
    const good = isGood(result)
    const text = report(result, flags.for, every)
    writeReport(flags.report, text)
    say(text)
    if (!good) storm.keepLogs(join(flags.dir, 'storm.logs'))
    return good ? 0 : 1
  } catch (error) {
    // The handler above ends the process.
    if (broken_off) return new Promise(() => {})
    storm.keepLogs(join(flags.dir, 'storm.logs'))
    throw error
  } finally {
    if (!broken_off) await storm.stop()
  }
}

const exactlyOnce = ({ lost, doubled, different, wrong_cells, wrong_minutes }: Verdict): boolean =>
  lost === 0 && doubled === 0 && different === 0 && wrong_cells === 0 && wrong_minutes === 0

const isGood = ({ verdict, changes }: StormResult): boolean =>
  exactlyOnce(verdict) && changes.length > 0 && changes.every(({ recovered_ms }) => recovered_ms !== null)

function report(result: StormResult, for_ms: number, every_ms: number): string {
  const { verdict, changes, before_ms, rate } = result
  const { lost, doubled, different, wrong_cells, wrong_minutes } = verdict
  const offsets = verdict.audit.reduce((sum, row) => sum + row.next - row.first, 0)
  const late = changes.filter(({ recovered_ms }) => recovered_ms === null).length
  const rows = (['joins', 'leaves'] as const).map(what => {
    const these = changes.filter(change => change.what === what)
    const took = these.map(({ recovered_ms }) => recovered_ms ?? Number.POSITIVE_INFINITY)
    const oldest = these.map(({ oldest_ms }) => oldest_ms)
    const felt = (p: number): string =>
      quantile(took, p) === Number.POSITIVE_INFINITY ? 'not in time' : seconds(quantile(took, p))
    return [
      `one ${what}`,
      these.length,
      felt(0.5),
      felt(1),
      seconds(quantile(oldest, 0.5)),
      seconds(quantile(oldest, 1)),
    ]
  })
  return `# Rebalance storm

\`npm run storm\`: three ingesters, one joining or leaving every ${seconds(every_ms)} for ${(for_ms / 60_000).toFixed(1)} min, ${Math.round(rate)} events a second, sessions of 30 s and batches of half a second as shipped.
${machine()}.

${table(
  ['offsets', 'lost', 'doubled', 'rows unlike their message', 'cells unlike their rows', 'minutes unlike their cells'],
  [[offsets, lost, doubled, different, wrong_cells, wrong_minutes]],
)}

Calm, the oldest record that was not stored was at most ${before_ms} ms old. After each change, until it stayed so; and how old it was at most:

${table(['', 'changes', 'as before after: p50', 'longest', 'oldest: p50', 'most'], rows)}

${exactlyOnce(verdict) ? 'Exactly once: nothing lost, nothing doubled.' : 'NOT exactly once.'} ${late === 0 ? `As fresh as before within ${seconds(every_ms)} of each change.` : `NOT as fresh as before within ${seconds(every_ms)} of ${late} of ${changes.length} changes.`}`
}
