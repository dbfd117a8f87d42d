/**
 * The load generator as a process of its own, so that its CPU is its own: `producer.ts <brokers> <topic> <load> <sessions> <seconds> <rate>`.
 * rate 0: as fast as it goes. Otherwise paced to so many events a second; prints
 * `<produced so far> <epoch ms of the produce call>` for each request, from which freshness is measured, and at the end
 * `bucket <its start> <its events> <epoch ms of the last produce call with one of them>` for each ten seconds of events.
 * Uncompressed and straight through kafkajs: players' machines are not on these cores.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import { LOADS, type LoadName } from './load.ts'

const [brokers = '', topic = '', name = 'live', sessions = '0', seconds = '0', rate = '0'] = process.argv.slice(2)
const load = LOADS[name as LoadName]
const BUCKET_MS = 10_000
const PACE_MS = 50
const REQUEST = 2_000
const paced = Number(rate) > 0
const perRequest = paced ? (Number(rate) * PACE_MS) / 1_000 : REQUEST

interface Message {
  readonly key: string
  /** Of the session, as the key would have it, but for nothing. */
  readonly partition: number
  readonly value: Buffer
  readonly bucket_ms: number
}

async function partitionsOf(topic: string): Promise<number> {
  const admin = kafka.admin()
  await admin.connect()
  const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
  await admin.disconnect()
  return topics[0]?.partitions.length ?? 1
}

function* messages(start_ms: number): Generator<Message> {
  for (let turn = 0; turn < Number(seconds) * load.per_second; turn++) {
    for (let session = 0; session < Number(sessions); session++) {
      const at_ms = start_ms + Math.floor((turn * 1_000) / load.per_second) + (session % 1_000)
      const bucket_ms = Math.floor(at_ms / BUCKET_MS) * BUCKET_MS
      for (const { key, value } of load.said(session, turn, at_ms))
        yield { key, partition: session % partitions, value: Buffer.from(value), bucket_ms }
    }
  }
}

/** A backlog is whole buckets, as live sessions fill them. */
const startMs = (): number =>
  paced ? Date.now() : Math.floor(Date.now() / BUCKET_MS) * BUCKET_MS - Number(seconds) * 1_000

function* requests(): Generator<Message[]> {
  let request: Message[] = []
  for (const message of messages(startMs())) {
    if (request.push(message) < perRequest) continue
    yield request
    request = []
  }
  if (request.length > 0) yield request
}

const kafka = new kafkajs.Kafka({ brokers: [brokers], logLevel: kafkajs.logLevel.NOTHING })
const partitions = await partitionsOf(topic)
const producer = kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
await producer.connect()
const cpu_before = process.cpuUsage()
const begun = performance.now()
const buckets = new Map<number, { events: number; called_ms: number }>()
let produced = 0
for (const request of requests()) {
  if (paced) {
    const ahead_ms = begun + ((produced + request.length) / Number(rate)) * 1_000 - performance.now()
    if (ahead_ms > 0) await sleep(ahead_ms)
  }
  const called_ms = Date.now()
  await producer.send({ topic, messages: request })
  produced += request.length
  for (const { bucket_ms } of request) {
    const bucket = buckets.get(bucket_ms) ?? { events: 0, called_ms }
    buckets.set(bucket_ms, bucket)
    bucket.events++
    bucket.called_ms = called_ms
  }
  console.log(`${produced} ${called_ms}`)
}
await producer.disconnect()
const { user, system } = process.cpuUsage(cpu_before)
for (const [start_ms, { events, called_ms }] of buckets)
  console.log(`bucket ${start_ms / 1_000} ${events} ${called_ms}`)
console.log(`cpu ${(user + system) / 1e6}`)
