/**
 * Does it grow? A straight line through a series by least squares, with the 99 % interval of its slope. Memory goes up and down in teeth
 * that last longer than a sample, so medians of stretches are fitted, not samples: those would count one tooth many times over and
 * make the interval too narrow.
 */
import { studentQuantile } from '../../query/statistics/tail.ts'

export interface Point {
  readonly at_h: number
  readonly value: number
}

/** Per hour. */
export interface Slope {
  readonly slope: number
  readonly low: number
  readonly high: number
}

const STRETCHES = 12
const TAIL = 0.005

/** Medians of up to twelve stretches of equal length. */
export function stretches(points: readonly Point[], count = STRETCHES): Point[] {
  const size = Math.max(1, Math.floor(points.length / count))
  return Array.from({ length: Math.floor(points.length / size) }, (_, n) => {
    const stretch = points.slice(n * size, (n + 1) * size)
    return { at_h: median(stretch.map(({ at_h }) => at_h)), value: median(stretch.map(({ value }) => value)) }
  })
}

/** Null: fewer than four points say nothing of their own spread. */
export function slopeOf(points: readonly Point[]): Slope | null {
  const n = points.length
  if (n < 4) return null
  const mean_at = mean(points.map(({ at_h }) => at_h))
  const mean_value = mean(points.map(({ value }) => value))
  const spread = points.reduce((sum, { at_h }) => sum + (at_h - mean_at) ** 2, 0)
  const slope = points.reduce((sum, { at_h, value }) => sum + (at_h - mean_at) * (value - mean_value), 0) / spread
  const rest = points.reduce((sum, { at_h, value }) => sum + (value - mean_value - slope * (at_h - mean_at)) ** 2, 0)
  const half = studentQuantile(TAIL, n - 2) * Math.sqrt(rest / (n - 2) / spread)
  return { slope, low: slope - half, high: slope + half }
}

const mean = (values: readonly number[]): number => values.reduce((sum, value) => sum + value, 0) / values.length

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const half = Math.floor(sorted.length / 2)
  const upper = sorted[half] ?? Number.NaN
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? Number.NaN) + upper) / 2
}
