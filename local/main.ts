/**
 * `npm start`: the whole service on this machine, until Ctrl-C. Without a fleet: it waits for somebody's events.
 * Ends with 0 when it was told to stop, with 1 when something is missing or a part had to be given up.
 */
import { Command } from 'commander'
import { ConfigError } from '../ingest/runtime/config.ts'
import { onSignal } from '../ingest/runtime/shutdown.ts'
import { VARIABLES_HELP } from '../ingest/runtime/variables.ts'
import { CannotStart } from './child.ts'
import { createConsole, describe } from './console.ts'
import { consoleUrl, type Service, startService } from './service.ts'

new Command('npm start --')
  .description(
    'The whole service on this machine: a Kafka broker, ClickHouse, the ingester and the query API, until Ctrl-C.\n' +
      'Set KAFKA_BROKERS or CLICKHOUSE_URL to use your own instead; DATA_DIR holds everything else.',
  )
  .addHelpText('after', VARIABLES_HELP)
  .allowExcessArguments(false)
  .action(async () => {
    process.exitCode = await run()
  })
  .parseAsync()

async function run(): Promise<number> {
  const say = createConsole(line => console.log(line))
  // A closed terminal is a reason to stop, and no place to write to any more.
  process.stdout.on('error', () => {})
  process.on('SIGHUP', () => process.emit('SIGTERM'))
  const stopping = new AbortController()
  const starting = startService({
    environment: process.env,
    report: event => say(describe(event)),
    announce: what => say(what),
    signal: stopping.signal,
  })
  onSignal(async () => {
    say('stopping; once more to end at once')
    stopping.abort()
    const service = await starting.catch(() => undefined)
    await service?.stop()
    return 0
  })
  let service: Service
  try {
    service = await starting
  } catch (error) {
    // The handler above ends the process.
    if (stopping.signal.aborted) return 0
    if (!(error instanceof CannotStart) && !(error instanceof ConfigError)) throw error
    console.error(error.message)
    return 1
  }
  say(welcome(service))
  const failure = await service.failed
  console.error(failure)
  await service.stop()
  return 1
}

function welcome(service: Service): string {
  const { api_url, key_file, config } = service
  return [
    'all parts are ready',
    `  console     ${consoleUrl(service)}`,
    `  API         ${api_url}`,
    `  key         ${key_file}`,
    `  Kafka       ${config.brokers.join(',')}, topic ${config.KAFKA_TOPIC}`,
    `  ClickHouse  ${config.clickhouse.url}, database ${config.clickhouse.database}`,
    '  Ctrl-C stops it in order',
  ].join('\n')
}
