/** The arms that are compared, and what one of them is told of sessions before it. */
import { DEFAULTS } from '../../ingest/runtime/variables.ts'
import { PRIOR_OPTIONS, type PriorOptions, type PriorSession, type Priors, priorsOf } from '../../query/abr/priors.ts'
import { sustainedBy } from '../../query/abr/priors-evidence.ts'
import { atOnce } from '../../query/statistics/slices.ts'
import { RateController } from '../fleet/controller.ts'
import { GccController } from './gcc.ts'
import { PHASES, totalOf } from './outcome.ts'
import type { Arm, Played } from './simulate.ts'

/** What cloud gaming asks a household for at 1080p60. */
const FIXED_KBPS = 10_000

/** A controller on a ladder of one rung has nothing to decide. */
export const FIXED: Arm = {
  name: 'fixed bitrate',
  controllerOn: ladder => new RateController(ladder.filter(({ kbps }) => kbps <= FIXED_KBPS).slice(-1)),
}
export const LOCAL: Arm = {
  name: 'local controller',
  controllerOn: (ladder, start_kbps) => new GccController(ladder, start_kbps),
}
export const supervised = (priors: Priors, { name, controllerOn }: Arm = LOCAL): Arm => ({
  name: `${name}, supervised`,
  controllerOn,
  advisor: { stale_after_ms: DEFAULTS.ABR_STALE_AFTER_MS, priors: { priorOf: context => priors.of(context) } },
})
/** No arm: how much is wrong however little is sent. */
export const LEAST: Arm = {
  name: 'lowest rung throughout',
  controllerOn: ladder => new RateController(ladder.slice(0, 1)),
}

/** Who stuttered for longer did not sustain what it had: as the store's priors have it. */
const STUTTER_MAX = 0.01

export function priorsFrom(history: Iterable<Played>, options: PriorOptions = PRIOR_OPTIONS): Priors {
  const sessions: PriorSession[] = []
  for (const { events, outcome, session } of history) {
    const sustained = sustainedBy(events.flatMap(event => (event.kind === 'bitrate' ? event : [])))
    const { stutter_us, shown_us } = totalOf(PHASES.map(phase => outcome[phase]))
    if (sustained && stutter_us < STUTTER_MAX * shown_us) sessions.push({ ...sustained, context: session.context })
  }
  return atOnce(priorsOf(sessions, options))
}
