/**
 * The ingester process: Kafka in, `events_v1` and settled cells out. Any number of them share the topic.
 * Ends with 1 on what trying again cannot cure (Kafka remembers), with 0 on SIGTERM after storing what is in hand.
 */

import { setTimeout as sleep } from 'node:timers/promises'
import { Command } from 'commander'
import { KafkaSource, WrongTimestampType } from './load/kafka.ts'
import { Loader } from './load/loader.ts'
import { runSettler } from './load/settler.ts'
import { TopicRecreated } from './load/take.ts'
import { readConfig } from './runtime/config.ts'
import { listen } from './runtime/listen.ts'
import { createLog } from './runtime/log.ts'
import { onSignal, runShutdown } from './runtime/shutdown.ts'
import { VARIABLES_HELP } from './runtime/variables.ts'
import { createIngestVitals, vitalsServer } from './runtime/vitals.ts'
import { openStore, worthRetrying } from './store/clickhouse.ts'
import { keepClasses } from './store/experience/classes.ts'
import { migrate, retentionOf } from './store/migrate.ts'

new Command('ingest')
  .description('load quality events from Kafka into ClickHouse, exactly once, and settle them into cells')
  .option(
    '--accept-new-log',
    'if the topic was deleted and created again, begin a new log beside the stored one',
    false,
  )
  .addHelpText('after', VARIABLES_HELP)
  .allowExcessArguments(false)
  .action(async (flags: { acceptNewLog: boolean }) => {
    try {
      await run(flags.acceptNewLog)
    } catch (error) {
      console.error(`ingest: ${error instanceof Error ? error.message : error}`)
      // Sockets may be open that would keep the process alive.
      process.exit(1)
    }
  })
  .parseAsync()

async function run(accept_new_log: boolean): Promise<void> {
  const config = readConfig(process.env)
  const log = createLog('ingest', config.LOG_LEVEL)
  const vitals = createIngestVitals()
  let loader: Loader | undefined
  const health = { notReady: () => (loader ? loader.notReady() : 'starting') }
  const server = vitalsServer(vitals.registry, health)
  await listen(server, {
    host: config.INGEST_VITALS_HOST,
    port: config.INGEST_VITALS_PORT,
    variables: 'INGEST_VITALS',
  })
  const stopping = new AbortController()
  const store = openStore(config.clickhouse)
  const source = new KafkaSource({
    brokers: config.brokers,
    topic: config.KAFKA_TOPIC,
    group_id: config.KAFKA_GROUP_ID,
    session_timeout_ms: config.KAFKA_SESSION_TIMEOUT_MS,
    log,
  })
  let settling: Promise<void> = Promise.resolve()

  const shutdown = async (): Promise<string[]> =>
    runShutdown(
      [
        { name: 'finish the batch', deadline_ms: 20_000, run: () => loader?.stop() },
        { name: 'leave the group', deadline_ms: 10_000, run: () => source.stop() },
        { name: 'finish settling', deadline_ms: 20_000, run: () => settling },
        { name: 'close', deadline_ms: 2_000, run: () => Promise.all([store.close(), server.close()]) },
      ],
      log,
    )
  onSignal(async signal => {
    log.info({ signal }, 'stopping')
    stopping.abort()
    const failed = await shutdown()
    log.info({ failed }, 'stopped')
    return failed.length === 0 ? 0 : 1
  })

  await untilReachable('ClickHouse', stopping.signal, log, () => migrate(config.clickhouse, retentionOf(config)))
  await untilReachable('ClickHouse', stopping.signal, log, async () => {
    if (await keepClasses(store, config.G1072_CLASSES)) log.info({}, 'game_classes_changed')
  })
  await untilReachable('Kafka', stopping.signal, log, () => source.ensureTopic(config.KAFKA_PARTITIONS))
  if (stopping.signal.aborted) return

  const onFatal = (error: Error): void => {
    log.fatal({ error: error.message, kind: error.name }, 'cannot_go_on')
    stopping.abort()
    // What is in hand is not stored; Kafka has it. Nothing here may keep the process alive.
    process.exit(1)
  }
  loader = new Loader({
    store,
    source,
    topic: config.KAFKA_TOPIC,
    flush: { rows: config.INGEST_FLUSH_ROWS, bytes: config.INGEST_FLUSH_BYTES, age_ms: config.INGEST_FLUSH_MS },
    limits: config.limits,
    accept_new_log,
    vitals,
    log,
    onFatal,
  })
  const running = loader
  settling = runSettler(
    {
      store,
      every_ms: config.SETTLE_EVERY_MS,
      retention: retentionOf(config),
      oldestChange_ms: () => running.takeOldestAt(),
      behind: () => running.behind(),
      hasTurn: n => running.hasTurn(n),
      vitals,
      log,
    },
    stopping.signal,
  )
  await source.start(loader)
  log.info({ topic: config.KAFKA_TOPIC, brokers: config.brokers, clickhouse: config.clickhouse.url }, 'ingest_started')
}

/** Tries until it works; gives up at once on what waiting cannot cure. */
async function untilReachable(
  what: string,
  signal: AbortSignal,
  log: ReturnType<typeof createLog>,
  attempt: () => Promise<unknown>,
): Promise<void> {
  for (let tries = 0; !signal.aborted; tries++) {
    try {
      await attempt()
      return
    } catch (error) {
      if (error instanceof WrongTimestampType || error instanceof TopicRecreated || !worthRetrying(error)) throw error
      if (tries === 0)
        log.warn({ what, error: error instanceof Error ? error.message.slice(0, 300) : String(error) }, 'waiting_for')
      await sleep(Math.min(5_000, 200 * 2 ** tries), undefined, { signal }).catch(() => {})
    }
  }
}
