/**
 * The local service keeps what it acknowledged, comes back after a death, ends in order, and says in one sentence what is
 * missing. Its parts are the real ones, or small scripts where only the supervision matters.
 */
import { execFile, spawn } from 'node:child_process'
import { chmodSync, existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer } from 'node:net'
import { getPriority } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { Kafka, logLevel } from 'kafkajs'
import { afterAll, describe, expect, test } from 'vitest'
import { prepareBroker } from '../local/kafka/broker.ts'
import { brokerJars } from '../local/kafka/jars.ts'
import { findJava, javaRelease } from '../local/kafka/java.ts'
import { brokerProperties } from '../local/kafka/properties.ts'
import { judgeStorage } from '../local/kafka/storage.ts'
import { endLeftover, rememberPid } from '../local/leftover.ts'
import { freePort } from '../local/ports.ts'
import { roomFault } from '../local/room.ts'
import {
  DEATHS_ALLOWED,
  type PartEvent,
  type PartOptions,
  type PartSpec,
  restartDelay_ms,
  startPart,
} from '../local/supervise.ts'
import { sharedServices, startBroker, stopServices, temporaryDirectory, unique } from './support/services.ts'

const ROOT = join(import.meta.dirname, '..')

afterAll(stopServices)

describe('the broker', () => {
  test('keeps an acknowledged message when it is killed, and starts again on the same data and port', {
    timeout: 120_000,
  }, async () => {
    const first = await startBroker({ restart: true })
    const topic = unique('kept')
    await withKafka(first.brokers, async kafka => {
      const admin = kafka.admin()
      await admin.connect()
      await admin.createTopics({ topics: [{ topic, numPartitions: 1 }] })
      await admin.disconnect()
      const producer = kafka.producer()
      await producer.connect()
      await producer.send({ topic, acks: -1, messages: [{ value: 'acknowledged' }] })
      first.part.kill('SIGKILL')
      await producer.disconnect()
    })
    await until(() => first.part.restarts === 1 && first.part.ready)
    expect(first.events.map(event => event.event).filter(name => name !== 'waiting')).toEqual([
      ...['starting', 'ready', 'died', 'restarting', 'starting', 'ready'],
    ])
    expect(await firstMessage(first.brokers, topic)).toBe('acknowledged')
    await first.part.stop()
    expect(await first.part.ended).toMatchObject({ reason: 'stopped' })
    expect(readFileSync(join(first.data_dir, 'logs', 'kafka.log'), 'utf8')).toContain(
      'Transition from STARTED to SHUTTING_DOWN',
    )
  })

  test('takes a topic of 20 MB messages and a message of 15 MB', async () => {
    const { brokers } = sharedServices()
    const topic = unique('large')
    const value = 'x'.repeat(15_000_000)
    await withKafka(brokers, async kafka => {
      const admin = kafka.admin()
      await admin.connect()
      const configEntries = [{ name: 'max.message.bytes', value: '20000000' }]
      await admin.createTopics({ topics: [{ topic, numPartitions: 1, configEntries }] })
      await admin.disconnect()
      const producer = kafka.producer()
      await producer.connect()
      await producer.send({ topic, messages: [{ value }] })
      await producer.disconnect()
    })
    expect((await firstMessage(brokers, topic)).length).toBe(value.length)
  })

  test('makes no topic that nobody asked for', async () => {
    await withKafka(sharedServices().brokers, async kafka => {
      const admin = kafka.admin()
      await admin.connect()
      await expect(admin.fetchTopicMetadata({ topics: [unique('typo')] })).rejects.toThrow('does not host this topic')
      await admin.disconnect()
    })
  })

  test('listens on loopback only', () => {
    const text = brokerProperties({ port: 1, controller_port: 2, log_dir: 'C:\\ü', retention_hours: 24 })
    expect(text).toContain('listeners=PLAINTEXT://127.0.0.1:1,CONTROLLER://127.0.0.1:2\n')
    expect(text).toContain('log.dirs=C:\\\\\\u00fc\n')
    expect(text).not.toContain('0.0.0.0')
  })

  test('does not touch the data of another Kafka, nor of a newer one', () => {
    const stamp = { kafka_version: '4.1.2', cluster_id: 'ours' }
    const meta = 'version=1\ncluster.id=ours\nnode.id=1\n'
    expect(judgeStorage('/d', '4.1.2', stamp, undefined)).toBe('absent')
    expect(judgeStorage('/d', '4.1.2', stamp, meta)).toBe('ours')
    expect(judgeStorage('/d', '4.10.0', stamp, meta)).toBe('ours')
    expect(judgeStorage('/d', '4.1.2', undefined, meta)).toMatchObject({
      fault: expect.stringContaining('another Kafka'),
    })
    expect(judgeStorage('/d', '4.1.2', { ...stamp, cluster_id: 'x' }, meta)).toMatchObject({
      fault: expect.any(String),
    })
    expect(judgeStorage('/d', '4.1.2', { ...stamp, kafka_version: '4.10.0' }, meta)).toMatchObject({
      fault: expect.stringContaining('newer than 4.1.2'),
    })
  })
})

