/**
 * The load generator as a process of its own, so that its CPU is its own: `producer.ts <brokers> <topic> <sessions> <seconds> <rate>`.
 * rate 0: as fast as it goes. Otherwise paced to so many events a second; prints `<produced so far> <epoch ms of the produce call>` for
 * each request, from which freshness is measured.
 * Uncompressed and straight through kafkajs: players' machines are not on these cores.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs from 'kafkajs'
import { saidIn } from './load.ts'

const [brokers = '', topic = '', sessions = '0', seconds = '0', rate = '0'] = process.argv.slice(2)
const PACE_MS = 50
const REQUEST = 2_000
const paced = Number(rate) > 0
const perRequest = paced ? (Number(rate) * PACE_MS) / 1_000 : REQUEST

interface Message {
  readonly key: string
  readonly value: Buffer
}

function* messages(start_ms: number): Generator<Message> {
  for (let second = 0; second < Number(seconds); second++) {
    for (let session = 0; session < Number(sessions); session++) {
      for (const { key, value } of saidIn(session, second, start_ms + second * 1_000 + (session % 1_000))) {
        yield { key, value: Buffer.from(value) }
      }
    }
  }
}

function* requests(): Generator<Message[]> {
  let request: Message[] = []
  for (const message of messages(Date.now() - (paced ? 0 : Number(seconds) * 1_000))) {
    if (request.push(message) < perRequest) continue
    yield request
    request = []
  }
  if (request.length > 0) yield request
}

const producer = new kafkajs.Kafka({ brokers: [brokers], logLevel: kafkajs.logLevel.NOTHING }).producer({
  createPartitioner: kafkajs.Partitioners.DefaultPartitioner,
})
await producer.connect()
const cpu_before = process.cpuUsage()
const begun = performance.now()
let produced = 0
for (const request of requests()) {
  if (paced) {
    const ahead_ms = begun + ((produced + request.length) / Number(rate)) * 1_000 - performance.now()
    if (ahead_ms > 0) await sleep(ahead_ms)
  }
  const called_ms = Date.now()
  await producer.send({ topic, messages: request })
  produced += request.length
  console.log(`${produced} ${called_ms}`)
}
await producer.disconnect()
const { user, system } = process.cpuUsage(cpu_before)
console.log(`cpu ${(user + system) / 1e6}`)
