/**
 * The player's side: frames arrive unevenly and are shown after a delay that grows at once when a frame is late and shrinks slowly
 * afterwards, so a late frame is one long interval and not a train of them. A frame that lost packets cannot be shown, nor can
 * those the host sent before it heard of that: they refer to it.
 */
import type { Delivery } from './link.ts'

export interface Player {
  /** Decoding one frame. */
  readonly decode_us: number
  /** Chance of a frame to take `hiccup_us` longer, as with a poor decoder or driver. */
  readonly hiccup_chance: number
  readonly hiccup_us: number
  /** Share of a frame's packets that forward error correction can restore. */
  readonly repairable: number
}

/** How much of a frame's interval the delay may shrink by. */
const CATCH_UP = 0.05

export class Playout {
  readonly #player: Player
  readonly #round_trip_us: number
  readonly #random: () => number
  #delay_us = 0
  #undecodable_until_us = Number.NEGATIVE_INFINITY
  #last_sent_us = 0
  #decoded_at_us = 0
  #held_us = 0

  constructor(player: Player, round_trip_us: number, random: () => number) {
    this.#player = player
    this.#round_trip_us = round_trip_us
    this.#random = random
  }

  /** How long the latest frame shown waited, decoded, for its turn. */
  get held_us(): number {
    return this.#held_us
  }

  /** When the frame will be shown; undefined: never. Frames in the order they were sent. */
  show(sent_at_us: number, delivery: Delivery): number | undefined {
    const interval_us = sent_at_us - this.#last_sent_us
    this.#last_sent_us = sent_at_us
    const lost = this.#isLost(delivery)
    if (lost) this.#undecodable_until_us = sent_at_us + this.#round_trip_us + delivery.queued_us
    if (lost || sent_at_us < this.#undecodable_until_us) return undefined
    const { decode_us, hiccup_chance, hiccup_us } = this.#player
    const decoding_us = decode_us * (0.8 + 0.4 * this.#random()) + (this.#random() < hiccup_chance ? hiccup_us : 0)
    const ready_us = Math.max(delivery.arrived_at_us, this.#decoded_at_us) + decoding_us
    this.#decoded_at_us = ready_us
    this.#delay_us = Math.max(this.#delay_us - CATCH_UP * interval_us, ready_us - sent_at_us)
    this.#held_us = sent_at_us + this.#delay_us - ready_us
    return sent_at_us + this.#delay_us
  }

  #isLost({ packets, packets_lost, arrived_at_us }: Delivery): boolean {
    return packets_lost > Math.floor(packets * this.#player.repairable) || arrived_at_us === Number.POSITIVE_INFINITY
  }
}
