/**
 * A soak: the whole service as it ships, with as many sessions in its tables as it remembers, people of the fleet who come, play for minutes
 * and go, a question to the API every second, and a look at everything every ten. At the end the fleet's own verdict: each event stored,
 * once, and in its cells.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { writeHistory } from '../../bench/history.ts'
import { createKafkaSender, type KafkaSender } from '../../ingest/emit/kafka.ts'
import { openStore, type Store } from '../../ingest/store/clickhouse.ts'
import { FreshnessProbe } from '../../local/fleet/freshness.ts'
import { type FleetRun, runFleet } from '../../local/fleet/run.ts'
import { gather, judge } from '../../local/fleet/verdict.ts'
import { freePort } from '../../local/ports.ts'
import { type Service, startService } from '../../local/service.ts'
import { SESSIONS_MAX } from '../../query/abr/priors-refresh.ts'
import { logEnds } from '../support/verify.ts'
import type { Finding } from './findings.ts'
import { Questions } from './questions.ts'
import { Sampler } from './sampler.ts'
import { appendSample, beginSamples } from './samples.ts'

export interface SoakOptions {
  readonly for_ms: number
  /** Events a second, about. */
  readonly rate: number
  readonly seed: number
  readonly file: string
  readonly signal: AbortSignal
  readonly say: (line: string) => void
}

export interface Soaked {
  /** Empty: broken off before it could be judged. */
  readonly verdict: readonly Finding[]
  readonly complaints: readonly string[]
}

/** Of one of the fleet's sessions, its host included, in the mean. */
const EVENTS_PER_SESSION_S = 1.97
/** As many as the API remembers for its priors: what fills up for hours would look as if it grew. */
const BEFORE = { sessions: SESSIONS_MAX, seconds: 30, fps: 60, ago_s: 3_600 }
const SAMPLE_EVERY_MS = 10_000
const FLUSH_MS = 30_000
const VERDICT_MS = 300_000

export async function soak(options: SoakOptions): Promise<Soaked> {
  const { signal, say } = options
  const data_dir = mkdtempSync(join(tmpdir(), 'stream-quality-soak-'))
  beginSamples(options.file)
  let died = 0
  let service: Service | undefined
  try {
    say('starting Kafka, ClickHouse, the ingester and the API')
    service = await startService({
      environment: {
        ...process.env,
        DATA_DIR: data_dir,
        KAFKA_BROKERS: undefined,
        CLICKHOUSE_URL: undefined,
        KAFKA_PORT: String(await freePort()),
        CLICKHOUSE_PORT: String(await freePort()),
        HTTP_PORT: String(await freePort()),
        INGEST_VITALS_PORT: String(await freePort()),
      },
      report: event => {
        if (event.event !== 'died') return
        died++
        say(`${event.part} died: ${event.how}`)
      },
      signal,
    })
    return await play(options, service, () => died)
  } finally {
    await service?.stop()
    rmSync(data_dir, { recursive: true, force: true, maxRetries: 3 })
  }
}

async function play(options: SoakOptions, service: Service, died: () => number): Promise<Soaked> {
  const { for_ms, rate, seed, file, signal, say } = options
  const { brokers, clickhouse, KAFKA_TOPIC: topic } = service.config
  const store = openStore(clickhouse)
  const sender = createKafkaSender({ brokers, topic, client_id: 'stream-quality-soak' })
  const sampler = new Sampler(service, store)
  const questions = new Questions(service.api_url, readFileSync(service.key_file, 'utf8').trim(), say)
  let fresh_ms: number[] = []
  const probe = new FreshnessProbe(store, age_ms => fresh_ms.push(age_ms))
  try {
    say(`writing what ${BEFORE.sessions} sessions played an hour ago`)
    const from = Math.floor(Date.now() / 60_000) * 60 - BEFORE.ago_s
    await writeHistory(store, { ...BEFORE, from }, () => {})
    await sender.connect()
    const begin = await logEnds(brokers, topic)
    const sessions = Math.max(1, Math.round(rate / EVENTS_PER_SESSION_S))
    const fleet = runFleet({ sender: watched(sender, probe), seed, sessions, speed: 1, planned_ms: for_ms })
    say(`${sessions} sessions play, about ${rate} events a second`)
    const asking = questions.run()
    const begun_ms = Date.now()
    for (let n = 1; n * SAMPLE_EVERY_MS <= for_ms; n++) {
      await sleep(begun_ms + n * SAMPLE_EVERY_MS - Date.now(), undefined, { signal }).catch(() => {})
      if (signal.aborted) break
      const { made, playing, waiting } = fleet.stats()
      const fresh = fresh_ms
      fresh_ms = []
      const sample = {
        ...{ at_ms: Date.now(), ...(await sampler.look()), ...questions.take() },
        ...{ fresh_ms: fresh, died: died(), made, playing },
      }
      appendSample(file, sample)
      say(
        progress(
          n * SAMPLE_EVERY_MS,
          for_ms,
          `${made} events made, ${waiting} waiting, lag ${sample.lag ?? 'unknown'}`,
        ),
      )
    }
    questions.stop()
    await asking
    say('the fleet falls silent')
    await fleet.stop(signal.aborted ? 0 : FLUSH_MS)
    const verdict = signal.aborted ? [] : await judged(store, service, fleet, begin)
    return { verdict, complaints: sampler.complaints }
  } finally {
    questions.stop()
    await sender.disconnect()
    await store.close()
  }
}

async function judged(
  store: Store,
  { config }: Service,
  fleet: FleetRun,
  begin: Awaited<ReturnType<typeof logEnds>>,
): Promise<readonly Finding[]> {
  const stretch = { begin, end: await logEnds(config.brokers, config.KAFKA_TOPIC), from_ms: fleet.start_ms }
  return judge(fleet.stats(), await gather(store, stretch, VERDICT_MS))
}

const watched = (sender: KafkaSender, probe: FreshnessProbe): Pick<KafkaSender, 'send' | 'sendRaw'> => ({
  send(messages) {
    probe.offer(messages)
    return sender.send(messages)
  },
  sendRaw: sender.sendRaw,
})

const progress = (done_ms: number, for_ms: number, what: string): string =>
  `${(done_ms / 60_000).toFixed(1)} of ${(for_ms / 60_000).toFixed(1)} min: ${what}`
