/**
 * One part of the service: started, waited for until it answers, watched, started again when it dies or stops answering,
 * and stopped with a deadline. What it knows of a part is a command and a probe.
 *
 * A part runs in a session of its own, so that Ctrl-C in a terminal reaches the supervisor alone and the parts end in the
 * order it chooses. If the supervisor itself is killed, Linux ends its parts (child.ts); elsewhere the next start on the
 * same data finds and ends them (leftover.ts).
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { CannotStart, type Child, type Command, launch } from './child.ts'
import { endLeftover, forgetPid, rememberPid } from './leftover.ts'
import { PartLog } from './part-log.ts'
import { giveWay } from './precedence.ts'

export interface PartSpec {
  readonly name: string
  /** Asked before every start, the first and each restart: the place to check, format, take ports. Throws CannotStart. */
  command(): Promise<Command> | Command
  /** Resolves undefined when ready, or with a phrase ("waiting for …") when it answers but is not ready; rejects without an answer. */
  probe(signal: AbortSignal): Promise<string | undefined>
  readonly ready_within_ms: number
  /** From SIGTERM to SIGKILL. */
  readonly stop_within_ms: number
  /** Nobody waits for it: see `PartOptions.precedence`. */
  readonly gives_way?: true
}

export type PartEvent = { readonly part: string } & (
  | { readonly event: 'starting' }
  | { readonly event: 'waiting'; readonly after_ms: number; readonly waits_for: string }
  | { readonly event: 'ready'; readonly after_ms: number; readonly pid: number }
  | { readonly event: 'died'; readonly how: string; readonly log: string; readonly last_lines: readonly string[] }
  | { readonly event: 'restarting'; readonly in_ms: number }
  | { readonly event: 'given_up'; readonly reason: string }
  | { readonly event: 'stopped'; readonly after_ms: number; readonly killed: boolean }
)

export interface PartOptions {
  /** Absolute. Logs and pid files lie below it. */
  readonly data_dir: string
  readonly report: (event: PartEvent) => void
  /** Default true. Without it, a part that dies stays dead. */
  readonly restart?: boolean
  /** How often a running part is asked, and after how many questions in a row without an answer it is killed. */
  readonly watch?: { readonly every_ms: number; readonly misses: number }
  /** Gives the start up, and ends what was started. */
  readonly signal?: AbortSignal
  /** Parts that give way do. Default false. */
  readonly precedence?: boolean
}

/** Why a part is gone for good. */
export interface PartEnd {
  readonly reason: 'stopped' | 'died' | 'given_up'
  readonly how: string
}

/** A probe that takes longer has no answer. */
const PROBE_TIMEOUT_MS = 5_000
const PROBE_PAUSE_MS = 100
const PROGRESS_EVERY_MS = 5_000
/** A minute of silence when it hangs: longer than any pause of a part that works, on a machine that is merely busy. */
const WATCH = { every_ms: 5_000, misses: 6 }
/** More deaths than this within the window: starting it again does not help. */
export const DEATHS_ALLOWED = 5
const DEATHS_WINDOW_MS = 120_000
const LOG_CHECK_MS = 10_000
const LAST_LINES = 10

/** Pause before the start after the nth death in the window: 0.25 s doubling to 8 s, shortened by up to half at random. */
export function restartDelay_ms(deaths: number, random: number): number {
  return Math.min(8_000, 250 * 2 ** (deaths - 1)) * (1 - random / 2)
}

/** Starts it and waits until it is ready. A part that dies before that is not tried again: rejects with its last lines. */
export async function startPart(spec: PartSpec, options: PartOptions): Promise<Part> {
  const part = new Part(spec, options)
  await part.start()
  return part
}

export class Part {
  readonly name: string
  readonly #spec: PartSpec
  readonly #options: PartOptions
  readonly #log: PartLog
  readonly #stopping = new AbortController()
  readonly #deaths: number[] = []
  #child: Child | undefined
  #ready = false
  #restarts = 0
  #ended: Promise<PartEnd> = Promise.resolve({ reason: 'stopped', how: 'never started' })

  constructor(spec: PartSpec, options: PartOptions) {
    this.name = spec.name
    this.#spec = spec
    this.#options = options
    this.#log = new PartLog(options.data_dir, spec.name)
  }

  get pid(): number | undefined {
    return this.#child?.pid
  }
  /** It answered ready after its last start, and has not died since. */
  get ready(): boolean {
    return this.#ready
  }
  get restarts(): number {
    return this.#restarts
  }
  /** Resolves once it is gone for good; never rejects. */
  get ended(): Promise<PartEnd> {
    return this.#ended
  }

  async start(): Promise<void> {
    const { data_dir } = this.#options
    if ((await endLeftover(data_dir, this.name)) === 'supervised')
      throw new CannotStart(
        `The ${this.name} of another running service uses ${data_dir}: stop that service or set DATA_DIR to another directory`,
      )
    const child = await this.#startOnce()
    this.#ended = this.#keep(child)
  }

  /** Straight to the process, as an operator or the kernel would: the part is then restarted like after any death. */
  kill(signal: NodeJS.Signals): void {
    this.#child?.send(signal)
  }

  /** SIGTERM, and SIGKILL once the deadline has passed. It is not restarted. */
  async stop(deadline_ms = this.#spec.stop_within_ms): Promise<void> {
    const since = performance.now()
    this.#stopping.abort()
    const killed = await this.#child?.end(deadline_ms)
    await this.#ended
    if (killed === undefined) return
    this.#options.report({ part: this.name, event: 'stopped', after_ms: performance.now() - since, killed })
  }

