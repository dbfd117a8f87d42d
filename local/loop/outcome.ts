/** How a session was for its player, in its first half minute and after: sums, so that sessions can be added up. */
import type { QualityEvent } from '../../ingest/contract/events.ts'
import { DEFAULT_CLASSES } from '../../ingest/store/experience/g1072.ts'
import { scoreCell } from '../../ingest/store/experience/score.ts'
import { countsOf, framesOf } from '../../query/abr/counted.ts'
import { measuredIn } from '../../query/abr/live.ts'
import { STATE_WINDOW_S } from '../../query/abr/state.ts'
import { LiveWindow } from '../../query/abr/window.ts'

/** The start is a problem of its own: nothing is known of the session yet. */
const START_MS = 30_000
export const PHASES = ['start', 'after'] as const
export type Phase = (typeof PHASES)[number]

export interface Sums {
  shown_us: number
  stutter_us: number
  freeze_us: number
  kbit: number
  sent_ms: number
  switches: number
  mos: number
  scored: number
}

export type Outcome = Readonly<Record<Phase, Sums>>

const nothing = (): Sums => ({
  ...{ shown_us: 0, stutter_us: 0, freeze_us: 0, kbit: 0, sent_ms: 0, switches: 0, mos: 0, scored: 0 },
})
const NAMES = Object.keys(nothing()) as (keyof Sums)[]

export function totalOf(all: readonly Sums[]): Sums {
  const total = nothing()
  for (const one of all) for (const name of NAMES) total[name] += one[name]
  return total
}

const SCORED_EVERY = STATE_WINDOW_S

/** Hears all that a session says, a second at a time. */
export class Account {
  readonly outcome: Outcome = { start: nothing(), after: nothing() }
  /** Apart from what the API knows: this one is never late. */
  readonly #window = new LiveWindow()
  #seconds = 0

  /** @param played_ms since the first frame, when the second began */
  hear(said: readonly QualityEvent[], played_ms: number): void {
    const sums = this.outcome[played_ms < START_MS ? 'start' : 'after']
    for (const event of said) {
      this.#window.add(event, event.started_at_ms)
      account(sums, event)
    }
    if (played_ms < 0 || ++this.#seconds % SCORED_EVERY > 0) return
    const { mos } = scoreCell(measuredIn(this.#window.figures()), DEFAULT_CLASSES)
    if (mos === null) return
    sums.mos += mos
    sums.scored++
  }
}

function account(sums: Sums, event: QualityEvent): void {
  if (event.kind === 'frame_times') {
    const { sum_us, stutter_us, freeze_us } = countsOf(framesOf(event), event)
    sums.shown_us += sum_us
    sums.stutter_us += stutter_us
    sums.freeze_us += freeze_us
  } else if (event.kind === 'bitrate') {
    sums.kbit += (event.bitrate_kbps * event.interval_ms) / 1_000
    sums.sent_ms += event.interval_ms
    sums.switches += event.rung_switches ?? 0
  }
}
