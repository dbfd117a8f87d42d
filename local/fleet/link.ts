/**
 * The network between host and player: a bottleneck of varying bandwidth with a drop-tail queue before it, then propagation with
 * jitter, random loss and short stalls. Pure: the same sends give the same deliveries. Bits are a fluid, losses are whole packets.
 * What is not modelled: other traffic, reordering, the way back (its half of the round trip is a constant).
 */
import { chance } from '../../query/statistics/weights.ts'
import { exponential, type Random } from './random.ts'
import { meanKbps, type Trace, TraceCursor } from './traces.ts'

export const PACKET_BITS = 1_200 * 8
/** A frame that takes longer than this is given up, by host and player alike. */
export const STALE_US = 1_000_000

export interface LinkProfile {
  /** Multiplies the trace's bandwidth. */
  readonly scale: number
  readonly base_rtt_us: number
  /** Length of the queue, in time at the trace's mean bandwidth. */
  readonly queue_us: number
  /** Mean of the random extra delay. */
  readonly jitter_us: number
  /** Chance of a packet to be lost on the way, beside what the queue drops. */
  readonly packet_loss: number
  /** Moments in which nothing arrives (a wireless link repeating, a handover), and their mean length. */
  readonly stalls_per_minute: number
  readonly stall_us: number
}

export interface Delivery {
  /** Infinity: too late to be of use. */
  readonly arrived_at_us: number
  /** Waiting behind earlier bits, part of the delay. */
  readonly queued_us: number
  readonly packets: number
  readonly packets_lost: number
  /** Of the lost ones, what the full queue dropped: what a sender takes for congestion. */
  readonly packets_dropped: number
}

export class Link {
  readonly queue_limit_bits: number
  readonly #profile: LinkProfile
  readonly #cursor: TraceCursor
  readonly #random: Random
  /** Their own, so that they come at the same moments whatever is sent. */
  readonly #stalls: Random
  #queued_bits = 0
  #carried_bits = 0
  #capacity_bits = 0
  #last_arrival_us = 0
  #stall_at_us: number
  #stalled_until_us = 0

  constructor(trace: Trace, profile: LinkProfile, offset_us: number, random: Random) {
    this.#profile = profile
    this.#cursor = new TraceCursor(trace, profile.scale, offset_us)
    this.#random = random
    this.#stalls = chance(Math.floor(random() * 2 ** 32))
    this.queue_limit_bits = Math.max(4 * PACKET_BITS, ((meanKbps(trace) * profile.scale) / 1000) * profile.queue_us)
    this.#stall_at_us = this.#nextStall(0)
  }

  get queued_bits(): number {
    return this.#queued_bits
  }

  /** Lets time pass. */
  advance(to_us: number): void {
    this.#cursor.advance(to_us, this.#carry)
  }

  /** Bits carried and bits that could have been carried since the last call. */
  takeCarried(): { readonly carried_bits: number; readonly capacity_bits: number } {
    const taken = { carried_bits: this.#carried_bits, capacity_bits: this.#capacity_bits }
    this.#carried_bits = 0
    this.#capacity_bits = 0
    return taken
  }

  /** Sends a frame. Times must not go back. */
  send(at_us: number, bits: number): Delivery {
    this.advance(at_us)
    const accepted = Math.min(bits, this.queue_limit_bits - this.#queued_bits)
    const packets = Math.ceil(bits / PACKET_BITS)
    const packets_dropped = Math.min(packets, Math.ceil((bits - accepted) / PACKET_BITS))
    const lost_on_the_way = this.#random() < packets * this.#profile.packet_loss ? 1 : 0
    this.#queued_bits += accepted
    const carried_at_us = this.#cursor.carriedAt(this.#queued_bits, STALE_US)
    return {
      arrived_at_us: this.#arrival(at_us, carried_at_us),
      queued_us: Math.min(carried_at_us - at_us, STALE_US),
      packets,
      packets_lost: Math.min(packets, packets_dropped + lost_on_the_way),
      packets_dropped,
    }
  }

  readonly #carry = (capacity_bits: number): void => {
    const carried = Math.min(capacity_bits, this.#queued_bits)
    this.#capacity_bits += capacity_bits
    this.#queued_bits -= carried
    this.#carried_bits += carried
  }

  #arrival(sent_at_us: number, carried_at_us: number): number {
    const { base_rtt_us, jitter_us } = this.#profile
    let arrival = carried_at_us + base_rtt_us / 2 + this.#random() * 2 * jitter_us
    if (arrival === Number.POSITIVE_INFINITY) return arrival
    while (arrival >= this.#stall_at_us) {
      this.#stalled_until_us = this.#stall_at_us + exponential(this.#stalls, this.#profile.stall_us)
      this.#stall_at_us = this.#nextStall(this.#stalled_until_us)
    }
    // In order, as one flow through one queue is.
    arrival = Math.max(arrival, this.#stalled_until_us, this.#last_arrival_us)
    this.#last_arrival_us = arrival
    return arrival - sent_at_us > STALE_US ? Number.POSITIVE_INFINITY : arrival
  }

  #nextStall(after_us: number): number {
    const { stalls_per_minute } = this.#profile
    if (stalls_per_minute === 0) return Number.POSITIVE_INFINITY
    return after_us + exponential(this.#stalls, 60_000_000 / stalls_per_minute)
  }
}
