/** What must hold after a soak, from its samples alone. Pure. Null: it was too short to say. */
import { quantile } from '../support/report.ts'
import { PROCESSES, type Process, type Sample } from './samples.ts'
import { type Slope, slopeOf, stretches } from './slope.ts'

export interface Finding {
  readonly ok: boolean | null
  readonly text: string
}

/** Memory is judged over the second half; of less than this it is only told. */
const SECOND_HALF_MS = 5 * 60_000
/** A process that grows by less than this share of itself an hour would take days to matter. */
const GROWTH_ALLOWED = 0.01
/** ClickHouse before 23.6 refused inserts beyond this; now it slows down at 1,000. */
const PARTS_MOST = 300
/** A quarter's p99 needs some; and how much later quarters may exceed the earlier two. */
const FRESH_SAMPLES_MIN = 200
const FRESHER_BEFORE = 1.5

export interface Growth {
  readonly process: Process
  readonly first_mb: number
  readonly last_mb: number
  readonly most_mb: number
  readonly slope: Slope | null
}

const HOUR_MS = 3_600_000

/** Over the second half; first and last are medians of a twelfth of it. */
export function growthOf(samples: readonly Sample[], process: Process, of: 'rss_mb' | 'heap_mb' = 'rss_mb'): Growth {
  const series = (some: readonly Sample[]) =>
    some.flatMap(({ at_ms, processes }) => {
      const value = processes[process]?.[of] ?? null
      return value === null ? [] : [{ at_h: at_ms / HOUR_MS, value }]
    })
  const medians = stretches(series(secondHalf(samples)))
  return {
    process,
    first_mb: medians[0]?.value ?? Number.NaN,
    last_mb: medians.at(-1)?.value ?? Number.NaN,
    most_mb: Math.max(...series(samples).map(({ value }) => value)),
    slope: slopeOf(medians),
  }
}

const secondHalf = (samples: readonly Sample[]): readonly Sample[] => samples.slice(Math.floor(samples.length / 2))

export const length_ms = (samples: readonly Sample[]): number =>
  (samples.at(-1)?.at_ms ?? Number.NaN) - (samples[0]?.at_ms ?? Number.NaN)

export function quarters(samples: readonly Sample[]): (readonly Sample[])[] {
  const at = (n: number): number => Math.floor((samples.length * n) / 4)
  return [0, 1, 2, 3].map(n => samples.slice(at(n), at(n + 1)))
}

export const freshOf = (samples: readonly Sample[]): number[] => samples.flatMap(({ fresh_ms }) => fresh_ms)

export const mostParts = (samples: readonly Sample[]): number =>
  Math.max(0, ...samples.flatMap(({ parts }) => Object.values(parts)))

export function findings(samples: readonly Sample[]): Finding[] {
  const last = samples.at(-1)
  const errors = { log: last?.log_errors ?? 0, failed: last?.failed ?? 0, died: last?.died ?? 0 }
  return [
    ...PROCESSES.map(process => memory(samples, process)),
    { ok: mostParts(samples) <= PARTS_MOST, text: `at most ${mostParts(samples)} parts in a partition` },
    {
      ok: errors.log + errors.failed + errors.died === 0,
      text: `${errors.log} errors logged, ${errors.failed} of ${last?.asked ?? 0} questions failed, ${errors.died} parts died`,
    },
    freshness(samples),
  ]
}

function memory(samples: readonly Sample[], process: Process): Finding {
  const { slope, last_mb } = growthOf(samples, process)
  const half = secondHalf(samples)
  if (slope === null || length_ms(half) < SECOND_HALF_MS)
    return { ok: null, text: `${process}: too short to say whether it grows` }
  const text = `${process}: ${signed(slope.slope)} MB an hour, 99 % interval ${signed(slope.low)} to ${signed(slope.high)}`
  return { ok: slope.low <= last_mb * GROWTH_ALLOWED, text }
}

function freshness(samples: readonly Sample[]): Finding {
  const of = quarters(samples).map(freshOf)
  const p99s = of.map(ages => quantile(ages, 0.99))
  const text = `freshness p99 by quarter: ${p99s.map(p99 => (Number.isFinite(p99) ? `${p99} ms` : 'none')).join(', ')}`
  if (of.some(ages => ages.length < FRESH_SAMPLES_MIN))
    return { ok: null, text: `${text}: too few to say whether it stays` }
  const [early, late] = [Math.max(...p99s.slice(0, 2)), Math.max(...p99s.slice(2))]
  return { ok: late <= early * FRESHER_BEFORE, text }
}

export const signed = (value: number): string => `${value < 0 ? '−' : '+'}${Math.abs(value).toFixed(1)}`
