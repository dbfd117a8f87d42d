/**
 * Google's congestion control as it is published, for a host that knows nothing but its own packets: delay-based and loss-based AIMD
 * (draft-ietf-rmcat-gcc-02, sections 5 and 6; Carlucci et al., MMSys 2016), with libwebrtc's probes while the application is the limit.
 * The numbers are the draft's. Coarser than the original in one thing: its delay gradient is that of the longest wait in each 100 ms, not
 * a filter over groups of packets. Kinder in two: feedback comes without a round trip, and a probe measures exactly and costs nothing.
 */
import { type Controller, type Feedback, type Rung, START_KBPS } from '../fleet/controller.ts'

/** Of the delay gradient, in ms: where it begins, how fast it follows, and what it is kept within. */
const THRESHOLD = { first: 12.5, up: 0.01, down: 0.000_18, outlier: 15, low: 6, high: 600 }
const FEEDBACK_MS = 100
const BACK_OFF = 0.85
const GROWTH_PER_S = 1.08
const NOT_ABOVE_RECEIVED = 1.5
const RECEIVED_OVER = 5
const RESPONSE_MS = 100
const LOSS = { back_off: 0.1, no_growth: 0.02, growth: 1.05 }
const PACKET_KBIT = 9.6
/** While less is sent than would be allowed, a probe of twice as much every so often (`alr_probing_interval`). */
const PROBE_EVERY_S = 5
const PROBE = 2
/** A rung is left when the rate fell below this share of it. */
const RUNG_LOST = 0.75

export class GccController implements Controller {
  readonly #ladder: readonly [Rung, ...Rung[]]
  readonly #rtt_ms: number
  #rung: Rung
  #limit_kbps = Number.POSITIVE_INFINITY
  #delay_based_kbps: number
  #loss_based_kbps: number
  #threshold_ms = THRESHOLD.first
  #queued_ms = 0
  #state: 'increase' | 'hold' | 'decrease' = 'increase'
  #received: number[] = []
  /** What was received when it last had to back off: near it growth is additive. */
  #converged: { mean: number; variance: number } | undefined
  #seconds = 0
  #switches = 0

  /** @throws RangeError for an empty ladder */
  constructor(ladder: readonly Rung[], start_kbps = START_KBPS, rtt_ms = 50) {
    const [lowest, ...higher] = ladder
    if (!lowest) throw new RangeError('a ladder needs a rung')
    this.#ladder = [lowest, ...higher]
    this.#rtt_ms = rtt_ms
    this.#delay_based_kbps = this.#highestWithin(start_kbps).kbps
    this.#loss_based_kbps = this.#delay_based_kbps
    this.#rung = this.#highestWithin(this.#delay_based_kbps)
  }

  get rung(): Rung {
    return this.#rung
  }

  get rate_kbps(): number {
    return Math.max(this.#ladder[0].kbps, Math.min(this.#most_kbps, this.available_kbps))
  }

  get available_kbps(): number {
    return Math.min(this.#delay_based_kbps, this.#loss_based_kbps)
  }

  get #most_kbps(): number {
    return this.#highestWithin(this.#limit_kbps).kbps
  }

  limit(kbps: number): void {
    this.#limit_kbps = kbps
    this.#takeRung()
  }

  onFeedback({ packets, packets_dropped, queued_us, carried_kbps }: Feedback): void {
    this.#received = [...this.#received.slice(1 - RECEIVED_OVER), carried_kbps]
    const received = this.#received.reduce((sum, kbps) => sum + kbps, 0) / this.#received.length
    this.#followDelay(queued_us / 1_000, received)
    const loss = packets === 0 ? 0 : packets_dropped / packets
    if (loss > LOSS.back_off) this.#loss_based_kbps = this.available_kbps * (1 - 0.5 * loss)
    else if (loss < LOSS.no_growth) this.#loss_based_kbps *= LOSS.growth
    this.#loss_based_kbps = Math.min(this.#loss_based_kbps, this.#delay_based_kbps)
  }

  #followDelay(queued_ms: number, received: number): void {
    const gradient = queued_ms - this.#queued_ms
    this.#queued_ms = queued_ms
    const overuse = gradient > this.#threshold_ms
    const underuse = gradient < -this.#threshold_ms
    const beyond = Math.abs(gradient) - this.#threshold_ms
    if (beyond <= THRESHOLD.outlier) {
      const moved = FEEDBACK_MS * (beyond < 0 ? THRESHOLD.down : THRESHOLD.up) * beyond
      this.#threshold_ms = Math.min(THRESHOLD.high, Math.max(THRESHOLD.low, this.#threshold_ms + moved))
    }
    if (overuse) this.#state = 'decrease'
    else if (underuse) this.#state = 'hold'
    else this.#state = this.#state === 'decrease' ? 'hold' : 'increase'
    if (this.#state === 'decrease') this.#backOff(received)
    else if (this.#state === 'increase') this.#grow(received)
  }

  #backOff(received: number): void {
    const { mean = received, variance = 0.4 * received } = this.#converged ?? {}
    const error = received - mean
    this.#converged = {
      mean: mean + 0.05 * error,
      variance: 0.95 * variance + (0.05 * error * error) / Math.max(mean, 1),
    }
    this.#delay_based_kbps = Math.min(this.#delay_based_kbps, BACK_OFF * received)
  }

  #grow(received: number): void {
    const { mean, variance } = this.#converged ?? { mean: 0, variance: 0 }
    const spread = 3 * Math.sqrt(variance * mean)
    if (received > mean + spread) this.#converged = undefined
    const near = this.#converged && Math.abs(received - mean) <= spread
    const before = this.#delay_based_kbps
    const grown = near
      ? before + Math.max(1, 0.5 * Math.min(1, FEEDBACK_MS / (RESPONSE_MS + this.#rtt_ms)) * PACKET_KBIT * 10)
      : before * GROWTH_PER_S ** (FEEDBACK_MS / 1_000)
    this.#delay_based_kbps = Math.max(before, Math.min(grown, NOT_ABOVE_RECEIVED * received))
  }

  /** Once a second. */
  onSecond(capacity_kbps: number): void {
    this.#seconds++
    const limited = this.available_kbps >= this.#most_kbps
    if (limited && this.#seconds % PROBE_EVERY_S === 0) {
      const probed = Math.min(capacity_kbps, PROBE * this.rate_kbps)
      this.#delay_based_kbps = Math.max(this.#most_kbps, probed)
      this.#loss_based_kbps = this.#delay_based_kbps
    }
    this.#takeRung()
  }

  /** The picture's size follows the rate, and stays while the rate is not far below. */
  #takeRung(): void {
    const fits = this.#highestWithin(this.rate_kbps)
    const stays = fits.kbps < this.#rung.kbps && this.rate_kbps >= RUNG_LOST * this.#rung.kbps
    const rung = stays && this.#rung.kbps <= this.#most_kbps ? this.#rung : fits
    if (rung !== this.#rung) this.#switches++
    this.#rung = rung
  }

  #highestWithin(kbps: number): Rung {
    return this.#ladder.findLast(rung => rung.kbps <= kbps) ?? this.#ladder[0]
  }

  /** Changes of rung since the last call. */
  takeSwitches(): number {
    const switches = this.#switches
    this.#switches = 0
    return switches
  }
}
