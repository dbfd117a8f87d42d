/**
 * What a caller is told while the API does not answer: the last it said of the session, older by now, put through the very rules the API
 * would have used (`advice.ts`). So within its validity an answer still fits where the caller stands; after that it is what is safe.
 * Bounded: of more sessions than `SESSIONS_MAX` those not heard of for longest are forgotten.
 */
import { type Advice, adviceOn } from '../abr/advice.ts'
import { type Ladder, rungNamed } from '../abr/ladder.ts'
import { PERIOD_MS, type Standing } from '../abr/state.ts'

const SESSIONS_MAX = 10_000

interface Known {
  readonly advice: Advice
  /** On the clock of the caller's process. */
  readonly heard_at_ms: number
}

export class LastKnown {
  readonly #sessions = new Map<string, Known>()

  remember(advice: Advice, heard_at_ms: number): void {
    this.#sessions.delete(advice.session_id)
    this.#sessions.set(advice.session_id, { advice, heard_at_ms })
    if (this.#sessions.size <= SESSIONS_MAX) return
    for (const oldest of this.#sessions.keys()) {
      this.#sessions.delete(oldest)
      break
    }
  }

  forget(session_id: string): void {
    this.#sessions.delete(session_id)
  }

  /** A rung that the ladder has not is taken for its lowest: whoever stands nowhere we know of must not be sent up. */
  advise(session_id: string, standing: Standing | undefined, ladder: Ladder, now_ms: number): Advice {
    const known = this.#sessions.get(session_id)
    const { state = null, age_ms = null, valid_for_ms = 0, stale = true } = known?.advice ?? {}
    const as_of_ms = (known?.heard_at_ms ?? 0) - (age_ms ?? 0)
    const live = state && age_ms !== null ? { state, context: {}, as_of_ms, period_ms: PERIOD_MS } : undefined
    const told = adviceOn(
      {
        ladder,
        stale_after_ms: stale ? 0 : (age_ms ?? 0) + valid_for_ms,
        // Whether it is silent only the API can tell.
        sessions: { of: () => live, heard_ms: as_of_ms },
        priors: { priorOf: () => known?.advice.prior ?? undefined },
      },
      {
        session_id,
        context: {},
        standing: standing && !rungNamed(ladder, standing.rung) ? { ...standing, rung: ladder[0].name } : standing,
      },
      now_ms,
    )
    return { ...told, as_of: known?.advice.as_of ?? null }
  }
}
