/** How a session was for its player, in its first half minute and after: sums, so that sessions can be added up. */
import type { QualityEvent } from '../../ingest/contract/events.ts'
import { framesOf } from '../../query/abr/window.ts'

/** The start is a problem of its own: nothing is known of the session yet. */
export const START_MS = 30_000
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
export const emptyOutcome = (): Outcome => ({ start: nothing(), after: nothing() })

export function totalOf(all: readonly Sums[]): Sums {
  const total = nothing()
  for (const one of all) for (const name of NAMES) total[name] += one[name]
  return total
}

/** @param played_ms since the first frame */
export const phaseAt = (played_ms: number): Phase => (played_ms < START_MS ? 'start' : 'after')

export function account(sums: Sums, event: QualityEvent): void {
  if (event.kind === 'frame_times') {
    const { sum_us, stutter_us, freeze_us } = framesOf(event)
    sums.shown_us += sum_us
    sums.stutter_us += stutter_us
    sums.freeze_us += freeze_us
  } else if (event.kind === 'bitrate') {
    sums.kbit += (event.bitrate_kbps * event.interval_ms) / 1_000
    sums.sent_ms += event.interval_ms
    sums.switches += event.rung_switches ?? 0
  }
}

export function score(sums: Sums, mos: number | null): void {
  if (mos === null) return
  sums.mos += mos
  sums.scored++
}
