/**
 * Attempts without a key of ours, counted per remote address, so that keys cannot be tried out fast. An address over the limit is let
 * in with no key but those it has used before: whoever shares an address with a guesser keeps working.
 * Memory is bounded whoever comes: addresses share a fixed number of counters by a hash with a secret of this process.
 */
import { createHmac, randomBytes } from 'node:crypto'
import { RateLimiterMemory } from 'rate-limiter-flexible'

export const FAILED_ATTEMPTS_MAX = 100
const WINDOW_S = 60
const COUNTERS = 4_096
const FAMILIAR_MAX = 10_000

export interface Strangers {
  /**
   * How long an address has to wait, in seconds; undefined: it need not.
   * @param id of the key it came with, undefined if that was none of ours: a failed attempt
   */
  wait(address: string, id: string | undefined): Promise<number | undefined>
}

export function createStrangers(): Strangers {
  const secret = randomBytes(16)
  const failed = new RateLimiterMemory({ points: FAILED_ATTEMPTS_MAX, duration: WINDOW_S })
  const familiar = new Set<string>()
  return {
    async wait(address, id) {
      const counter = createHmac('sha256', secret).update(address).digest().readUInt16LE() % COUNTERS
      const before = await failed.get(counter)
      const blocked = before !== null && before.consumedPoints >= FAILED_ATTEMPTS_MAX
      const known = `${counter} ${id}`
      if (blocked && !familiar.has(known)) return Math.max(1, Math.ceil(before.msBeforeNext / 1_000))
      if (id === undefined) await failed.penalty(counter)
      else if (!familiar.has(known)) {
        const [oldest] = familiar
        if (oldest !== undefined && familiar.size >= FAMILIAR_MAX) familiar.delete(oldest)
        familiar.add(known)
      }
      return undefined
    },
  }
}
