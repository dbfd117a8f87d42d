/** The steps a stream can be sent at, from the lowest: what a recommendation chooses from. */
import { DEFAULTS } from '../../ingest/runtime/variables.ts'
import type { Rung } from './state.ts'

export type Ladder = readonly [Rung, ...Rung[]]

/** As the contract has it for `rung`. */
const STEP = /^(?<name>[^\p{C},:]{1,32}):(?<kbps>\d{1,7})$/u

/**
 * @param text as configuration says it: name and kbit/s of each step, ascending
 * @throws RangeError naming the step that does not fit
 */
export function parseLadder(text: string): Ladder {
  const rungs = text.split(',').map((step): Rung => {
    const { name, kbps } = STEP.exec(step.trim())?.groups ?? {}
    if (name === undefined || Number(kbps) === 0) throw new RangeError(`'${step}': expected name:kbps`)
    return { name, bitrate_kbps: Number(kbps) }
  })
  rungs.forEach((rung, i) => {
    const below = rungs[i - 1]
    if (below && below.bitrate_kbps >= rung.bitrate_kbps)
      throw new RangeError(`'${rung.name}' must have more kbps than '${below.name}' before it`)
    if (rungs.findIndex(({ name }) => name === rung.name) < i) throw new RangeError(`'${rung.name}' is named twice`)
  })
  const [lowest, ...higher] = rungs
  if (!lowest) throw new RangeError('a ladder has a step at least')
  return [lowest, ...higher]
}

/** Of a service that was told nothing else. */
export const DEFAULT_LADDER = parseLadder(DEFAULTS.ABR_LADDER)

export const rungNamed = (ladder: Ladder, name: string | null | undefined): Rung | undefined =>
  ladder.find(rung => rung.name === name)

/** The highest that does not exceed so much; the lowest, if all do. */
export const highestWithin = (ladder: Ladder, kbps: number): Rung =>
  ladder.findLast(({ bitrate_kbps }) => bitrate_kbps <= kbps) ?? ladder[0]
