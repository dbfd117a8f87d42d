/**
 * One run of the fleet against a running service: begin, watch, fall silent, look whether everything arrived, say how it was.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { createKafkaSender, type KafkaSender } from '../../ingest/emit/kafka.ts'
import { KafkaSource } from '../../ingest/load/kafka.ts'
import { createLog } from '../../ingest/runtime/log.ts'
import { openStore } from '../../ingest/store/clickhouse.ts'
import { consoleUrl, type Service } from '../service.ts'
import { FreshnessProbe } from './freshness.ts'
import { LivePrinter } from './live.ts'
import { runFleet } from './run.ts'
import { type Api, summaryBy } from './summary.ts'
import { gather, judge } from './verdict.ts'

export interface PlayOptions {
  readonly service: Pick<Service, 'config' | 'api_url' | 'key_file'>
  readonly sessions: number
  readonly speed: number
  readonly seed: number
  /** Undefined: until the signal. */
  readonly for_ms: number | undefined
  readonly signal: AbortSignal
  readonly say: (text: string) => void
}

/** What `speed` catches up in when no length was given. */
const PLANNED_MS = 10 * 60_000
const FLUSH_MS = 30_000
const VERDICT_MS = 120_000
const LOOK_EVERY_MS = 1_000
const SUMMARY_EVERY_MS = 60_000

/** @returns false if what was produced is not stored as it should be */
export async function play(options: PlayOptions): Promise<boolean> {
  const { service, sessions, speed, seed, for_ms, signal, say } = options
  const { brokers, clickhouse, KAFKA_TOPIC: topic } = service.config
  const api = { url: service.api_url, key: readFileSync(service.key_file, 'utf8').trim() }
  const store = openStore(clickhouse)
  const probe = new FreshnessProbe(store)
  // Only asked where the log ends; it joins no group.
  const log = createLog('demo', 'silent')
  const source = new KafkaSource({ brokers, topic, group_id: 'none', session_timeout_ms: 30_000, log })
  const sender = createKafkaSender({ brokers, topic, client_id: 'stream-quality-fleet' })
  try {
    await sender.connect()
    const begin = await source.logEnds()
    const fleet = runFleet({ sender: watched(sender, probe), sessions, speed, seed, planned_ms: for_ms ?? PLANNED_MS })
    say(welcome(options))
    const live = new LivePrinter({ fleet, probe, api })
    const until = Date.now() + (for_ms ?? Number.POSITIVE_INFINITY)
    let summary_at = for_ms === undefined ? Date.now() + SUMMARY_EVERY_MS : Number.POSITIVE_INFINITY
    while (Date.now() < until && !signal.aborted) {
      await sleep(Math.min(LOOK_EVERY_MS, until - Date.now()), undefined, { signal }).catch(() => {})
      live.print()
      if (Date.now() < summary_at || signal.aborted) continue
      summary_at = Date.now() + SUMMARY_EVERY_MS
      void summary(api, fleet.start_ms).then(say)
    }
    say('the fleet falls silent and hands over what it has')
    const stats = await fleet.stop(FLUSH_MS)
    if (for_ms === undefined || signal.aborted) return true
    say('waiting until all of it is stored and settled')
    const stretch = { begin, end: await source.logEnds(), from_ms: fleet.start_ms }
    const findings = judge(stats, await gather(store, stretch, VERDICT_MS))
    say(await summary(api, fleet.start_ms))
    const ok = findings.every(finding => finding.ok)
    const lines = findings.map(finding => `  ${finding.ok ? 'ok   ' : 'WRONG'}  ${finding.text}`)
    say([ok ? 'everything arrived, once' : 'NOT everything is as it should be', ...lines].join('\n'))
    return ok
  } finally {
    await sender.disconnect()
    await store.close()
  }
}

const watched = (sender: KafkaSender, probe: FreshnessProbe): Pick<KafkaSender, 'send' | 'sendRaw'> => ({
  send(messages) {
    probe.offer(messages)
    return sender.send(messages)
  },
  sendRaw: sender.sendRaw,
})

function welcome({ service, sessions, speed, seed, for_ms }: PlayOptions): string {
  const { api_url, key_file, config } = service
  const pace = speed === 1 ? '' : ` at ${speed} times the speed of life`
  return `${sessions} simulated sessions play${pace}, seed ${seed}${for_ms === undefined ? '; Ctrl-C ends it' : ''}
  console     ${consoleUrl(service)}
  API         ${api_url}
  Kafka       ${config.brokers.join(',')}, topic ${config.KAFKA_TOPIC}
  ClickHouse  ${config.clickhouse.url}, database ${config.clickhouse.database}
  Ask, for example, where it stutters:
    curl -H "Authorization: Bearer $(cat '${key_file}')" \\
      '${api_url}/v1/metrics/stutter_time_pct/breakdown?by=region,access&from=now-15m'`
}

async function summary(api: Api, from_ms: number): Promise<string> {
  try {
    const tables = await Promise.all(['region', 'access'].map(dimension => summaryBy(api, dimension, from_ms)))
    return ['how it was, as the API says:', ...tables].join('\n\n')
  } catch (error) {
    return `the API has no summary: ${error instanceof Error ? error.message : error}`
  }
}
