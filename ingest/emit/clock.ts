/**
 * Time as the emitter needs it, so that a test can turn the hands.
 */

export interface Clock {
  /** Epoch milliseconds, a whole number: `sent_at_ms`. */
  now(): number
  /**
   * Runs `action` once, later. Returns what takes it back.
   * @param keeps_alive whether the process should stay for it: only for deadlines that somebody awaits
   */
  after(ms: number, action: () => void, keeps_alive?: boolean): () => void
}

export const systemClock: Clock = {
  now: Date.now,
  after(ms, action, keeps_alive = false) {
    const timer = setTimeout(action, ms)
    if (!keeps_alive) timer.unref()
    return () => clearTimeout(timer)
  },
}
