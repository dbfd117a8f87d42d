/** A live session in memory, with figures a test knows: what the follower of the topic hands over, without a topic. */
import type { Context } from '../../ingest/contract/events.ts'
import { AS_OF, FIRST_FIGURE, RUNG, WIDTH } from '../../query/abr/follower.ts'
import { LiveSessions } from '../../query/abr/live.ts'
import { FIGURES, type Figures } from '../../query/abr/window.ts'

export interface Lived {
  readonly session_id: string
  readonly context: Context
  readonly rung: string
  readonly as_of_ms: number
  readonly figures: Partial<Figures>
}

/** Unknown is NaN there, as in what the follower hands over. */
export function liveWith({ session_id, context, rung, as_of_ms, figures }: Lived): LiveSessions {
  const row = new Float64Array(WIDTH).fill(Number.NaN)
  row[AS_OF] = as_of_ms
  row[RUNG] = 0
  for (const [i, name] of FIGURES.entries()) row[FIRST_FIGURE + i] = figures[name] ?? Number.NaN
  const sessions = new LiveSessions()
  sessions.apply({
    opened: [{ slot: 0, session_id, context }],
    closed: [],
    slots: new Uint32Array([0]),
    figures: row,
    rungs: [rung],
    follower: { caught_up: true, heard_ms: as_of_ms, lag: 0, refused: 0, left_out: 0, waiting: 0, refresh_ms: 1 },
  })
  return sessions
}
