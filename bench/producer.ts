/**
 * The load generator as a process of its own, so that its CPU is its own: `producer.ts <brokers> <topic> <sessions> <seconds> <rate>`.
 * rate 0: as fast as it goes. Otherwise paced to so many events a second; prints `<produced so far> <epoch ms of the produce call>`
 * for each request, from which freshness is measured.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { createKafkaSender } from '../ingest/emit/kafka.ts'
import { type LoadMessage, saidIn } from './load.ts'

const [brokers = '', topic = '', sessions = '0', seconds = '0', rate = '0'] = process.argv.slice(2)
const PACE_MS = 50
const REQUEST = 2_000

const sender = createKafkaSender({ brokers: [brokers], topic })
await sender.connect()
const start_ms = Date.now() - (rate === '0' ? Number(seconds) * 1_000 : 1_000)
const begun = performance.now()
let produced = 0
let waiting: LoadMessage[] = []

async function hand(messages: LoadMessage[]): Promise<void> {
  const called_ms = Date.now()
  await sender.sendRaw(messages)
  produced += messages.length
  console.log(`${produced} ${called_ms}`)
}

for (let second = 0; second < Number(seconds); second++) {
  for (let session = 0; session < Number(sessions); session++) {
    waiting.push(...saidIn(session, second, start_ms + second * 1_000 + (session % 1_000)))
    const due = rate === '0' ? REQUEST : (Number(rate) * PACE_MS) / 1_000
    if (waiting.length < due) continue
    const messages = waiting
    waiting = []
    if (rate !== '0') {
      const ahead_ms = begun + ((produced + messages.length) / Number(rate)) * 1_000 - performance.now()
      if (ahead_ms > 0) await sleep(ahead_ms)
    }
    await hand(messages)
  }
}
if (waiting.length > 0) await hand(waiting)
await sender.disconnect()
const { user, system } = process.cpuUsage()
console.log(`cpu ${(user + system) / 1e6}`)
