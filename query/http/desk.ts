/**
 * How a route's question gets to the store: shared with whoever asks the same, refused if it would cost too much, in its lane,
 * within ClickHouse's limits. Routes see none of it: they ask.
 */
import { DEFAULTS } from '../../ingest/runtime/variables.ts'
import type { Store } from '../../ingest/store/clickhouse.ts'
import { createLedger, HEAVY_ROWS, mustBeAffordable, rowsToRead } from '../metrics/cost.ts'
import { createLane, LANE_BOUNDS, type LaneBounds, type LaneName, type LaneVitals } from '../metrics/lanes.ts'
import { type Ask, createAsk } from '../metrics/question.ts'
import { createSharing, type Sharing } from '../metrics/sharing.ts'
import { type AskStreamed, createAskStreamed } from '../metrics/streamed.ts'
import type { QueryVitals } from './vitals.ts'

export interface AskingLimits {
  /** More than so many rows are not read for one question. */
  readonly rows_max: number
  /** From so many on it goes into the heavy lane. */
  readonly heavy_rows: number
  readonly lanes: Readonly<Record<LaneName, LaneBounds>>
}
export const ASKING_LIMITS: AskingLimits = {
  rows_max: DEFAULTS.API_ROWS_MAX,
  heavy_rows: HEAVY_ROWS,
  lanes: LANE_BOUNDS,
}

export interface Asking {
  /** Past everything but ClickHouse's limits: for probes, which want to know how it is now. */
  readonly direct: Ask
  readonly sharing: Sharing
  /** Of an export. Not in a lane: most of its time goes by while its reader reads. */
  readonly streamed: AskStreamed
}

export function createAsking(store: Store, limits: AskingLimits, share_ms: number, vitals: QueryVitals): Asking {
  const observe = (question: string, seconds: number, ok: boolean): void =>
    vitals.questionSeconds.observe({ question, answered: String(ok) }, seconds)
  const direct = createAsk(store, observe)
  const stream = createAskStreamed(store, observe)
  const ledger = createLedger(direct)
  const seen: LaneVitals = {
    moved(lane, running, waiting) {
      vitals.laneRunning.set({ lane }, running)
      vitals.laneWaiting.set({ lane }, waiting)
    },
    waited: (lane, seconds) => vitals.laneWaitSeconds.observe({ lane }, seconds),
    full: lane => vitals.laneFull.inc({ lane }),
  }
  const lanes = {
    light: createLane('light', limits.lanes.light, seen),
    heavy: createLane('heavy', limits.lanes.heavy, seen),
  }
  const inLane: Ask = async question => {
    const rows = rowsToRead(question, await ledger())
    mustBeAffordable(question, rows, limits.rows_max)
    return lanes[rows < limits.heavy_rows ? 'light' : 'heavy'](() => direct(question))
  }
  const sharing = createSharing(inLane, { share_ms, observe: result => vitals.shared.inc({ result }) })
  const streamed: AskStreamed = async function* (question) {
    mustBeAffordable(question, rowsToRead(question, await ledger()), limits.rows_max)
    yield* stream(question)
  }
  return { direct, sharing, streamed }
}
