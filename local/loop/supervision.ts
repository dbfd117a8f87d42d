/**
 * What a host does with our advice: the rung it is assigned is where its controller begins, and what that may not exceed. The controller
 * stays the inner loop: it may always do with less, and where it does, the session stands where it is assigned to all the same.
 * Knows nothing of where advice comes from: in a simulation it is computed, in the demo asked for.
 */
import type { Step } from '../../query/abr/advice.ts'
import { highestWithin, type Ladder, rungNamed } from '../../query/abr/ladder.ts'
import type { Rung, Standing } from '../../query/abr/state.ts'
import type { Controller, Rung as HostRung } from '../fleet/controller.ts'

const MINUTE_MS = 60_000

export interface Switch {
  readonly from: Rung | undefined
  readonly to: Rung
}

/** A host's steps in our words. @throws RangeError for none */
export function ladderOf(rungs: readonly HostRung[]): Ladder {
  const [lowest, ...higher] = rungs.map(({ name, kbps }) => ({ name, bitrate_kbps: kbps }))
  if (!lowest) throw new RangeError('a ladder needs a rung')
  return [lowest, ...higher]
}

export class Supervision {
  readonly #ladder: Ladder
  #controller: Controller | undefined
  #assigned: Rung
  #since_ms: number
  #switched_ms: number[] = []

  constructor(ladder: Ladder, start: Step, now_ms: number) {
    this.#ladder = ladder
    this.#assigned = highestWithin(ladder, start.target_bitrate_kbps)
    this.#since_ms = now_ms
  }

  get start_kbps(): number {
    return this.#assigned.bitrate_kbps
  }

  /** The first frame is due. */
  over(controller: Controller): Controller {
    this.#controller = controller
    controller.limit(this.#assigned.bitrate_kbps)
    return controller
  }

  standing(now_ms: number): Standing {
    this.#switched_ms = this.#switched_ms.filter(at_ms => at_ms > now_ms - MINUTE_MS)
    return {
      rung: this.#assigned.name,
      since_ms: now_ms - this.#since_ms,
      switches_last_minute: this.#switched_ms.length,
    }
  }

  /** @returns undefined: it stays */
  heed(step: Step, now_ms: number): Switch | undefined {
    const from = this.#assigned
    const to = rungNamed(this.#ladder, step.rung) ?? from
    if (to === from) return undefined
    this.#assigned = to
    this.#since_ms = now_ms
    this.#switched_ms.push(now_ms)
    this.#controller?.limit(to.bitrate_kbps)
    return { from, to }
  }
}
