/**
 * The API process: questions about quality over HTTP, answered from ClickHouse. Starts whether or not that is there yet: `/readyz`
 * says so, and questions are answered 503 until it is.
 */
import type { Server } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { createAdaptorServer } from '@hono/node-server'
import { Command } from 'commander'
import { createKafkaSender } from '../ingest/emit/kafka.ts'
import { type Config, ConfigError, readConfig } from '../ingest/runtime/config.ts'
import { isLoopback, listen } from '../ingest/runtime/listen.ts'
import { createLog, type Log } from '../ingest/runtime/log.ts'
import { onSignal, runShutdown } from '../ingest/runtime/shutdown.ts'
import { VARIABLES_HELP } from '../ingest/runtime/variables.ts'
import { retentionOf } from '../ingest/store/migrate.ts'
import { connecting, type DecisionBook, openBook } from './abr/decisions.ts'
import { type Ladder, parseLadder } from './abr/ladder.ts'
import { openLive } from './abr/live.ts'
import { priorOptionsOf } from './abr/priors.ts'
import { openPriors } from './abr/priors-refresh.ts'
import { type Connection, connect } from './connection.ts'
import { createApp } from './http/app.ts'
import { callLimitsOf } from './http/guard.ts'
import { openKeys } from './http/keys.ts'
import { notReady } from './http/readiness.ts'
import { createQueryVitals } from './http/vitals.ts'
import { createAsk } from './metrics/question.ts'

const READY_EVERY_MS = 2_000
/** Panels of a dashboard that are drawn together, by many who look at it. Cells are settled every few seconds: nobody sees it. */
const SHARE_MS = 1_000
/** A question may take its time, a request may not: this is for reading it. */
const REQUEST_TIMEOUT_MS = 10_000
/** For what the ledger holds when the process ends. */
const HAND_OVER_MS = 5_000

new Command('query')
  .description('answer questions about stream quality over HTTP, from ClickHouse')
  .addHelpText('after', VARIABLES_HELP)
  .allowExcessArguments(false)
  .action(async () => {
    try {
      await run()
    } catch (error) {
      console.error(
        error instanceof ConfigError ? error.message : `query: ${error instanceof Error ? error.message : error}`,
      )
      // The follower and its sockets would keep the process alive.
      process.exit(1)
    }
  })
  .parseAsync()

async function run(): Promise<void> {
  const config = readConfig(process.env)
  const log = createLog('query', config.LOG_LEVEL)
  const keys = openKeys(config.DATA_DIR, config.API_KEYS_FILE)
  const connection = connect(config.clickhouse)
  const ladder = ladderOf(config)
  const vitals = createQueryVitals()
  const live = openLive(
    {
      brokers: config.brokers,
      topic: config.KAFKA_TOPIC,
      group_id: config.KAFKA_GROUP_ID,
      log_level: config.LOG_LEVEL,
      limits: config.limits,
      sessions_max: config.ABR_SESSIONS_MAX,
    },
    config.G1072_CLASSES,
    log,
    vitals.live,
  )
  const observe = (question: string, seconds: number, ok: boolean): void =>
    vitals.questionSeconds.observe({ question, answered: String(ok) }, seconds)
  const priors = openPriors(createAsk(connection.store, observe), log, vitals.priors, {
    priors: priorOptionsOf(config),
  })
  const sender = createKafkaSender({
    brokers: config.brokers,
    topic: config.KAFKA_TOPIC,
    client_id: 'stream-quality-ledger',
  })
  const book = openBook({
    send: connecting(sender),
    contextOf: id => live.sessions.of(id)?.context,
    vitals: vitals.book,
  })
  const stopping = new AbortController()
  const app = createApp({
    store: connection.store,
    keys,
    retention: retentionOf(config),
    vitals,
    log,
    loopback_only: isLoopback(config.HTTP_HOST),
    limits: callLimitsOf(config),
    asking: { rows_max: config.API_ROWS_MAX },
    share_ms: SHARE_MS,
    abr: { ladder, stale_after_ms: config.ABR_STALE_AFTER_MS, sessions: live.sessions, priors },
    book,
    waiting: live.notReady,
    stopping: stopping.signal,
    console_dir: config.CONSOLE_DIR,
  })
  const server = createAdaptorServer({
    fetch: app.fetch,
    serverOptions: { requestTimeout: REQUEST_TIMEOUT_MS },
  }) as Server
  await listen(server, { host: config.HTTP_HOST, port: config.HTTP_PORT, variables: 'HTTP' })
  const watching = watchStore(connection, log, stopping.signal)

  onSignal(async signal => {
    log.info({ signal }, 'stopping')
    stopping.abort()
    const failed = await runShutdown(
      [
        { name: 'finish the answers', deadline_ms: 15_000, run: () => closed(server) },
        { name: 'hand over the ledger', deadline_ms: HAND_OVER_MS + 1_000, run: () => handOver(book, log) },
        {
          name: 'close',
          deadline_ms: 2_000,
          run: () =>
            Promise.all([watching, live.close(), priors.close(), sender.disconnect(), connection.store.close()]),
        },
      ],
      log,
    )
    log.info({ failed }, 'stopped')
    return failed.length === 0 ? 0 : 1
  })
  // Said last: who reads it may stop us at once.
  log.info(
    { url: `http://${config.HTTP_HOST}:${config.HTTP_PORT}`, clickhouse: config.clickhouse.url },
    'query_started',
  )
}

/** Decisions that Kafka does not take in time are lost, and it is said how many. */
async function handOver(book: DecisionBook, log: Log): Promise<void> {
  const lost = await book.close(HAND_OVER_MS)
  if (lost > 0) log.error({ decisions: lost }, 'decisions_lost')
}

/** @throws ConfigError naming what does not fit */
function ladderOf(config: Config): Ladder {
  try {
    return parseLadder(config.ABR_LADDER)
  } catch (error) {
    throw new ConfigError(`configuration refused:\n  ABR_LADDER: ${error instanceof Error ? error.message : error}`)
  }
}

/** Notes when the store comes and goes, and follows its password until it is there. */
async function watchStore(connection: Connection, log: Log, signal: AbortSignal): Promise<void> {
  const ask = createAsk(connection.store, () => {})
  let before: string | undefined = 'starting'
  while (!signal.aborted) {
    const waiting = await notReady(ask)
    if (waiting !== before)
      log[waiting ? 'warn' : 'info']({ waiting_for: waiting }, waiting ? 'store_not_ready' : 'store_ready')
    before = waiting
    if (waiting) await connection.follow(readConfig(process.env).clickhouse)
    await sleep(READY_EVERY_MS, undefined, { signal }).catch(() => {})
  }
}

const closed = (server: Server): Promise<void> =>
  new Promise(resolve => {
    server.close(() => resolve())
    server.closeIdleConnections()
  })
