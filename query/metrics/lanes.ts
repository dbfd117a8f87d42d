/**
 * Two lanes to the store, so that a storm of heavy questions leaves the light ones fast: each has its own number of questions at once
 * and its own queue. A queue is bounded in length and in time; whoever finds it full is told to come back.
 */

const LANES = ['light', 'heavy'] as const
export type LaneName = (typeof LANES)[number]

export interface LaneBounds {
  /** Questions at once. */
  readonly running: number
  readonly waiting: number
  readonly wait_ms: number
}
/** The store's client has 16 connections; two cores are busy with two heavy questions. */
export const LANE_BOUNDS: Readonly<Record<LaneName, LaneBounds>> = {
  light: { running: 8, waiting: 512, wait_ms: 5_000 },
  heavy: { running: 2, waiting: 64, wait_ms: 15_000 },
}

/** The store could answer, but not now: too many others ask. */
export class Busy extends Error {
  override readonly name = 'Busy'
  readonly lane: LaneName

  constructor(lane: LaneName) {
    super(`the ${lane} lane is full`)
    this.lane = lane
  }
}

export interface LaneVitals {
  moved(lane: LaneName, running: number, waiting: number): void
  waited(lane: LaneName, seconds: number): void
  full(lane: LaneName): void
}

export type Lane = <T>(run: () => Promise<T>) => Promise<T>

export function createLane(name: LaneName, bounds: LaneBounds, vitals: LaneVitals): Lane {
  const queue = new Set<() => void>()
  let running = 0
  const tell = (): void => vitals.moved(name, running, queue.size)

  const turn = (): Promise<void> =>
    new Promise((resolve, reject) => {
      const deadline = setTimeout(() => {
        queue.delete(go)
        tell()
        vitals.full(name)
        reject(new Busy(name))
      }, bounds.wait_ms)
      const go = (): void => {
        clearTimeout(deadline)
        queue.delete(go)
        running++
        resolve()
      }
      queue.add(go)
      tell()
    })

  return async run => {
    if (running >= bounds.running && queue.size >= bounds.waiting) {
      vitals.full(name)
      throw new Busy(name)
    }
    const begun = performance.now()
    if (running >= bounds.running) await turn()
    else running++
    vitals.waited(name, (performance.now() - begun) / 1_000)
    tell()
    try {
      return await run()
    } finally {
      running--
      // In the order they came; whoever comes now finds the place taken.
      const [next] = queue
      next?.()
      tell()
    }
  }
}
