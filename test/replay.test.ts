/**
 * Refused messages, sent again once what refused them is mended: each at most once, only what would be accepted today, and counted
 * at the time it speaks of. On the real Kafka and ClickHouse, by the function and by the command.
 */

import { execFile } from 'node:child_process'
import { Kafka, logLevel } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { QualityEvent } from '../ingest/contract/events.ts'
import { REFUSED_BYTES_KEPT, type Reason } from '../ingest/contract/refusal.ts'
import { createKafkaSender, type KafkaSender } from '../ingest/emit/kafka.ts'
import { decode } from '../ingest/load/decode.ts'
import { type ReplayOptions, type ReplayReport, replay } from '../ingest/load/replay.ts'
import { Batch, insertBatch, storedPartitions } from '../ingest/store/batch.ts'
import { openStore, type Store, type StoreConfig } from '../ingest/store/clickhouse.ts'
import { migrate } from '../ingest/store/migrate.ts'
import { claim } from '../ingest/store/owner.ts'
import { eventOf } from './support/events.ts'
import { readTopic } from './support/pipeline.ts'
import { RETENTION } from './support/seed.ts'
import { sharedServices, unique } from './support/services.ts'
import { LIMITS } from './support/verify.ts'

const DAY_MS = 86_400_000
const HOUR_MS = 3_600_000
/** When the messages were refused. */
const THEN = Date.now() - 3 * DAY_MS

interface Kept {
  readonly reason: Reason
  readonly key: string
  readonly bytes: Buffer
  /** Default: kept whole. */
  readonly bytes_total?: number
}

const kept = (reason: Reason, value: object | string | Buffer, more: Partial<Kept> = {}): Kept => ({
  reason,
  key: 'somebody',
  bytes: Buffer.isBuffer(value) ? value : Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)),
  ...more,
})

/** A second's event that was handed over when it was refused. */
const valid = (n: number, seq: number): QualityEvent => ({
  ...eventOf(n, seq, 0),
  started_at_ms: THEN - 1_000,
  sent_at_ms: THEN,
})
const ofWrongClock: QualityEvent = {
  ...valid(3, 0),
  started_at_ms: THEN - 1_000 - 2 * HOUR_MS,
  sent_at_ms: THEN - 2 * HOUR_MS,
}
const ofNewerClient = { ...valid(2, 0), ext_mood: 'fine' }
const MENDED = [valid(1, 0), valid(1, 1), ofNewerClient, ofWrongClock]

const STILL_REFUSED = [
  kept('bad_shape', { ...valid(4, 0), unheard_of: 1 }),
  kept('bad_shape', JSON.stringify(valid(4, 1)).slice(0, -1)),
  // Valid, if one looked away.
  kept('bad_shape', Buffer.from(JSON.stringify(valid(4, 2)).replace('game-4', 'game-\xff'), 'latin1')),
]
const CUT = kept('bad_shape', JSON.stringify(valid(5, 0)).padEnd(REFUSED_BYTES_KEPT, ' '), { bytes_total: 100_000 })
const REFUSED: readonly Kept[] = [
  ...MENDED.map(event => kept('bad_shape', event, { key: event.session_id })),
  ...STILL_REFUSED,
  CUT,
  kept('unknown_kind', valid(6, 0)),
  kept('tombstone', Buffer.alloc(0)),
]

/** Rows as the loader stores them for messages it refuses, in a database and a topic of their own. */
class Refusals {
  readonly store: Store
  readonly topic: string
  readonly config: StoreConfig
  readonly kafka = new Kafka({ brokers: [sharedServices().brokers], logLevel: logLevel.NOTHING })
  readonly sender: KafkaSender

  private constructor(name: string) {
    const { brokers, clickhouse } = sharedServices()
    this.topic = name
    this.config = { ...clickhouse, database: name }
    this.store = openStore(this.config)
    this.sender = createKafkaSender({ brokers: [brokers], topic: name })
  }

  static async keep(messages: readonly Kept[]): Promise<Refusals> {
    const refusals = new Refusals(unique('replay'))
    await migrate(refusals.config, RETENTION)
    const admin = refusals.kafka.admin()
    await admin.connect()
    const configEntries = [{ name: 'message.timestamp.type', value: 'LogAppendTime' }]
    await admin.createTopics({
      topics: [{ topic: refusals.topic, numPartitions: 2, configEntries }],
      waitForLeaders: true,
    })
    await admin.disconnect()
    await refusals.sender.connect()
    await refusals.#insert(messages)
    return refusals
  }

