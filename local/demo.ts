/**
 * `npm run demo`: the whole service on this machine, a simulated fleet that plays, and a look at what comes out.
 * With `--for` it ends by itself and says whether everything that was produced is stored, once and complete; without, Ctrl-C ends it.
 * Ends with 0 if all went well, with 1 if something is missing, was given up, or did not arrive as it should.
 */
import { Command } from 'commander'
import { ConfigError } from '../ingest/runtime/config.ts'
import { onSignal } from '../ingest/runtime/shutdown.ts'
import { VARIABLES_HELP } from '../ingest/runtime/variables.ts'
import { CannotStart } from './child.ts'
import { createConsole, describe } from './console.ts'
import { play } from './fleet/play.ts'
import { playLoop } from './loop/play.ts'
import { duration_ms, numberFrom, wholeFrom } from './number.ts'
import { startService } from './service.ts'

interface Flags {
  readonly sessions: number
  readonly speed: number
  readonly for?: number
  readonly seed?: number
  readonly abr?: boolean
}

const SEEDS = 2 ** 32

const LOOP_MS = 150_000

new Command('npm run demo --')
  .description('The whole service on this machine with a simulated fleet of players, and a look at what comes out.')
  .option('--sessions <number>', 'how many play at once', wholeFrom(1, 20_000), 50)
  .option('--speed <factor>', 'seconds per second: begins in the past and catches up', numberFrom(1, 1_000), 1)
  .option('--for <length>', 'end after 90s, 5m, 1h … and check that everything arrived', duration_ms)
  .option('--seed <number>', 'the same fleet again, ids included: for an empty DATA_DIR', wholeFrom(0))
  .option(
    '--abr',
    'three ways to set the bitrate, side by side: fixed, local, and local with our supervision; for 150 s',
  )
  .addHelpText(
    'after',
    `\nWithout --for, Ctrl-C ends it. Everything is kept in DATA_DIR and built upon next time.\n${VARIABLES_HELP}`,
  )
  .allowExcessArguments(false)
  .action(async (flags: Flags) => {
    process.exit(await demo(flags))
  })
  .parseAsync()

async function demo(flags: Flags): Promise<number> {
  // A closed terminal is a reason to stop, and no place to write to any more.
  process.stdout.on('error', () => {})
  process.on('SIGHUP', () => process.emit('SIGTERM'))
  const stopping = new AbortController()
  const finished = run(flags, stopping).catch(error => {
    if (stopping.signal.aborted) return 0
    const known = error instanceof CannotStart || error instanceof ConfigError
    console.error(known ? error.message : error)
    return 1
  })
  onSignal(() => {
    stopping.abort()
    return finished
  })
  return finished
}

async function run(
  { sessions, speed, seed = Date.now() % SEEDS, ...flags }: Flags,
  stopping: AbortController,
): Promise<number> {
  // Above the live line, where there is one.
  const say = createConsole(line => console.log(process.stdout.isTTY ? `\r\x1b[2K${line}` : line))
  say('starting Kafka, ClickHouse, the ingester and the API')
  const { signal } = stopping
  const service = await startService({
    environment: process.env,
    report: event => say(describe(event)),
    announce: say,
    signal,
  })
  let given_up = false
  void service.failed.then(sentence => {
    say(sentence)
    given_up = true
    stopping.abort()
  })
  try {
    const ok = flags.abr
      ? await playLoop({ service, sessions, seed, for_ms: flags.for ?? LOOP_MS, signal, say })
      : await play({ service, sessions, speed, seed, for_ms: flags.for, signal, say })
    return ok && !given_up ? 0 : 1
  } finally {
    say('stopping; Ctrl-C ends it at once')
    await service.stop()
  }
}