describe('what is missing is said in one sentence', () => {
  const silent = (): void => {}

  test('no Java', async () => {
    await expect(findJava({ PATH: '/nowhere' })).rejects.toThrow(
      'Java 17 or newer is needed to run the local Kafka broker: install a JRE (Debian: apt-get install openjdk-17-jre-headless) or point KAFKA_BROKERS at an existing cluster',
    )
  })

  test('a Java that is too old', async () => {
    const bin = script(join(temporaryDirectory('java'), 'bin'), 'java', `echo 'openjdk version "11.0.2"' >&2`)
    await expect(findJava({ PATH: `${bin}:/bin:/usr/bin` })).rejects.toThrow('java is 11: install a JRE')
    expect([javaRelease('java version "1.8.0_402"'), javaRelease('openjdk version "21" 2023-09-19')]).toEqual([8, 21])
  })

  test('no Maven, and no jars fetched before', async () => {
    const home = temporaryDirectory('home')
    await expect(brokerJars({ HOME: home, PATH: '/nowhere' }, silent)).rejects.toThrow(
      'Maven is needed once to fetch the local Kafka broker: install it (Debian: apt-get install maven) or point KAFKA_BROKERS at an existing cluster',
    )
  })

  test('a Maven without a network', async () => {
    const failing = `echo '[ERROR] Could not transfer artifact: unknown host'; exit 1`
    const bin = script(temporaryDirectory('mvn'), 'mvn', failing)
    const environment = { HOME: temporaryDirectory('home'), PATH: `${bin}:/bin:/usr/bin` }
    await expect(brokerJars(environment, silent)).rejects.toThrow(
      'Maven could not fetch the local Kafka broker (Could not transfer artifact: unknown host): check the network',
    )
  })

  test('a port that is taken', async () => {
    const port = await freePort()
    const squatter = createServer().listen(port, '127.0.0.1')
    const options = { data_dir: temporaryDirectory(), port, environment: process.env }
    await expect(prepareBroker(options)).rejects.toThrow(
      `port ${port} on 127.0.0.1 is taken: stop what listens there or set KAFKA_PORT to a free one`,
    )
    squatter.close()
  })

  test('a disk that is nearly full', () => {
    expect(roomFault('/data', 2e9, 1e9, 'the service')).toBeUndefined()
    expect(roomFault('/data', 5e8, 1e9, 'the service')).toBe(
      'Only 500 MB are free on the disk of /data, the service needs 1000 MB: free some or set DATA_DIR to a directory on another disk',
    )
  })

  test('an unknown flag of npm start; --help answers', async () => {
    const start = (flag: string) => run(process.execPath, ['--import', 'tsx', 'local/main.ts', flag], { cwd: ROOT })
    await expect(start('--fleet')).rejects.toMatchObject({
      code: 1,
      stderr: expect.stringContaining("unknown option '--fleet'"),
    })
    expect((await start('--help')).stdout).toContain('KAFKA_BROKERS')
  })
})

test('several may fetch the jars at once, and the next start does not call Maven unless some were deleted', async () => {
  // Writes one jar where it is told to, and a line for each time it is called.
  const directory = temporaryDirectory('mvn')
  const calls = join(directory, 'calls')
  const fetching = `echo called >> ${calls}
for word in "$@"; do case "$word" in -DoutputDirectory=*) sleep 0.2; echo jar > "\${word#*=}/kafka.jar";; esac; done`
  const environment = { HOME: temporaryDirectory('home'), PATH: `${script(directory, 'mvn', fetching)}:/bin:/usr/bin` }
  const both = await Promise.all([brokerJars(environment, () => {}), brokerJars(environment, () => {})])
  expect(both[0]).toBe(both[1])
  expect(readFileSync(join(both[0], 'kafka.jar'), 'utf8')).toBe('jar\n')
  expect(lines(calls)).toHaveLength(2)
  await brokerJars(environment, () => {})
  expect(lines(calls)).toHaveLength(2)
  rmSync(join(both[0], 'kafka.jar'))
  await brokerJars(environment, () => {})
  expect(lines(calls)).toHaveLength(3)
})

