/**
 * Events that flow whatever dies: forty sessions, what they say follows from session and number, now and then a message that cannot
 * be read. What fails is sent again, as a client would: a resend. So more may arrive than is counted here, never less.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { createKafkaSender, type KafkaSender, type RawMessage } from '../../ingest/emit/kafka.ts'
import { eventOf } from '../support/events.ts'
import { TOPIC } from './stand.ts'

const SESSIONS = 40
const POISON_EVERY = 10
const TRY_AGAIN_MS = 200

export class Load {
  readonly #brokers: string
  readonly #rate: number
  readonly #start_ms = Date.now() - 60_000
  #sender: KafkaSender
  /** Ends the waiting for what is under way. */
  #giveUp: () => void = () => {}
  #running: Promise<void> | undefined
  #stopped = true
  #produced = 0
  #seq = 0

  private constructor(brokers: string, rate: number) {
    this.#brokers = brokers
    this.#rate = rate
    this.#sender = createKafkaSender({ brokers: [brokers], topic: TOPIC })
  }

  /** @param rate events a second, as long as the broker takes them */
  static async start(brokers: string, rate: number): Promise<Load> {
    const load = new Load(brokers, rate)
    await load.#sender.connect()
    load.resume()
    return load
  }

  get produced(): number {
    return this.#produced
  }

  resume(): void {
    this.#stopped = false
    this.#running ??= this.#produce()
  }

  /** Resolves once nothing is under way. */
  async pause(): Promise<void> {
    this.#stopped = true
    await this.#running
    this.#running = undefined
  }

  /** The broker is another process now: the old connection would wait up to five seconds before it tried again. */
  async reconnect(): Promise<void> {
    const old = this.#sender
    const sender = createKafkaSender({ brokers: [this.#brokers], topic: TOPIC })
    await sender.connect()
    this.#sender = sender
    this.#giveUp()
    old.disconnect().catch(() => {})
  }

  async stop(): Promise<void> {
    this.#stopped = true
    this.#giveUp()
    await this.#running
    // What is still under way may wait for a broker that is dead.
    this.#sender.disconnect().catch(() => {})
  }

  async #produce(): Promise<void> {
    let due_ms = performance.now()
    for (; !this.#stopped; this.#seq++) {
      const messages = this.#saidAt(this.#seq)
      while (!this.#stopped) {
        try {
          await this.#send(messages)
          this.#produced += messages.length
          break
        } catch {
          await sleep(TRY_AGAIN_MS)
        }
      }
      // What was not said in time is not caught up with.
      due_ms = Math.max(due_ms + (SESSIONS / this.#rate) * 1_000, performance.now())
      await sleep(due_ms - performance.now())
    }
  }

  #send(messages: readonly RawMessage[]): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#giveUp = reject
      this.#sender.sendRaw(messages).then(resolve, reject)
    })
  }

  #saidAt(seq: number): RawMessage[] {
    const messages: RawMessage[] = Array.from({ length: SESSIONS }, (_, n) => {
      const event = eventOf(n, seq, this.#start_ms)
      return { key: Buffer.from(event.session_id), value: Buffer.from(JSON.stringify(event)) }
    })
    if (seq % POISON_EVERY === 3)
      messages.push({ key: Buffer.from('poison'), value: Buffer.from(`{"v":1,"seq":${seq}`) })
    return messages
  }
}
