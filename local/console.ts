/**
 * What a person at the terminal reads while the service starts, runs and stops. Sentences and seconds; the details are in
 * the log files that they name.
 */
import type { PartEvent } from './supervise.ts'

const NAMES: Readonly<Record<string, string>> = {
  kafka: 'Kafka broker',
  clickhouse: 'ClickHouse',
  ingester: 'ingester',
  api: 'query API',
}

export function describe(event: PartEvent): string {
  const name = (NAMES[event.part] ?? event.part).padEnd(12)
  switch (event.event) {
    case 'starting':
      return `${name}  starting`
    case 'waiting':
      return `${name}  not ready after ${seconds(event.after_ms)}: ${event.waits_for}`
    case 'ready':
      return `${name}  ready in ${seconds(event.after_ms)} (pid ${event.pid})`
    case 'died':
      return [
        `${name}  died: ${event.how}; its log: ${event.log}`,
        ...event.last_lines.map(line => `  | ${line}`),
      ].join('\n')
    case 'restarting':
      return `${name}  starting again in ${seconds(event.in_ms)}`
    case 'given_up':
      return `${name}  given up: ${event.reason}`
    case 'stopped':
      return `${name}  stopped in ${seconds(event.after_ms)}${event.killed ? ', killed after its deadline' : ''}`
  }
}

const seconds = (ms: number): string => `${(ms / 1_000).toFixed(1)} s`

/** Each line behind the seconds since the first. */
export function createConsole(write: (line: string) => void): (text: string) => void {
  const since = performance.now()
  return text => {
    const elapsed = `[${((performance.now() - since) / 1_000).toFixed(1).padStart(6)} s]`
    write(`${elapsed} ${text}`)
  }
}
