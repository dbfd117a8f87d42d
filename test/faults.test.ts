/**
 * Things that go wrong around the ingester: what it needs is away, full, or not what it was. Nothing is lost, and it says why.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Kafka, logLevel } from 'kafkajs'
import { afterAll, describe, expect, test } from 'vitest'
import { createKafkaSender } from '../ingest/emit/kafka.ts'
import { ConfigError, readConfig } from '../ingest/runtime/config.ts'
import { auditPartitions } from '../ingest/store/audit.ts'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { claim, currentLog } from '../ingest/store/owner.ts'
import { eventOf } from './support/events.ts'
import {
  type PipelineOptions,
  sharedServices,
  startBroker,
  startClickHouse,
  startIngester,
  stopServices,
  temporaryDirectory,
  unique,
} from './support/services.ts'
import { until, untilSettled, untilStored, verify, vitalOf } from './support/verify.ts'

afterAll(stopServices)

const QUICK = {
  KAFKA_SESSION_TIMEOUT_MS: '3000',
  KAFKA_PARTITIONS: '2',
  INGEST_FLUSH_MS: '100',
  SETTLE_EVERY_MS: '300',
}
const GOOD = { lost: 0, doubled: 0, different: 0, wrong_cells: 0, wrong_minutes: 0 }

type Pipeline = Omit<PipelineOptions, 'environment'>

function pipeline(own: Partial<Pipeline> = {}): Pipeline & { store: Store } {
  const { brokers, clickhouse } = sharedServices()
  const options = { brokers, clickhouse, database: unique('faults'), topic: unique('faults'), ...own }
  return { ...options, store: openStore({ ...options.clickhouse, database: options.database }) }
}

/** Events of 20 sessions for so many seconds from `start_ms` on, sent at once. */
async function send(brokers: string, topic: string, start_ms: number, seconds: number): Promise<void> {
  const sender = createKafkaSender({ brokers: [brokers], topic })
  await sender.connect()
  const messages = Array.from({ length: seconds * 2 * 20 }, (_, i) => {
    const event = eventOf(i % 20, Math.floor(i / 20), start_ms)
    return { key: Buffer.from(event.session_id), value: Buffer.from(JSON.stringify(event)) }
  })
  await sender.sendRaw(messages)
  await sender.disconnect()
}

async function withAdmin<T>(brokers: string, use: (admin: ReturnType<Kafka['admin']>) => Promise<T>): Promise<T> {
  const admin = new Kafka({ brokers: [brokers], logLevel: logLevel.NOTHING }).admin()
  await admin.connect()
  try {
    return await use(admin)
  } finally {
    await admin.disconnect()
  }
}

/** Runs the ingester until it ends by itself. */
async function ingestUntilExit(options: Pipeline): Promise<{ code: number | null; said: string }> {
  const child = spawn(process.execPath, ['--import', 'tsx', 'ingest/main.ts'], {
    env: {
      ...process.env,
      ...QUICK,
      DATA_DIR: temporaryDirectory(),
      KAFKA_BROKERS: options.brokers,
      KAFKA_TOPIC: options.topic,
      KAFKA_GROUP_ID: options.topic,
      CLICKHOUSE_URL: options.clickhouse.url,
      CLICKHOUSE_PASSWORD: options.clickhouse.password,
      CLICKHOUSE_DATABASE: options.database,
      INGEST_VITALS_PORT: '0',
    },
  })
  let said = ''
  child.stderr.on('data', (chunk: Buffer) => {
    said += chunk.toString()
  })
  const deadline = setTimeout(() => child.kill('SIGKILL'), 60_000)
  const [code] = (await once(child, 'exit')) as [number | null]
  clearTimeout(deadline)
  return { code, said }
}

