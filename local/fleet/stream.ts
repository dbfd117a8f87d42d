/**
 * One stream, host to screen: the host's cadence, the encoder at the controller's rate, the link, the player. What comes out per
 * second is what a client can measure, and because one model made both, frame times and bitrate tell the same story.
 * Conservation: every frame sent is shown, dropped or still on its way.
 */
import type { Cadence } from './captures.ts'
import { type Controller, FEEDBACK_EVERY_US, type Rung } from './controller.ts'
import { type Delivery, type Link, STALE_US } from './link.ts'
import type { Playout } from './playout.ts'
import { between, type Random } from './random.ts'

export interface StreamParts {
  readonly cadence: Cadence
  readonly link: Link
  readonly controller: Controller
  readonly playout: Playout
  readonly base_rtt_us: number
  readonly random: Random
}

/** What happened since the last one. Times in microseconds since the stream began. */
export interface Span {
  /** When frames were shown, in order, all before the end of the span. */
  readonly shown_at_us: readonly number[]
  readonly frames_sent: number
  readonly frames_dropped: number
  /** Sent, and to be shown after the span. */
  readonly frames_pending: number
  readonly carried_kbps: number
  readonly target_kbps: number
  readonly available_kbps: number
  readonly rung: Rung
  readonly rung_switches: number
  readonly rtt_us: number
  readonly jitter_us: number
  readonly packets_received: number
  readonly packets_lost: number
  /** Means over the frames to be shown; undefined without any. */
  readonly network_us: number | undefined
  readonly held_us: number | undefined
}

/** How much of the asked rate a scene needs: a menu little, a chase all of it. Drifts from second to second. */
const SCENE_MIN = 0.7

export class Stream {
  readonly #parts: StreamParts
  #now_us = 0
  #next_send_us = 0
  #feedback_at_us = FEEDBACK_EVERY_US
  #scene = 1
  #pending: number[] = []
  #last_transit_us = 0
  #packets = 0
  #packets_dropped = 0
  #longest_queue_us = 0
  #sums = emptySums()

  constructor(parts: StreamParts) {
    this.#parts = parts
  }

  /** Simulates up to `to_us`. A span of 100 ms at least gives the controller something to go by. */
  advance(to_us: number): Span {
    const { controller, random } = this.#parts
    this.#scene = Math.min(1, Math.max(SCENE_MIN, this.#scene + between(random, -0.1, 0.1)))
    while (this.#next_send_us < to_us) {
      while (this.#feedback_at_us <= this.#next_send_us) this.#feedback()
      this.#sendFrame()
    }
    while (this.#feedback_at_us <= to_us) this.#feedback()
    this.#account(to_us)
    const span = this.#close(to_us)
    controller.onSecond(span.capacity_kbps)
    this.#sums = emptySums()
    this.#now_us = to_us
    return span
  }

  #sendFrame(): void {
    const { cadence, link, controller, playout, random } = this.#parts
    const at_us = this.#next_send_us
    const interval_us = cadence.next()
    this.#next_send_us = at_us + interval_us
    const bits = (controller.rate_kbps / 1000) * interval_us * this.#scene * between(random, 0.75, 1.25)
    const delivery = link.send(at_us, bits)
    this.#measure(at_us, delivery)
    const shown_at_us = playout.show(at_us, delivery)
    if (shown_at_us === undefined) {
      this.#sums.frames_dropped++
      return
    }
    this.#pending.push(shown_at_us)
    this.#sums.shown++
    this.#sums.network_us += delivery.arrived_at_us - at_us
    this.#sums.held_us += playout.held_us
  }

  #measure(at_us: number, { arrived_at_us, queued_us, packets, packets_lost, packets_dropped }: Delivery): void {
    const sums = this.#sums
    const transit_us = Math.min(arrived_at_us - at_us, STALE_US)
    sums.frames_sent++
    sums.rate_kbps += this.#parts.controller.rate_kbps
    sums.queued_us += queued_us
    sums.transit_change_us += Math.abs(transit_us - this.#last_transit_us)
    sums.packets += packets
    sums.packets_lost += packets_lost
    this.#last_transit_us = transit_us
    this.#packets += packets
    this.#packets_dropped += packets_dropped
    if (queued_us > this.#longest_queue_us) this.#longest_queue_us = queued_us
  }

  #feedback(): void {
    const carried_bits = this.#account(this.#feedback_at_us)
    this.#parts.controller.onFeedback({
      packets: this.#packets,
      packets_dropped: this.#packets_dropped,
      queued_us: this.#longest_queue_us,
      carried_kbps: (carried_bits * 1000) / FEEDBACK_EVERY_US,
    })
    this.#packets = 0
    this.#packets_dropped = 0
    this.#longest_queue_us = 0
    this.#feedback_at_us += FEEDBACK_EVERY_US
  }

  #account(to_us: number): number {
    const { link } = this.#parts
    link.advance(to_us)
    const { carried_bits, capacity_bits } = link.takeCarried()
    this.#sums.carried_bits += carried_bits
    this.#sums.capacity_bits += capacity_bits
    return carried_bits
  }

  #close(to_us: number): Span & { readonly capacity_kbps: number } {
    const { controller, base_rtt_us } = this.#parts
    const sums = this.#sums
    const length_ms = (to_us - this.#now_us) / 1000
    const sent = Math.max(sums.frames_sent, 1)
    const shown = this.#pending.findIndex(shown_at_us => shown_at_us >= to_us)
    const shown_at_us = this.#pending.splice(0, shown < 0 ? this.#pending.length : shown)
    return {
      shown_at_us,
      frames_sent: sums.frames_sent,
      frames_dropped: sums.frames_dropped,
      frames_pending: this.#pending.length,
      carried_kbps: sums.carried_bits / length_ms,
      capacity_kbps: sums.capacity_bits / length_ms,
      target_kbps: sums.frames_sent > 0 ? sums.rate_kbps / sent : controller.rate_kbps,
      available_kbps: controller.available_kbps,
      rung: controller.rung,
      rung_switches: controller.takeSwitches(),
      rtt_us: base_rtt_us + sums.queued_us / sent,
      jitter_us: sums.transit_change_us / sent,
      packets_received: sums.packets - sums.packets_lost,
      packets_lost: sums.packets_lost,
      network_us: sums.shown > 0 ? sums.network_us / sums.shown : undefined,
      held_us: sums.shown > 0 ? sums.held_us / sums.shown : undefined,
    }
  }
}

const emptySums = () => ({
  frames_sent: 0,
  frames_dropped: 0,
  shown: 0,
  rate_kbps: 0,
  queued_us: 0,
  transit_change_us: 0,
  network_us: 0,
  held_us: 0,
  packets: 0,
  packets_lost: 0,
  carried_bits: 0,
  capacity_bits: 0,
})
