/** The six dashboards, each for one question, in the order of a hunt: is it bad, what of it, whose fault, which release, which session, and is that true. */
import type { Retention } from '../../../ingest/store/migrate.ts'
import type { Described } from '../layout.ts'
import { cohorts } from './cohorts.ts'
import { experience } from './experience.ts'
import { frames } from './frames.ts'
import { network } from './network.ts'
import { pipeline } from './pipeline.ts'
import { session } from './session.ts'

export const dashboards = (kept: Retention): Described[] =>
  [experience, frames, network, cohorts, session, pipeline].map(describe => describe(kept))