async function insertFailures(vitals_url: string): Promise<number> {
  const vitals = await (await fetch(`${vitals_url}/metrics`)).text()
  return [...vitals.matchAll(/^ingest_insert_failures_total\{code="[^"]+"\} (\d+)/gm)].reduce(
    (sum, [, n]) => sum + Number(n),
    0,
  )
}

describe('what the ingester needs is away for a while', () => {
  test('ClickHouse: it waits, its memory stays bounded, and the time away keeps its own events', async () => {
    const clickhouse = await startClickHouse()
    const { store, ...options } = pipeline({ clickhouse })
    const ingester = await startIngester({ ...options, environment: QUICK })
    const start_ms = Math.floor((Date.now() - 120_000) / 10_000) * 10_000
    await send(options.brokers, options.topic, start_ms, 20)
    await untilStored(store, [options.brokers], options.topic, 30_000)

    clickhouse.part.kill('SIGKILL')
    await clickhouse.part.ended
    for (let second = 20; second < 60; second += 5) {
      await send(options.brokers, options.topic, start_ms + second * 1_000, 5)
      const before = await insertFailures(ingester.vitals_url)
      await until('it has tried again', 30_000, async () => (await insertFailures(ingester.vitals_url)) > before)
    }
    expect(ingester.part.pid, 'the ingester lives').toBeDefined()
    await startClickHouse({ data_dir: clickhouse.data_dir, port: clickhouse.port })

    await untilStored(store, [options.brokers], options.topic, 60_000)
    await untilSettled(store, 60_000)
    expect(await verify(store, [options.brokers], options.topic)).toMatchObject(GOOD)
    const buckets = await store.query<{ n: number }>('SELECT count(DISTINCT t10) AS n FROM events_v1')
    expect(buckets[0]?.n).toBeGreaterThanOrEqual(6)
    expect(await vitalOf(ingester.vitals_url, 'process_resident_memory_bytes')).toBeLessThan(700e6)
    await store.close()
  }, 180_000)

  test('the broker: it waits, and goes on where it was', async () => {
    const broker = await startBroker()
    const { store, ...options } = pipeline({ brokers: broker.brokers })
    const ingester = await startIngester({ ...options, environment: { ...QUICK, LOG_LEVEL: 'debug' } })
    const start_ms = Date.now() - 60_000
    await send(options.brokers, options.topic, start_ms, 10)
    await untilStored(store, [options.brokers], options.topic, 30_000)
    broker.part.kill('SIGKILL')
    await broker.part.ended
    const log = join(ingester.data_dir, 'logs', 'ingester.log')
    const refusals = (): number => readFileSync(log, 'utf8').split('ECONNREFUSED').length - 1
    await until('it has tried to reach the broker, again and again', 60_000, () => refusals() >= 5)
    await startBroker({ data_dir: broker.data_dir, port: broker.port })
    await send(options.brokers, options.topic, start_ms + 10_000, 10)
    await untilStored(store, [options.brokers], options.topic, 60_000)
    await untilSettled(store, 60_000)
    expect(await verify(store, [options.brokers], options.topic)).toMatchObject(GOOD)
    await store.close()
  }, 180_000)
})

describe('somebody else writes', () => {
  test('a claim of another writer fences it: it sees that its rows were not stored, takes again, and loses none', async () => {
    const { store, ...options } = pipeline()
    const ingester = await startIngester({ ...options, environment: QUICK })
    const start_ms = Date.now() - 60_000
    await send(options.brokers, options.topic, start_ms, 5)
    await untilStored(store, [options.brokers], options.topic, 30_000)
    const { log_id } = await currentLog(store, options.topic)
    await claim(store, log_id, [0, 1], () => true)
    await send(options.brokers, options.topic, start_ms + 5_000, 5)
    await untilStored(store, [options.brokers], options.topic, 60_000)
    await untilSettled(store, 60_000)
    expect(await verify(store, [options.brokers], options.topic)).toMatchObject(GOOD)
    expect(await vitalOf(ingester.vitals_url, 'ingest_fenced_total')).toBeGreaterThan(0)
    await store.close()
  }, 180_000)
})

describe('the topic is not what it was', () => {
  test.each([
    ['shorter than what is stored of it', 2],
    ['longer than what is stored of it', 30],
  ])(
    'deleted and created again, %s: it stops and says so, and goes on beside it when told to',
    async (_, seconds) => {
      const { store, ...options } = pipeline()
      const first = await startIngester({ ...options, environment: QUICK })
      const start_ms = Date.now() - 60_000
      await send(options.brokers, options.topic, start_ms, 10)
      await untilStored(store, [options.brokers], options.topic, 30_000)
      await first.part.stop()

      await withAdmin(options.brokers, async admin => {
        await admin.deleteTopics({ topics: [options.topic] })
        await until('the topic is gone', 20_000, async () => !(await admin.listTopics()).includes(options.topic))
        await admin.createTopics({
          waitForLeaders: false,
          topics: [
            {
              topic: options.topic,
              numPartitions: 2,
              configEntries: [{ name: 'message.timestamp.type', value: 'LogAppendTime' }],
            },
          ],
        })
      })
      await send(options.brokers, options.topic, start_ms, seconds)
      const { code, said } = await ingestUntilExit(options)
      expect(code).toBe(1)
      expect(said).toContain('deleted and created again')
      expect(said).toContain('--accept-new-log')

      const accepted = await startIngester({ ...options, environment: QUICK, flags: ['--accept-new-log'] })
      await until('the new log is stored', 60_000, async () => {
        const rows = await store.query<{ n: number }>("SELECT count() AS n FROM events_v1 WHERE endsWith(log_id, '#2')")
        return (rows[0]?.n ?? 0) >= seconds * 2 * 20
      })
      await accepted.part.stop()
      for (const row of await auditPartitions(store)) expect(row).toMatchObject({ missing: 0, doubled: 0, expired: 0 })
      await store.close()
    },
    180_000,
  )

  test('partitions are added: they are read from their beginning', async () => {
    const { store, ...options } = pipeline()
    await startIngester({ ...options, environment: QUICK })
    const start_ms = Date.now() - 60_000
    await send(options.brokers, options.topic, start_ms, 5)
    await untilStored(store, [options.brokers], options.topic, 30_000)
    await withAdmin(options.brokers, admin =>
      admin.createPartitions({ topicPartitions: [{ topic: options.topic, count: 5 }] }),
    )
    await send(options.brokers, options.topic, start_ms + 5_000, 10)
    await untilStored(store, [options.brokers], options.topic, 90_000)
    await untilSettled(store, 60_000)
    expect(await verify(store, [options.brokers], options.topic)).toMatchObject(GOOD)
    expect((await auditPartitions(store)).length).toBeGreaterThan(2)
    await store.close()
  }, 240_000)

  test('it has fewer partitions than there are ingesters: one is a spare, ready, and takes over when another dies', async () => {
    const { store, ...options } = pipeline()
    const three = await Promise.all([1, 2, 3].map(() => startIngester({ ...options, environment: QUICK })))
    const held = (some: typeof three) =>
      Promise.all(some.map(({ vitals_url }) => vitalOf(vitals_url, 'ingest_partitions')))
    await until('each of two has a partition', 60_000, async () => `${(await held(three)).sort()}` === '0,1,1')
    const ready = await Promise.all(three.map(({ vitals_url }) => fetch(`${vitals_url}/readyz`)))
    expect(ready.map(({ status }) => status)).toEqual([200, 200, 200])
    const dies = three[(await held(three)).indexOf(1)]
    await dies?.part.kill('SIGKILL')
    const left = three.filter(ingester => ingester !== dies)
    await until('each of the others has one', 60_000, async () => `${await held(left)}` === '1,1')
    await send(options.brokers, options.topic, Date.now() - 60_000, 5)
    await untilStored(store, [options.brokers], options.topic, 60_000)
    expect(await verify(store, [options.brokers], options.topic)).toMatchObject({ lost: 0, doubled: 0 })
    await store.close()
  }, 240_000)

  test('its timestamps are the clients’: it refuses to start, and names the setting', async () => {
    const { store, ...options } = pipeline()
    await store.close()
    await withAdmin(options.brokers, admin =>
      admin.createTopics({
        waitForLeaders: false,
        topics: [
          {
            topic: options.topic,
            numPartitions: 1,
            configEntries: [{ name: 'message.timestamp.type', value: 'CreateTime' }],
          },
        ],
      }),
    )
    const { code, said } = await ingestUntilExit(options)
    expect(code).toBe(1)
    expect(said).toContain('message.timestamp.type')
  }, 90_000)
})

describe('a configuration that does not fit', () => {
  test.each([
    ['KAFKA_PORT', 'ninety'],
    ['KAFKA_BROKERS', 'nowhere'],
    ['CLICKHOUSE_URL', 'ftp://x'],
    ['INGEST_FLUSH_MS', '-1'],
    ['CLICKHOUSE_DATABASE', 'x; DROP TABLE y'],
    ['RAW_RETENTION_DAYS', '7'],
  ])('%s=%s is refused, and the variable named', (name, value) => {
    expect(() => readConfig({ [name]: value })).toThrow(ConfigError)
    expect(() => readConfig({ [name]: value })).toThrow(name)
  })

  test('stops the ingester before it touches anything', async () => {
    const child = spawn(process.execPath, ['--import', 'tsx', 'ingest/main.ts'], {
      env: { ...process.env, KAFKA_BROKERS: 'nowhere' },
    })
    let said = ''
    child.stderr.on('data', (chunk: Buffer) => {
      said += chunk.toString()
    })
    const [code] = (await once(child, 'exit')) as [number | null]
    expect(code).toBe(1)
    expect(said).toMatch(/configuration refused:\n {2}KAFKA_BROKERS: /)
  }, 30_000)
})