  async #startOnce(): Promise<Child> {
    const { signal, data_dir, report } = this.#options
    const since = performance.now()
    report({ part: this.name, event: 'starting' })
    const command = await this.#spec.command()
    const given_up = AbortSignal.any([this.#stopping.signal, ...(signal ? [signal] : [])])
    given_up.throwIfAborted()
    const child = await launch(command, this.#log.open())
    this.#child = child
    if (this.#options.precedence && this.#spec.gives_way) giveWay(child.pid)
    rememberPid(data_dir, this.name, child.pid)
    void child.exit.then(() => {
      this.#ready = false
      this.#child = undefined
      forgetPid(data_dir, this.name)
    })
    try {
      await this.#untilReady(child, since, given_up)
    } catch (error) {
      await child.end(this.#spec.stop_within_ms)
      throw error
    }
    this.#ready = true
    report({ part: this.name, event: 'ready', after_ms: performance.now() - since, pid: child.pid })
    return child
  }

  async #untilReady(child: Child, since: number, given_up: AbortSignal): Promise<void> {
    let waits_for = 'no answer yet'
    let told = since
    for (;;) {
      const answer = await ask(this.#spec, given_up)
      given_up.throwIfAborted()
      if (child.gone.aborted) throw new CannotStart(this.#lastWords(`ended (${child.gone.reason}) before it was ready`))
      if (answer === 'ready') return
      if (answer !== 'silent') waits_for = answer.waits_for
      const now = performance.now()
      const after_ms = now - since
      if (after_ms > this.#spec.ready_within_ms)
        throw new CannotStart(
          this.#lastWords(`was not ready within ${this.#spec.ready_within_ms / 1_000} s: ${waits_for}`),
        )
      if (now - told > PROGRESS_EVERY_MS) {
        told = now
        this.#options.report({ part: this.name, event: 'waiting', after_ms, waits_for })
      }
      await pause(PROBE_PAUSE_MS, child.gone)
    }
  }

  /** From ready to gone for good: waits for the death, starts again, gives up when that does not help. */
  async #keep(first: Child): Promise<PartEnd> {
    const sizes = setInterval(() => this.#log.bound(), LOG_CHECK_MS)
    sizes.unref()
    let child: Child | undefined = first
    let how = ''
    while (child !== undefined) {
      how = await this.#untilDead(child)
      if (this.#stopping.signal.aborted) break
      this.#died(how)
      if (this.#options.restart === false) break
      child = await this.#startAgain()
    }
    clearInterval(sizes)
    if (this.#stopping.signal.aborted) return { reason: 'stopped', how }
    if (this.#options.restart === false) return { reason: 'died', how }
    const reason = `it died more than ${DEATHS_ALLOWED} times within ${DEATHS_WINDOW_MS / 1_000} s; see ${this.#log.path}`
    this.#options.report({ part: this.name, event: 'given_up', reason })
    return { reason: 'given_up', how: reason }
  }

  /** @returns undefined if it was told to stop meanwhile, or died too often */
  async #startAgain(): Promise<Child | undefined> {
    for (;;) {
      const now = performance.now()
      this.#deaths.push(now)
      const recent = this.#deaths.filter(at => now - at < DEATHS_WINDOW_MS).length
      if (recent > DEATHS_ALLOWED) return undefined
      const in_ms = restartDelay_ms(recent, Math.random())
      this.#options.report({ part: this.name, event: 'restarting', in_ms })
      await pause(in_ms, this.#stopping.signal)
      if (this.#stopping.signal.aborted) return undefined
      this.#restarts += 1
      try {
        return await this.#startOnce()
      } catch (error) {
        if (this.#stopping.signal.aborted) return undefined
        this.#died(error instanceof Error ? error.message : String(error), [])
      }
    }
  }

  /** Kills it when it has not answered for long: a process that hangs is as dead to its callers as one that ended. */
  async #untilDead(child: Child): Promise<string> {
    const { every_ms, misses } = this.#options.watch ?? WATCH
    let missed = 0
    while (missed < misses) {
      await pause(every_ms, child.gone)
      if (child.gone.aborted || this.#stopping.signal.aborted) return child.exit
      missed = (await ask(this.#spec, this.#stopping.signal)) === 'silent' ? missed + 1 : 0
    }
    if (child.gone.aborted) return child.exit
    child.send('SIGKILL')
    await child.exit
    return `killed, after ${missed} questions in a row without an answer`
  }

  #died(how: string, last_lines = this.#log.tail(LAST_LINES)): void {
    this.#options.report({ part: this.name, event: 'died', how, log: this.#log.path, last_lines })
  }

  #lastWords(what: string): string {
    const lines = this.#log.tail(LAST_LINES).map(line => `  ${line}`)
    return [`The ${this.name} ${what}. Its log, ${this.#log.path}, ends with:`, ...lines].join('\n')
  }
}

/** Shorter if the signal comes first. */
const pause = (ms: number, signal: AbortSignal): Promise<void> => sleep(ms, undefined, { signal }).catch(() => {})

async function ask(spec: PartSpec, signal: AbortSignal): Promise<'ready' | 'silent' | { waits_for: string }> {
  const limit = AbortSignal.any([signal, AbortSignal.timeout(PROBE_TIMEOUT_MS)])
  try {
    const over = new Promise<never>((_, reject) => {
      limit.addEventListener('abort', () => reject(limit.reason), { once: true })
    })
    const waits_for = await Promise.race([spec.probe(limit), over])
    return waits_for === undefined ? 'ready' : { waits_for }
  } catch {
    return 'silent'
  }
}