  async #insert(messages: readonly Kept[]): Promise<void> {
    const log_id = `${this.topic}#1`
    const lease = await claim(this.store, log_id, [0], () => true)
    const batch = new Batch((_field, value) => value)
    for (const [kafka_offset, { reason, key, bytes, bytes_total }] of messages.entries())
      batch.append(
        { log_id, kafka_partition: 0, kafka_offset, appended_at_ms: THEN },
        { refusal: { reason, detail: '' }, key: Buffer.from(key), bytes, bytes_total: bytes_total ?? bytes.length },
        0,
      )
    await insertBatch(this.store, lease, batch)
    expect((await storedPartitions(this.store, lease, batch)).size).toBe(1)
  }

  replay(more: Partial<ReplayOptions> = {}): Promise<ReplayReport> {
    return replay({
      store: this.store,
      reasons: ['bad_shape'],
      dry_run: false,
      limits: LIMITS,
      send: messages => this.sender.sendRaw(messages),
      ...more,
    })
  }

  sent = async () => [...(await readTopic(this.kafka, this.topic)).values()]

  async noted(): Promise<number> {
    const [row] = await this.store.query<{ n: number }>('SELECT count() AS n FROM replays_v1')
    return row?.n ?? Number.NaN
  }

  /** As `npm run replay -- …` does. */
  command(args: readonly string[], environment: Readonly<Record<string, string>> = {}) {
    const { url, username, password, database } = this.config
    return runCommand(args, {
      KAFKA_BROKERS: sharedServices().brokers,
      KAFKA_TOPIC: this.topic,
      CLICKHOUSE_URL: url,
      CLICKHOUSE_USER: username,
      CLICKHOUSE_PASSWORD: password,
      CLICKHOUSE_DATABASE: database,
      ...environment,
    })
  }

  async close(): Promise<void> {
    await this.sender.disconnect()
    await this.store.close()
  }
}

interface Ended {
  readonly code: number
  readonly stdout: string
  readonly stderr: string
}

const runCommand = (args: readonly string[], environment: Readonly<Record<string, string>>): Promise<Ended> =>
  new Promise(resolve => {
    const env = { ...process.env, ...environment }
    const command = ['--import', 'tsx', 'ingest/load/replay-command.ts', ...args]
    const root = new URL('..', import.meta.url)
    execFile(process.execPath, command, { cwd: root, env, timeout: 120_000 }, (error, stdout, stderr) => {
      const code = error === null ? 0 : typeof error.code === 'number' ? error.code : Number.NaN
      resolve({ code, stdout, stderr })
    })
  })

describe('a replay', () => {
  let refusals: Refusals
  beforeAll(async () => {
    refusals = await Refusals.keep(REFUSED)
  })
  afterAll(() => refusals?.close())

  const found = (replayed: number) => [
    {
      reason: 'bad_shape',
      messages: MENDED.length + STILL_REFUSED.length + 1,
      whole: MENDED.length + STILL_REFUSED.length,
      replayed,
    },
  ]
  const still_refused = { bad_shape: 1, not_json: 2 }

  test('run dry sends nothing and notes nothing, and says what it would send', async () => {
    const report = await refusals.replay({ dry_run: true })
    expect(report).toEqual({ found: found(0), sent: MENDED.length, still_refused, left_to_another: 0 })
    expect(await refusals.sent()).toEqual([])
    expect(await refusals.noted()).toBe(0)
  })

  test('sends what would be accepted today, under its key, and leaves the rest: still wrong, cut, or not asked for', async () => {
    const report = await refusals.replay()
    expect(report).toEqual({ found: found(0), sent: MENDED.length, still_refused, left_to_another: 0 })
    const sent = (await refusals.sent()).map(({ key, value }) => ({
      key: String(key),
      said: JSON.parse(String(value)),
    }))
    expect(sent).toHaveLength(MENDED.length)
    for (const event of MENDED) {
      const wanted = { key: event.session_id, said: { ...event, sent_at_ms: expect.any(Number) } }
      expect(sent).toContainEqual(wanted)
    }
  })

  test('is counted at the time it speaks of, by the clock it was told with, however late it is sent', async () => {
    for (const { key, value, timestamp } of await refusals.sent()) {
      const content = decode(value, key, Number(timestamp), LIMITS)
      if ('refusal' in content) throw new Error(content.refusal.detail)
      expect(content.at_ms).toBe(THEN - 1_000)
      const wrong = content.event.session_id === ofWrongClock.session_id
      expect(content.clock_shift_ms).toBe(wrong ? 2 * HOUR_MS : 0)
    }
  })

  test('a second time sends nothing', async () => {
    const report = await refusals.replay()
    expect(report).toEqual({ found: found(MENDED.length), sent: 0, still_refused, left_to_another: 0 })
    expect(await refusals.sent()).toHaveLength(MENDED.length)
  })

  test('beside another one sends nothing twice', async () => {
    const many = Array.from({ length: 1_500 }, (_, seq) => kept('bad_shape', valid(9, seq)))
    const both = await Refusals.keep(many)
    try {
      const reports = await Promise.all([both.replay(), both.replay(), both.replay()])
      const seqs = (await both.sent()).map(({ value }) => JSON.parse(String(value)).seq)
      expect(new Set(seqs).size).toBe(seqs.length)
      expect(reports.reduce((sum, { sent }) => sum + sent, 0)).toBe(seqs.length)
      expect(await both.replay()).toMatchObject({ sent: 0, left_to_another: 0 })
    } finally {
      await both.close()
    }
  }, 120_000)

  test('whose sending fails says so, and does not send those again', async () => {
    const one = await Refusals.keep([kept('bad_shape', valid(8, 0))])
    try {
      await expect(one.replay({ send: () => Promise.reject(new Error('no broker')) })).rejects.toThrow('no broker')
      expect(await one.replay()).toMatchObject({ sent: 0, left_to_another: 0 })
      expect(await one.sent()).toEqual([])
    } finally {
      await one.close()
    }
  }, 120_000)
})

