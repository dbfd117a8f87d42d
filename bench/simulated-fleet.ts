/**
 * A fleet for the search for bad segments: sessions with six dimensions of uneven values, of which some are always worse than others,
 * skewed lengths and rates, some sessions that play both now and before. Everybody may get worse, and one segment more than that.
 */
import type { Amounts, Fleet } from '../query/statistics/segments.ts'
import { normal } from './skewed-sessions.ts'

/** How many values each dimension has; the first is the most common. */
const VALUES = [8, 4, 3, 5, 5, 20]
export const [ISP, REGION] = [0, 1]

export interface FleetOptions {
  readonly sessions: number
  /** Everybody's rates now, over before. */
  readonly everybody: number
  /** Percentage points that sessions of isp 1 in region 1 have more, now. */
  readonly planted_pct: number
}

export function simulatedFleet({ sessions, everybody, planted_pct }: FleetOptions, uniform: () => number): Fleet {
  const dimensions = VALUES.map(values => ({
    values,
    // The greater, the rarer.
    codes: Int32Array.from({ length: sessions }, () => Math.floor(values * uniform() ** 1.5)),
  }))
  const metrics: Amounts[] = [1, 0.3].map(() => ({
    ...{ x1: new Float64Array(sessions), y1: new Float64Array(sessions) },
    ...{ x0: new Float64Array(sessions), y0: new Float64Array(sessions) },
  }))
  for (let i = 0; i < sessions; i++) {
    const [isp = 0, region = 0, access = 0] = dimensions.map(({ codes }) => codes[i] ?? 0)
    // A third plays in both windows, a third in each alone.
    const when = Math.floor(uniform() * 3)
    for (const [m, { x1, y1, x0, y0 }] of metrics.entries()) {
      const touched = m === 0 || uniform() < 0.3
      const rate = touched ? 0.2 * Math.exp(0.2 * isp + 0.4 * access + normal(uniform)) : 0
      const minutes = (): number => 10 * Math.exp(0.8 * normal(uniform))
      const planted = isp === 1 && region === 1 && m === 0 ? planted_pct * 2 * uniform() : 0
      if (when !== 1) {
        y1[i] = minutes()
        x1[i] = ((y1[i] ?? 0) * (rate * everybody * Math.exp(0.3 * normal(uniform)) + planted)) / 100
      }
      if (when !== 0) {
        y0[i] = minutes()
        x0[i] = ((y0[i] ?? 0) * rate * Math.exp(0.3 * normal(uniform))) / 100
      }
    }
  }
  return { dimensions, metrics, sessions }
}
