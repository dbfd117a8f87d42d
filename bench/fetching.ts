/** kafkajs consuming, and nothing else: `fetching.ts <brokers> <topic> <events>` prints seconds and CPU-seconds until it has them all. */
import { KafkaSource } from '../ingest/load/kafka.ts'
import { createLog } from '../ingest/runtime/log.ts'

const [brokers = '', topic = '', events = '0'] = process.argv.slice(2)
const log = createLog('bench', 'silent')
const group_id = `fetching-${Date.now()}`
const source = new KafkaSource({ brokers: [brokers], topic, group_id, session_timeout_ms: 30_000, log })

let seen = 0
let begun: { at: number; cpu: NodeJS.CpuUsage } | undefined
const done = new Promise<void>((resolve, reject) => {
  source
    .start({
      onAssigned() {
        begun ??= { at: performance.now(), cpu: process.cpuUsage() }
      },
      onHeartbeat() {},
      onUndelivered() {},
      onCrash: reject,
      async onBatch({ messages }) {
        seen += messages.length
        if (seen >= Number(events)) resolve()
      },
    })
    .catch(reject)
})
await done
if (!begun) throw new Error('nothing was assigned')
const { user, system } = process.cpuUsage(begun.cpu)
console.log(`${(performance.now() - begun.at) / 1_000} ${(user + system) / 1e6}`)
await source.stop()
