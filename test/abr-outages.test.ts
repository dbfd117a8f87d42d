/**
 * What adaptive-bitrate logic is told while parts behind it die or hang, one after the other: an answer, always, that says truly how old
 * it is; and the present again once the part is back. Prints a line for each.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BitrateEvent, FrameTimesEvent } from '../ingest/contract/events.ts'
import { createKafkaSender, type KafkaSender } from '../ingest/emit/kafka.ts'
import type { Part } from '../local/supervise.ts'
import type { Advice } from '../query/abr/advice.ts'
import { devKeyFile, openKeys } from '../query/http/keys.ts'
import { eventOf, sessionId } from './support/events.ts'
import {
  startApi,
  startBroker,
  startClickHouse,
  startIngester,
  stopServices,
  temporaryDirectory,
  unique,
} from './support/services.ts'
import { until } from './support/verify.ts'

const DEADLINE_MS = 90_000
const STALE_AFTER_MS = 5_000
const SESSIONS = [1, 2, 3]
const KINDS = ['state', 'batch', 'prior'] as const
/** An answer that takes longer is none. */
const ANSWER_WITHIN_MS = 20_000

let url: string
let authorization: string
let sender: KafkaSender
const parts: Record<string, Part> = {}
const speaking = new AbortController()
let spoken: Promise<unknown>

const ask = async (path: string, body?: object): Promise<Response> =>
  fetch(`${url}${path}`, {
    method: body ? 'POST' : 'GET',
    headers: { authorization, 'content-type': 'application/json' },
    ...(body ? { body: JSON.stringify(body) } : {}),
    signal: AbortSignal.timeout(ANSWER_WITHIN_MS),
  })
const state = async (n: number): Promise<Advice> =>
  (await ask(`/v1/abr/sessions/${sessionId(n)}`)).json() as Promise<Advice>

/** Every session says a good second, as time goes by; the one before the last of an outage is lost, as clients' are. */
async function speak(): Promise<void> {
  const from_ms = Date.now()
  for (let i = 0; !speaking.signal.aborted; i++) {
    const events = SESSIONS.flatMap(n => {
      const now_ms = { started_at_ms: from_ms + i * 500, sent_at_ms: Date.now() }
      const frame_time_us = Array<number>(30).fill(16_667)
      return [
        { ...(eventOf(n, 2 * i, from_ms) as FrameTimesEvent), ...now_ms, frame_time_us },
        { ...(eventOf(n, 2 * i + 1, from_ms) as BitrateEvent), ...now_ms, interval_ms: 500, rung: '1080p60-10m' },
      ]
    })
    const messages = events.map(event => ({
      key: Buffer.from(event.session_id),
      value: Buffer.from(JSON.stringify(event)),
    }))
    await sender.sendRaw(messages).catch(() => {})
    await sleep(500, undefined, { signal: speaking.signal }).catch(() => {})
  }
}

interface Witness {
  readonly answers: Record<(typeof KINDS)[number], number>
  readonly failures: string[]
  age_max_ms: number
  stale: number
  /** Answers that said they were younger than one before, of the same moment. */
  younger: number
}

/** Asks for everything again and again while `during` runs, and notes what it is told. */
async function witness(during: (seen: Witness) => Promise<void>): Promise<Witness> {
  const seen: Witness = { answers: { state: 0, batch: 0, prior: 0 }, failures: [], age_max_ms: 0, stale: 0, younger: 0 }
  let over = false
  const before = new Map<string, Advice>()
  const note = (advice: Advice): void => {
    const { as_of, age_ms, stale } = advice
    const last = before.get(advice.session_id)
    if (last && last.as_of === as_of && (age_ms ?? 0) < (last.age_ms ?? 0)) seen.younger++
    before.set(advice.session_id, advice)
    seen.age_max_ms = Math.max(seen.age_max_ms, age_ms ?? 0)
    if (stale) seen.stale++
  }
  const asking = (async () => {
    for (let i = 0; !over; i++) {
      const kind = KINDS[i % KINDS.length] ?? 'state'
      try {
        const sessions = SESSIONS.map(n => ({ session_id: sessionId(n) }))
        const response = await {
          state: () => ask(`/v1/abr/sessions/${sessionId(SESSIONS[i % SESSIONS.length] ?? 1)}`),
          batch: () => ask('/v1/abr/sessions:batch', { sessions }),
          prior: () => ask('/v1/abr/prior?access=wifi'),
        }[kind]()
        if (response.status !== 200) seen.failures.push(`${kind}: ${response.status}`)
        else if (kind === 'state') note((await response.json()) as Advice)
        seen.answers[kind]++
      } catch (error) {
        seen.failures.push(`${kind}: ${error}`)
      }
      await sleep(20)
    }
  })()
  try {
    await during(seen)
  } finally {
    over = true
    await asking
  }
  return seen
}

