/**
 * How a host answers to its network, in two loops. Ten times a second the send rate follows what arrives (halving nothing, backing
 * off by 15 %, climbing by 5 %); once a second the ladder's rung follows what seems available, down at once and up slowly.
 */

export interface Rung {
  readonly name: string
  readonly kbps: number
  readonly width: number
  readonly height: number
}

const STEPS = [
  [1_000, 640, 360],
  [2_500, 960, 540],
  [5_000, 1_280, 720],
  [10_000, 1_920, 1_080],
  [15_000, 1_920, 1_080],
  [25_000, 2_560, 1_440],
  [40_000, 3_840, 2_160],
] as const

/** The steps up to `max_kbps`, named as `1080p60-15m`. */
export const ladderFor = (target_fps: number, max_kbps: number): Rung[] =>
  STEPS.filter(([kbps]) => kbps <= max_kbps).map(([kbps, width, height]) => ({
    name: `${height}p${target_fps}-${kbps / 1000}m`,
    kbps,
    width,
    height,
  }))

/** What a host's rate is controlled by. */
export interface Controller {
  readonly rung: Rung
  /** What the encoder is asked for now. */
  readonly rate_kbps: number
  /** What seems available. */
  readonly available_kbps: number
  onFeedback(feedback: Feedback): void
  /** Once a second. @param capacity_kbps what a probe could have got through in it */
  onSecond(capacity_kbps: number): void
  /** Supervision, on a scale of seconds: no rung above is taken, and one that is above is left at once. */
  limit(kbps: number): void
  /** Changes of rung since the last call. */
  takeSwitches(): number
}

export interface Feedback {
  readonly packets: number
  readonly packets_dropped: number
  readonly queued_us: number
  /** What the link carried since the last feedback. */
  readonly carried_kbps: number
}

export const FEEDBACK_EVERY_US = 100_000
const QUEUE_TOO_LONG_US = 40_000
const BACK_OFF = 0.85
const CLIMB = 1.05
/** A rung is left when the rate fell below this share of it, and taken when this many times it seems available. */
const RUNG_LOST = 0.5
const RUNG_SAFE = 1.2
const SECONDS_BEFORE_CLIMBING = 3
/** First rung of a session, before anything is known. */
export const START_KBPS = 5_000

export class RateController implements Controller {
  readonly #ladder: readonly [Rung, ...Rung[]]
  #rung: Rung
  #rate_kbps: number
  #available_kbps: number
  #limit_kbps = Number.POSITIVE_INFINITY
  #safe_seconds = 0
  #switches = 0

  /** @throws RangeError for an empty ladder */
  constructor(ladder: readonly Rung[], start_kbps = START_KBPS) {
    const [lowest, ...higher] = ladder
    if (!lowest) throw new RangeError('a ladder needs a rung')
    this.#ladder = [lowest, ...higher]
    this.#rung = ladder.findLast(rung => rung.kbps <= start_kbps) ?? lowest
    this.#rate_kbps = this.#rung.kbps
    this.#available_kbps = this.#rung.kbps * RUNG_SAFE
  }

  get rung(): Rung {
    return this.#rung
  }

  /** What the encoder is asked for now: never above the rung, never below the lowest one. */
  get rate_kbps(): number {
    return this.#rate_kbps
  }

  /** The estimate: what the probes of the last seconds got through. */
  get available_kbps(): number {
    return this.#available_kbps
  }

  onFeedback({ packets_dropped, queued_us, carried_kbps }: Feedback): void {
    const congested = packets_dropped > 0 || queued_us > QUEUE_TOO_LONG_US
    const wanted = congested ? BACK_OFF * Math.min(this.#rate_kbps, carried_kbps) : CLIMB * this.#rate_kbps
    this.#rate_kbps = Math.max(this.#ladder[0].kbps, Math.min(this.#rung.kbps, wanted))
  }

  /** Once a second. A probe sees no further than about twice what is sent. */
  onSecond(capacity_kbps: number): void {
    const seen = Math.min(capacity_kbps, 2 * this.#rate_kbps + 3_000)
    const weight = seen < this.#available_kbps ? 0.5 : 0.25
    this.#available_kbps += weight * (seen - this.#available_kbps)
    const at = this.#ladder.indexOf(this.#rung)
    const above = this.#ladder[at + 1]
    const next = above && above.kbps <= this.#limit_kbps ? above : undefined
    this.#safe_seconds = next && next.kbps * RUNG_SAFE <= this.#available_kbps ? this.#safe_seconds + 1 : 0
    if (this.#rate_kbps < this.#rung.kbps * RUNG_LOST || this.#available_kbps < this.#rung.kbps) {
      const below = this.#ladder.slice(0, Math.max(at, 1))
      this.#move(below.findLast(rung => rung.kbps * RUNG_SAFE <= this.#available_kbps) ?? this.#ladder[0])
    } else if (next && this.#safe_seconds >= SECONDS_BEFORE_CLIMBING) {
      this.#move(next)
    }
  }

  limit(kbps: number): void {
    this.#limit_kbps = kbps
    if (this.#rung.kbps > kbps) this.#move(this.#ladder.findLast(rung => rung.kbps <= kbps) ?? this.#ladder[0])
  }

  takeSwitches(): number {
    const switches = this.#switches
    this.#switches = 0
    return switches
  }

  #move(rung: Rung): void {
    if (rung === this.#rung) return
    this.#rung = rung
    this.#switches++
    this.#safe_seconds = 0
    this.#rate_kbps = Math.max(this.#ladder[0].kbps, Math.min(this.#rate_kbps, rung.kbps))
  }
}
