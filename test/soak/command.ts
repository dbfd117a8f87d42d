/**
 * `npm run soak -- --for 45m`: the whole service under an even load, and what becomes of memory, parts, logs and freshness. Ends with 1 if
 * something does not hold, with 130 if it was broken off; its tables are written all the same, from what had been seen by then.
 */
import { join } from 'node:path'
import { Command } from 'commander'
import { onSignal } from '../../ingest/runtime/shutdown.ts'
import { lengthOption, wholeFrom } from '../../local/number.ts'
import { writeReport } from '../support/report.ts'
import { findings } from './findings.ts'
import { soakReport } from './report.ts'
import { readSamples } from './samples.ts'
import { type Soaked, soak } from './soak.ts'

interface Flags {
  readonly for: number
  readonly rate: number
  readonly seed: number
  readonly dir: string
  readonly report: string
  readonly summary: boolean
}

/**
 * 30 % of what comes where far more is asked for (5,100 of 7,000: `--for 3m --rate 7000`, 2026-11-27), of two cores that also hold fleet, broker,
 * API and whoever asks. Where nobody plays, follows or asks, `npm run bench:ingest` reaches many times as much.
 */
const RATE = 1_500

new Command('npm run soak --')
  .description(
    'the whole service for long under an even load: memory flat, parts bounded, no errors, as fresh as at first',
  )
  .addOption(lengthOption('--for <length>', 'how long: 2m, 45m …', '45m'))
  .option('--rate <events/s>', 'how much is said, about', wholeFrom(1, 40_000), RATE)
  .option('--seed <number>', 'other people', wholeFrom(1), 1)
  .option('--dir <directory>', 'where the samples are kept', '.data/soak')
  .option('--report <file>', 'where the tables go', 'test/chaos/results/soak.md')
  .option('--summary', 'no run: the tables of the samples that are kept', false)
  .allowExcessArguments(false)
  .action(async (flags: Flags) => {
    process.exit(await run(flags))
  })
  .parseAsync()

async function run({ for: for_ms, rate, seed, dir, report, summary }: Flags): Promise<number> {
  const say = (line: string): void => console.log(line)
  const file = join(dir, 'samples.ndjson')
  if (summary) return told(report, file, { verdict: [], complaints: [] }, say) ? 0 : 1
  const stopping = new AbortController()
  const { signal } = stopping
  const soaking = soak({ for_ms, rate, seed, file, signal, say })
  const finished = soaking.then(
    soaked => {
      const good = told(report, file, soaked, say)
      return signal.aborted ? 130 : good ? 0 : 1
    },
    error => {
      if (!signal.aborted) console.error(error)
      told(report, file, { verdict: [], complaints: [] }, say)
      return signal.aborted ? 130 : 1
    },
  )
  onSignal(() => {
    say('stopping; what was seen so far is told')
    stopping.abort()
    return finished
  })
  return finished
}

function told(report: string, file: string, { verdict, complaints }: Soaked, say: (line: string) => void): boolean {
  const samples = readSamples(file)
  if (samples.length === 0) return false
  const text = soakReport(samples, verdict)
  writeReport(report, text)
  say(text)
  for (const line of complaints) say(`logged: ${line.slice(0, 500)}`)
  return [...findings(samples), ...verdict].every(({ ok }) => ok !== false)
}
