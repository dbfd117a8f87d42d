/**
 * Bitrate logic asking, as a process of its own: `asker.ts <url> <key file> <requests/s> <seconds> <sessions> <batch>`. Requests are due at
 * fixed times, whether or not those before were answered, and their latency counts from there. `batch` 0: one session each; otherwise
 * batches of so many. Prints one line of JSON: latencies in ms, statuses, how old the answers were.
 */
import { readFileSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { percentile } from './stage.ts'

const [url = '', keyFile = '', rate = '0', seconds = '0', sessions = '1', batch = '0'] = process.argv.slice(2)
const headers = {
  authorization: `Bearer ${readFileSync(keyFile, 'utf8').trim()}`,
  'content-type': 'application/json',
}
const agent = new Agent({ keepAlive: true, maxSockets: 128 })
const idOf = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`
const anyone = (): string => idOf(Math.floor(Math.random() * Number(sessions)))

const latencies: number[] = []
const ages: number[] = []
const statuses: Record<string, number> = {}
let unknown = 0

function ask(due: number): Promise<void> {
  const size = Number(batch)
  const path = size > 0 ? '/v1/abr/sessions:batch' : `/v1/abr/sessions/${anyone()}`
  const body =
    size > 0 ? JSON.stringify({ sessions: Array.from({ length: size }, () => ({ session_id: anyone() })) }) : ''
  return new Promise(resolve => {
    const asked = request(`${url}${path}`, { method: size > 0 ? 'POST' : 'GET', agent, headers }, response => {
      const chunks: Buffer[] = []
      response.on('data', chunk => chunks.push(chunk))
      response.on('end', () => {
        latencies.push(performance.now() - due)
        statuses[response.statusCode ?? 0] = (statuses[response.statusCode ?? 0] ?? 0) + 1
        const age_ms = size > 0 ? 0 : (JSON.parse(Buffer.concat(chunks).toString()) as { age_ms: number | null }).age_ms
        if (age_ms === null) unknown++
        else ages.push(age_ms)
        resolve()
      })
    })
    asked.on('error', error => {
      statuses[error.message] = (statuses[error.message] ?? 0) + 1
      resolve()
    })
    asked.end(body)
  })
}

const TICK_MS = 2
const begun = performance.now()
const waiting: Promise<void>[] = []
const total = Number(rate) * Number(seconds)
for (let sent = 0; sent < total; ) {
  const due = Math.min(total, Math.floor(((performance.now() - begun) / 1_000) * Number(rate)))
  while (sent < due) waiting.push(ask(begun + (sent++ / Number(rate)) * 1_000))
  await sleep(TICK_MS)
}
await Promise.all(waiting)
agent.destroy()
const told = (values: readonly number[]) => ({
  p50: percentile(values, 0.5),
  p99: percentile(values, 0.99),
  max: Math.max(...values),
})
const cpu_s = (process.cpuUsage().user + process.cpuUsage().system) / 1e6
console.log(JSON.stringify({ latency_ms: told(latencies), age_ms: told(ages), statuses, unknown, cpu_s }))