describe('a part', () => {
  test('that dies is reported with its last lines and started again', async () => {
    const { part, events } = await startScript(`console.log('about to fall'); setTimeout(() => {}, 1e6)`)
    const pid = part.pid
    await until(() => logOf(events).includes('fall'))
    part.kill('SIGKILL')
    await until(() => part.restarts === 1 && part.ready)
    expect(part.pid).not.toBe(pid)
    expect(events).toContainEqual(
      expect.objectContaining({ event: 'died', how: 'SIGKILL', last_lines: ['about to fall'] }),
    )
    await part.stop()
  })

  test('that hangs is killed and started again', async () => {
    const { part } = await startScript(SERVE, { watch: { every_ms: 50, misses: 2 } }, await freePort())
    part.kill('SIGSTOP')
    await until(() => part.restarts === 1 && part.ready)
    await part.stop()
  })

  test('that keeps dying is given up', async () => {
    const marker = join(temporaryDirectory(), 'started')
    const onlyOnce = `const fs = require('fs'); if (fs.existsSync('${marker}')) process.exit(3); fs.writeFileSync('${marker}', ''); setTimeout(() => {}, 1e6)`
    const { part, events } = await startScript(onlyOnce, {}, undefined, () => existsSync(marker))
    part.kill('SIGKILL')
    expect(await part.ended).toMatchObject({ reason: 'given_up' })
    expect(part.restarts).toBe(DEATHS_ALLOWED)
    expect(events.at(-1)).toMatchObject({ event: 'given_up' })
  })

  test('that dies before it is ready is not tried again, and its last lines say why', async () => {
    await expect(
      startScript(`console.error('KAFKA_TOPIC: nonsense'); process.exit(1)`, {}, await freePort()),
    ).rejects.toThrow(/ended \(code 1\) before it was ready(.|\n)*KAFKA_TOPIC: nonsense/)
  })

  test('that does not want to end is killed at its deadline', async () => {
    const { part, events } = await startScript(
      `process.on('SIGTERM', () => {}); setInterval(() => {}, 1e6); console.log('deaf')`,
    )
    await until(() => logOf(events).includes('deaf'))
    await part.stop(200)
    expect(events.at(-1)).toMatchObject({ event: 'stopped', killed: true })
  })

  test('that nobody waits for gives way where the parts share a machine, also after it was started again', async () => {
    const { part: alone } = await startScript(SERVE, {}, await freePort())
    const { part } = await startScript(SERVE, { precedence: true }, await freePort())
    const pidOf = ({ pid }: typeof part): number => pid ?? Number.NaN
    expect(getPriority(pidOf(alone))).toBe(getPriority())
    expect(getPriority(pidOf(part))).toBeGreaterThan(getPriority())
    part.kill('SIGKILL')
    await until(() => part.restarts === 1 && part.ready)
    expect(getPriority(pidOf(part))).toBeGreaterThan(getPriority())
    await Promise.all([part.stop(), alone.stop()])
  })

  test('waits longer after each death, never above 8 s, never twice the same', () => {
    expect([1, 2, 3, 9].map(deaths => restartDelay_ms(deaths, 0))).toEqual([250, 500, 1_000, 8_000])
    expect(restartDelay_ms(1, 1)).toBe(125)
  })

  test('does not outlive a supervisor that was killed, or is ended by the next one', async () => {
    const data_dir = temporaryDirectory()
    const supervisor = `
      import { startPart } from '${ROOT}/local/supervise.ts'
      const command = { file: process.execPath, args: ['-e', 'setTimeout(() => {}, 1e6)', 'left'], environment: process.env }
      const spec = { name: 'script', command: () => command, probe: async () => undefined, ready_within_ms: 5000, stop_within_ms: 1000 }
      const part = await startPart(spec, { data_dir: '${data_dir}', report: () => {} })
      console.log(part.pid)`
    const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', supervisor], { cwd: ROOT })
    const pid = await new Promise<number>(resolve => child.stdout.once('data', text => resolve(Number(text))))
    expect(await endLeftover(data_dir, 'script')).toBe('supervised')
    child.kill('SIGKILL')
    await new Promise(resolve => child.once('exit', resolve))
    await endLeftover(data_dir, 'script')
    await until(() => !existsSync(`/proc/${pid}/cmdline`) || readFileSync(`/proc/${pid}/cmdline`).length === 0)
  })

  test('that took the pid of one that is gone is left alone', async () => {
    const data_dir = temporaryDirectory()
    const other = spawn(process.execPath, ['-e', 'setTimeout(() => {}, 1e6)'])
    rememberPid(data_dir, 'script', other.pid ?? Number.NaN)
    const file = join(data_dir, 'run', 'script.json')
    writeFileSync(file, readFileSync(file, 'utf8').replace(/"started":"[^"]+"/, '"started":"before"'))
    const found = await endLeftover(data_dir, 'script')
    const died_of = new Promise(resolve => other.once('exit', (_code, signal) => resolve(signal)))
    other.kill('SIGUSR2')
    // Had it been ended as a leftover, it would have died of another signal.
    expect([found, await died_of]).toEqual(['none', 'SIGUSR2'])
  })
})

test('npm start uses the Kafka and ClickHouse it is pointed at, and ends its own parts in reverse order with 0', async () => {
  const { brokers, clickhouse } = sharedServices()
  const ports = { HTTP_PORT: String(await freePort()), INGEST_VITALS_PORT: String(await freePort()) }
  const name = unique('start')
  const environment = {
    ...{ ...process.env, ...ports, DATA_DIR: temporaryDirectory(), KAFKA_BROKERS: brokers, KAFKA_TOPIC: name },
    ...{ KAFKA_GROUP_ID: name, CLICKHOUSE_URL: clickhouse.url, CLICKHOUSE_DATABASE: name },
    ...{ CLICKHOUSE_USER: clickhouse.username, CLICKHOUSE_PASSWORD: clickhouse.password },
  }
  const child = spawn(process.execPath, ['--import', 'tsx', 'local/main.ts'], { cwd: ROOT, env: environment })
  let said = ''
  for (const stream of [child.stdout, child.stderr]) stream.on('data', text => (said += text))
  const exit = new Promise<number | null>(resolve => child.once('exit', resolve))
  await until(() => said.includes('all parts are ready') || child.exitCode !== null)
  const answer = await fetch(`http://127.0.0.1:${ports.HTTP_PORT}/readyz`)
  expect(answer.status).toBe(200)
  child.kill('SIGINT')
  expect([await exit, said.match(/[a-zA-Z]+ +(ready|stopped) in/g)?.map(words => words.replace(/ +/g, ' '))]).toEqual([
    0,
    ['ingester ready in', 'API ready in', 'API stopped in', 'ingester stopped in'],
  ])
}, 120_000)

const run = promisify(execFile)
const SERVE = `require('http').createServer((_, r) => r.end()).listen(process.argv[1], '127.0.0.1')`

const directories = new WeakMap<readonly PartEvent[], string>()
const logOf = (events: readonly PartEvent[]): string =>
  readFileSync(join(directories.get(events) ?? '', 'logs', 'script.log'), 'utf8')

/** A part that is a line of JavaScript. With a port, it is ready when it answers there; otherwise when `ready` says so. */
async function startScript(
  code: string,
  options: Partial<PartOptions> = {},
  port?: number,
  ready: () => boolean = () => true,
) {
  const events: PartEvent[] = []
  const data_dir = temporaryDirectory()
  directories.set(events, data_dir)
  const args = ['-e', code, ...(port === undefined ? [] : [String(port)])]
  const spec: PartSpec = {
    name: 'script',
    command: () => ({ file: process.execPath, args, environment: process.env }),
    probe: async signal => {
      if (port === undefined) return ready() ? undefined : 'waiting for its file'
      await fetch(`http://127.0.0.1:${port}`, { signal: AbortSignal.any([signal, AbortSignal.timeout(200)]) })
      return undefined
    },
    ready_within_ms: 20_000,
    stop_within_ms: 5_000,
    gives_way: true,
  }
  const part = await startPart(spec, { data_dir, report: event => events.push(event), ...options })
  return { part, events }
}

/** A shell script of that name in the directory, to be found on a PATH. */
function script(directory: string, name: string, body: string): string {
  mkdirSync(directory, { recursive: true })
  writeFileSync(join(directory, name), `#!/bin/sh\n${body}\n`)
  chmodSync(join(directory, name), 0o755)
  return directory
}

const lines = (file: string): string[] => readFileSync(file, 'utf8').trim().split('\n')

async function until(reached: () => boolean, deadline_ms = 50_000): Promise<void> {
  const deadline = performance.now() + deadline_ms
  while (!reached()) {
    if (performance.now() > deadline) throw new Error(`not reached within ${deadline_ms} ms: ${reached}`)
    await sleep(20)
  }
}

async function withKafka(brokers: string, use: (kafka: Kafka) => Promise<void>): Promise<void> {
  await use(new Kafka({ brokers: [brokers], logLevel: logLevel.NOTHING }))
}

async function firstMessage(brokers: string, topic: string): Promise<string> {
  const kafka = new Kafka({ brokers: [brokers], logLevel: logLevel.NOTHING })
  const consumer = kafka.consumer({ groupId: unique('group') })
  await consumer.connect()
  await consumer.subscribe({ topic, fromBeginning: true })
  const value = await new Promise<string>(resolve => {
    void consumer.run({ eachMessage: async ({ message }) => resolve(message.value?.toString() ?? '') })
  })
  await consumer.disconnect()
  return value
}
