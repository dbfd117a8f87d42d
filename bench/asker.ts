/**
 * Bitrate logic asking, as a process of its own: `asker.ts <url> <key file> <requests/s> <seconds> <sessions> <batch>`. Requests are due at
 * fixed times, whether or not those before were answered, and their latency counts from there, but for the first seconds. `batch` 0: one
 * session each; otherwise batches of so many. Prints one line of JSON: latencies in ms, statuses, how old the answers were.
 * HTTP by hand over kept connections: it shares the cores with what it measures, and node's client costs it more than the server.
 */
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { percentile } from './stage.ts'

const [url = '', keyFile = '', rate = '0', seconds = '0', sessions = '1', batch = '0'] = process.argv.slice(2)
const { hostname, port, host } = new URL(url)
const headers = `host: ${host}\r\nauthorization: Bearer ${readFileSync(keyFile, 'utf8').trim()}\r\ncontent-type: application/json`
const CONNECTIONS = 64
const idOf = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`
const anyone = (): string => idOf(Math.floor(Math.random() * Number(sessions)))

/** Code that was never run before is slow, and what piles up behind it is not what a service that runs is like. */
const WARM_UP_S = 5
const latencies: number[] = []
let answers = 0
const ages: number[] = []
const statuses: Record<string, number> = {}
let unknown = 0

function request(): string {
  const size = Number(batch)
  if (size === 0) return `GET /v1/abr/sessions/${anyone()} HTTP/1.1\r\n${headers}\r\n\r\n`
  const body = JSON.stringify({ sessions: Array.from({ length: size }, () => ({ session_id: anyone() })) })
  return `POST /v1/abr/sessions:batch HTTP/1.1\r\n${headers}\r\ncontent-length: ${body.length}\r\n\r\n${body}`
}

/** One request at a time on each, in turn, so that none is idle for long; what is due while all are busy waits, and its time runs. */
const idle: Socket[] = []
const waiting: number[] = []
const asked = new Map<Socket, number>()

function ask(due: number): void {
  const socket = idle.shift()
  if (!socket) return void waiting.push(due)
  asked.set(socket, due)
  socket.write(request())
}

const END_OF_HEAD = '\r\n\r\n'
function listen(socket: Socket): void {
  let text = ''
  socket.setNoDelay(true).setEncoding('latin1')
  socket.on('data', (chunk: string) => {
    text += chunk
    const head = text.indexOf(END_OF_HEAD)
    const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? Number.NaN)
    if (head < 0 || text.length < head + END_OF_HEAD.length + length) return
    answered(text.slice(9, 12), text, asked.get(socket) ?? Number.NaN)
    text = ''
    idle.push(socket)
    const due = waiting.shift()
    if (due !== undefined) ask(due)
  })
  socket.on('error', error => {
    statuses[error.message] = (statuses[error.message] ?? 0) + 1
  })
}

function answered(status: string, text: string, due: number): void {
  answers++
  if (due < begun + WARM_UP_S * 1_000) return
  latencies.push(performance.now() - due)
  statuses[status] = (statuses[status] ?? 0) + 1
  if (Number(batch) > 0) return
  const age_ms = /"age_ms":(\d+)/.exec(text)?.[1]
  if (age_ms === undefined) unknown++
  else ages.push(Number(age_ms))
}

for (let n = 0; n < CONNECTIONS; n++) {
  const socket = connect(Number(port), hostname)
  await once(socket, 'connect')
  listen(socket)
  idle.push(socket)
}

const TICK_MS = 2
const ANSWERED_WITHIN_MS = 60_000
const cpu_before = process.cpuUsage()
const begun = performance.now()
const total = Number(rate) * (WARM_UP_S + Number(seconds))
for (let sent = 0; sent < total; ) {
  const due = Math.min(total, 1 + Math.floor(((performance.now() - begun) / 1_000) * Number(rate)))
  while (sent < due) ask(begun + (sent++ / Number(rate)) * 1_000)
  await sleep(TICK_MS)
}
const { user, system } = process.cpuUsage(cpu_before)
const cores = (user + system) / 1_000 / (performance.now() - begun)
const end = performance.now() + ANSWERED_WITHIN_MS
while (answers < total && performance.now() < end) await sleep(TICK_MS)
if (answers < total) statuses.unanswered = total - answers
const told = (values: readonly number[]) => ({
  p50: percentile(values, 0.5),
  p99: percentile(values, 0.99),
  max: values.reduce((a, b) => Math.max(a, b), 0),
})
console.log(JSON.stringify({ latency_ms: told(latencies), age_ms: told(ages), statuses, unknown, cores }))
process.exit(0)
