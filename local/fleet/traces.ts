/**
 * Bandwidth over time, as it was measured on real networks: piecewise constant, looped at its end.
 */
import { readFileSync } from 'node:fs'

export type Network = 'fixed' | '4g' | '3g'

export interface Trace {
  readonly name: string
  readonly kind: Network
  /** Round trip of the network, one constant per trace. */
  readonly latency_ms: number
  readonly duration_ms: readonly number[]
  readonly kbps: readonly number[]
}

export const readTraces = (): Trace[] =>
  JSON.parse(readFileSync(new URL('./data/traces.json', import.meta.url), 'utf8')) as Trace[]

/** Time-weighted. */
export function meanKbps(trace: Trace): number {
  let bits = 0
  let duration = 0
  for (const [index, kbps] of trace.kbps.entries()) {
    const length = trace.duration_ms[index] ?? 0
    bits += kbps * length
    duration += length
  }
  return bits / duration
}

/** A place in a looped trace that only moves forward. */
export class TraceCursor {
  readonly #trace: Trace
  /** Bits per microsecond for each kbps of the trace. */
  readonly #scale: number
  #index = 0
  #now_us = 0
  /** When the sample at `#index` ends. */
  #end_us = 0
  #rate = 0

  /**
   * @param scale multiplies the trace's bandwidth
   * @param offset_us where in the trace time 0 lies
   * @throws RangeError for a trace that never carries anything
   */
  constructor(trace: Trace, scale: number, offset_us: number) {
    if (!(meanKbps(trace) * scale > 0)) throw new RangeError(`trace ${trace.name} carries nothing`)
    this.#trace = trace
    this.#scale = scale / 1000
    const length_us = 1000 * trace.duration_ms.reduce((sum, duration) => sum + duration, 0)
    this.#enter(0)
    while (this.#end_us <= offset_us % length_us) this.#enter(this.#after(this.#index))
    this.#end_us -= offset_us % length_us
  }

  /** Moves to `to_us`, sample by sample. `visit` gets the bits that the link could carry in each. */
  advance(to_us: number, visit: (capacity_bits: number) => void): void {
    while (this.#now_us < to_us) {
      const until = Math.min(this.#end_us, to_us)
      visit(this.#rate * (until - this.#now_us))
      this.#now_us = until
      if (until === this.#end_us) this.#enter(this.#after(this.#index))
    }
  }

  /** When `bits` waiting now will have been carried; Infinity if not within `horizon_us`. Does not move. */
  carriedAt(bits: number, horizon_us: number): number {
    let left = bits
    let index = this.#index
    let from = this.#now_us
    let end = this.#end_us
    let rate = this.#rate
    const horizon = this.#now_us + horizon_us
    while (left > 0 && from < horizon) {
      const capacity = rate * (end - from)
      if (capacity >= left) return from + left / rate
      left -= capacity
      index = this.#after(index)
      rate = this.#rateAt(index)
      from = end
      end += this.#lengthAt(index)
    }
    return left > 0 ? Number.POSITIVE_INFINITY : from
  }

  #enter(index: number): void {
    this.#index = index
    this.#rate = this.#rateAt(index)
    this.#end_us += this.#lengthAt(index)
  }

  #after(index: number): number {
    return index + 1 < this.#trace.kbps.length ? index + 1 : 0
  }

  #rateAt(index: number): number {
    return (this.#trace.kbps[index] ?? 0) * this.#scale
  }

  #lengthAt(index: number): number {
    return (this.#trace.duration_ms[index] ?? 0) * 1000
  }
}
