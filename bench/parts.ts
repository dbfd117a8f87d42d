/** The parts of `npm run bench` by name, in their order, each with its size: the whole, and one that only shows that it runs. */
import type { Finding } from './finding.ts'
import { liveRace, oneSampleRace } from './race.ts'

type Run = (quick: boolean, tell: (line: string) => void) => Promise<Finding>

export const PARTS = {
  ingest: (quick, tell) =>
    liveRace(quick ? { sessions: 500, seconds: 12, rounds: 1 } : { sessions: 25_000, seconds: 15, rounds: 3 }, tell),
  one_sample: (quick, tell) =>
    oneSampleRace(quick ? { sessions: 20, seconds: 12, rounds: 1 } : { sessions: 1_000, seconds: 15, rounds: 2 }, tell),
} as const satisfies Record<string, Run>
export type PartName = keyof typeof PARTS
