/**
 * One line on what goes on: on a terminal rewritten in place every second, elsewhere a line every five.
 * Refused messages and completeness are the API's word, asked every five seconds; the rest is counted here.
 */
import type { FreshnessProbe } from './freshness.ts'
import type { FleetRun } from './run.ts'
import { type Api, ask } from './summary.ts'

export interface LiveOptions {
  readonly fleet: Pick<FleetRun, 'stats' | 'start_ms'>
  readonly probe: Pick<FreshnessProbe, 'figures'>
  readonly api: Api
}

const ASK_EVERY_MS = 5_000
const LINE_EVERY_MS = 5_000

export class LivePrinter {
  readonly #options: LiveOptions
  readonly #began_ms = Date.now()
  #printed = { at_ms: Date.now(), sent: 0 }
  #rate = 0
  #asked_at_ms = 0
  #refused = '–'
  #complete = '–'

  constructor(options: LiveOptions) {
    this.#options = options
  }

  /** Call about once a second. */
  print(): void {
    const now = Date.now()
    if (now - this.#asked_at_ms >= ASK_EVERY_MS) void this.#ask(now)
    const since_ms = now - this.#printed.at_ms
    if (!process.stdout.isTTY && since_ms < LINE_EVERY_MS - 100) return
    const { sent } = this.#options.fleet.stats()
    this.#rate = ((sent - this.#printed.sent) * 1000) / Math.max(since_ms, 1)
    this.#printed = { at_ms: now, sent }
    if (process.stdout.isTTY) process.stdout.write(`\r\x1b[2K${this.#line(now)}`)
    else console.log(this.#line(now))
  }

  #line(now: number): string {
    const { playing, behind_ms, dropped } = this.#options.fleet.stats()
    const { p50_ms, p99_ms } = this.#options.probe.figures()
    const seconds = Math.round((now - this.#began_ms) / 1000)
    return [
      `${seconds} s`,
      `${playing} sessions`,
      `${Math.round(this.#rate)} events/s`,
      `fresh p50 ${p50_ms ?? '–'} ms, p99 ${p99_ms ?? '–'} ms`,
      `refused ${this.#refused}`,
      `complete ${this.#complete} %`,
      ...(behind_ms > 2_000 ? [`catching up: ${Math.round(behind_ms / 1000)} s`] : []),
      ...(dropped > 0 ? [`dropped ${dropped}`] : []),
    ].join(' · ')
  }

  async #ask(now: number): Promise<void> {
    this.#asked_at_ms = now
    const { api, fleet } = this.#options
    const range = { from: String(fleet.start_ms), to: 'now' }
    try {
      const [overall] = await ask(api, '/v1/metrics/completeness_pct', range)
      this.#complete = overall?.value?.toFixed(2) ?? '–'
      const rejects = await ask(api, '/v1/rejects', { ...range, from: String(this.#began_ms) })
      this.#refused = String(rejects.reduce((sum, { count }) => sum + Number(count), 0))
    } catch {
      // An API that is starting or down has no figures; the line goes on with the last ones.
    }
  }
}