beforeAll(async () => {
  const data_dir = temporaryDirectory()
  const [topic, database] = [unique('outage'), unique('outage')]
  const [broker, clickhouse] = await Promise.all([startBroker({ restart: true }), startClickHouse({ restart: true })])
  const { brokers } = broker
  const environment = { KAFKA_SESSION_TIMEOUT_MS: '6000', KAFKA_PARTITIONS: '2', LOG_LEVEL: 'silent' }
  const ingester = await startIngester({ brokers, clickhouse, topic, database, environment, restart: true })
  Object.assign(parts, { broker: broker.part, ClickHouse: clickhouse.part, ingester: ingester.part })
  sender = createKafkaSender({ brokers: [brokers], topic })
  await sender.connect()
  spoken = speak()
  openKeys(data_dir, undefined)
  authorization = `Bearer ${readFileSync(devKeyFile(data_dir), 'utf8').trim()}`
  const settings = { ABR_STALE_AFTER_MS: String(STALE_AFTER_MS), API_REQUESTS_PER_SECOND: '100000' }
  url = (await startApi({ brokers, clickhouse, topic, database, data_dir, environment: settings })).url
})
afterAll(async () => {
  speaking.abort()
  await spoken
  await sender?.disconnect()
  await stopServices()
})

const untilFresh = (): Promise<void> =>
  until('every session is fresh', DEADLINE_MS, async () => {
    const told = await Promise.all(SESSIONS.map(state))
    return told.every(({ stale, samples }) => !stale && samples > 0)
  })

describe('every answer is 200 and says its true age', () => {
  const OUTAGES = ['ClickHouse', 'ingester', 'broker'].flatMap(part =>
    (['SIGKILL', 'SIGSTOP'] as const).map(signal => [signal, part] as const),
  )
  test.each(OUTAGES)('%s of the %s', async (signal, name) => {
    await untilFresh()
    const part = parts[name]
    // Sessions speak twice a second: who is known to be without the broker is known by this.
    const blind = name === 'broker'
    const { answers, failures, stale, younger, age_max_ms } = await witness(async seen => {
      part?.kill(signal)
      if (blind) {
        await until('everything is stale', DEADLINE_MS, async () => (await state(1)).stale && seen.stale > 0)
        const { recommendation, safe_default, freeze_in_progress } = await state(1)
        expect(recommendation).toEqual({ ...safe_default, reason: 'stale' })
        expect(freeze_in_progress, 'that nobody is heard is nobody’s freeze').toBe(false)
      } else {
        const { as_of } = await state(1)
        await until('news come all the same', DEADLINE_MS, async () => {
          const { as_of: now, stale } = await state(1)
          return !stale && Date.parse(now ?? '') > Date.parse(as_of ?? '') + STALE_AFTER_MS
        })
      }
      if (signal === 'SIGSTOP') part?.kill('SIGCONT')
      await untilFresh()
    })
    console.log(
      `${signal} ${name}: ${JSON.stringify(answers)} answered 200, ${failures.length} not; ${stale} stale; oldest ${age_max_ms} ms`,
    )
    expect(failures).toEqual([])
    expect(younger).toBe(0)
    expect(Math.min(...Object.values(answers))).toBeGreaterThan(0)
    if (blind) expect(age_max_ms).toBeGreaterThan(STALE_AFTER_MS)
    expect(stale > 0).toBe(blind)
  })
})
