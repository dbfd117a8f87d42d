/** Somebody looks at a dashboard: a question to the API every second, each another one in turn. */
import { setTimeout as sleep } from 'node:timers/promises'

export interface Asked {
  readonly asked: number
  readonly failed: number
  /** Of those answered since this was last taken. */
  readonly took_ms: number[]
}

const EVERY_MS = 1_000
const PATIENCE_MS = 30_000
const PATHS = [
  '/v1/metrics/stutter_time_pct/breakdown?by=isp,access&from=now-15m',
  '/v1/metrics/frame_time_p99_us/timeseries?step=1m&from=now-1h',
  '/v1/metrics/fps_avg/timeseries?step=1m&group_by=region&from=now-15m',
  '/v1/sessions?from=now-15m&where=stutter_time_pct>1',
  '/v1/metrics/rtt_p50_us/distribution?from=now-15m',
  '/v1/pipeline',
]

export class Questions {
  readonly #url: string
  readonly #headers: { readonly authorization: string }
  readonly #say: (line: string) => void
  readonly #stopping = new AbortController()
  #asked = 0
  #failed = 0
  #took_ms: number[] = []

  constructor(url: string, key: string, say: (line: string) => void) {
    this.#url = url
    this.#headers = { authorization: `Bearer ${key}` }
    this.#say = say
  }

  /** Until stopped. Whoever waits for an answer does not keep others from asking. */
  async run(): Promise<void> {
    const { signal } = this.#stopping
    for (let n = 0; !signal.aborted; n++) {
      void this.#ask(PATHS[n % PATHS.length] ?? '')
      await sleep(EVERY_MS, undefined, { signal }).catch(() => {})
    }
  }

  take(): Asked {
    const took_ms = this.#took_ms
    this.#took_ms = []
    return { asked: this.#asked, failed: this.#failed, took_ms }
  }

  stop(): void {
    this.#stopping.abort()
  }

  async #ask(path: string): Promise<void> {
    this.#asked++
    const begun = performance.now()
    try {
      const signal = AbortSignal.any([this.#stopping.signal, AbortSignal.timeout(PATIENCE_MS)])
      const response = await fetch(`${this.#url}${path}`, { headers: this.#headers, signal })
      const body = await response.text()
      if (!response.ok) throw new Error(`${response.status} ${body.slice(0, 300)}`)
      this.#took_ms.push(Math.round(performance.now() - begun))
    } catch (error) {
      if (this.#stopping.signal.aborted) return
      this.#failed++
      this.#say(`${path}: ${error instanceof Error ? error.message : error}`)
    }
  }
}
