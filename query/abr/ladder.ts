/** The steps a stream can be sent at, from the lowest: what a recommendation chooses from. */
import type { Rung } from './state.ts'

export type Ladder = readonly [Rung, ...Rung[]]

/** As configuration says it: name and kbit/s of each step, ascending. */
export const DEFAULT_LADDER =
  '360p60-1m:1000,540p60-2.5m:2500,720p60-5m:5000,1080p60-10m:10000,1080p60-15m:15000,1440p60-25m:25000,2160p60-40m:40000'

/** As the contract has it for `rung`. */
const STEP = /^(?<name>[^\p{C},:]{1,32}):(?<kbps>\d{1,7})$/u

/** @throws RangeError naming the step that does not fit */
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
  return rungs as unknown as Ladder
}

export const rungNamed = (ladder: Ladder, name: string | null | undefined): Rung | undefined =>
  ladder.find(rung => rung.name === name)

/** The highest that does not exceed so much; the lowest, if all do. */
export const highestWithin = (ladder: Ladder, kbps: number): Rung =>
  ladder.findLast(({ bitrate_kbps }) => bitrate_kbps <= kbps) ?? ladder[0]