describe('the command', () => {
  let refusals: Refusals
  let withoutKafka: Promise<Ended>
  beforeAll(async () => {
    refusals = await Refusals.keep(REFUSED)
    // Tries for a while: beside the others.
    withoutKafka = refusals.command(['--reason', 'unknown_kind'], { KAFKA_BROKERS: '127.0.0.1:1' })
  })
  afterAll(() => refusals?.close())

  test.each([
    { what: 'an unknown flag', args: ['--reason', 'bad_shape', '--all'], says: "unknown option '--all'" },
    { what: 'an unknown reason', args: ['--reason', 'too_sad'], says: 'expected one of too_large, not_json' },
    { what: 'no reason', args: ['--dry-run'], says: "required option '--reason <reason>' not specified" },
    { what: 'something left over', args: ['--reason', 'bad_shape', 'not_json'], says: 'too many arguments' },
  ])('refuses $what in one line, and does nothing', async ({ args, says }) => {
    const { code, stdout, stderr } = await refusals.command(args)
    expect(stderr).toContain(says)
    expect(stderr.trim().split('\n')).toHaveLength(1)
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' })
  })

  test('says what it found and would send, then sends it, then has nothing to send', async () => {
    const args = ['--reason', 'bad_shape', '--reason', 'unknown_kind']
    const lines = (replayed: { bad_shape: number; unknown_kind: number }, last: string) => [
      `bad_shape: found 8, kept whole 7, already replayed ${replayed.bad_shape}`,
      `unknown_kind: found 1, kept whole 1, already replayed ${replayed.unknown_kind}`,
      'still refused, bad_shape: 1',
      'still refused, not_json: 2',
      last,
    ]
    const none = { bad_shape: 0, unknown_kind: 0 }
    const said = async (more: string[] = []) => {
      const { code, stdout, stderr } = await refusals.command([...args, ...more])
      expect({ code, stderr }).toEqual({ code: 0, stderr: '' })
      return stdout.trim().split('\n').sort()
    }
    expect(await said(['--dry-run'])).toEqual(lines(none, 'would send: 5').sort())
    expect(await refusals.sent()).toHaveLength(0)
    expect(await said()).toEqual(lines(none, 'sent: 5').sort())
    expect(await said()).toEqual(lines({ bad_shape: 4, unknown_kind: 1 }, 'sent: 0').sort())
    expect(await refusals.sent()).toHaveLength(5)
  }, 120_000)

  test('says that ClickHouse cannot be reached, and where', async () => {
    const { code, stderr } = await refusals.command(['--reason', 'bad_shape'], { CLICKHOUSE_URL: 'http://127.0.0.1:1' })
    expect({ code, stderr }).toEqual({
      code: 1,
      stderr: 'replay: ClickHouse cannot be reached at http://127.0.0.1:1\n',
    })
  })

  test('says that Kafka cannot be reached, and where, before anything is noted as sent', async () => {
    const { code, stderr } = await withoutKafka
    expect(stderr).toMatch(/^replay: Kafka cannot be reached at 127\.0\.0\.1:1: .*\n$/)
    expect(code).toBe(1)
  }, 120_000)
})
