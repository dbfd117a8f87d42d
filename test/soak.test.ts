/** What a soak concludes from its samples: growth from noise, old from fresh, and nothing where there is too little to say. */
import { appendFileSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { chance } from '../query/statistics/weights.ts'
import { findings } from './soak/findings.ts'
import { soakReport } from './soak/report.ts'
import { appendSample, beginSamples, readSamples, type Sample } from './soak/samples.ts'
import { slopeOf, stretches } from './soak/slope.ts'

let directory = ''
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'stream-quality-test-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

const SAMPLES = 270
const HOUR_MS = 3_600_000

/** 45 minutes of a process whose memory goes up and down in teeth of a minute and a half, and by so much an hour. */
function run(mb_per_hour: number, change: (sample: Sample, n: number) => Sample = sample => sample): Sample[] {
  const dice = chance(5)
  return Array.from({ length: SAMPLES }, (_, n) => {
    const at_ms = n * 10_000
    const rss_mb = 240 + (n % 9) * 2 + dice() * 4 + (mb_per_hour * at_ms) / HOUR_MS
    const used = { rss_mb, heap_mb: null, cpu_s: n * 2 }
    const sample: Sample = {
      at_ms,
      processes: { ingester: used, api: used, clickhouse: used, kafka: used, soak: used },
      parts: { events_v1: 20 + (n % 9) },
      fresh_ms: Array.from({ length: 12 }, () => 400 + Math.floor(dice() * 500)),
      took_ms: [30, 40],
      ...{ asked: n * 10, failed: 0, log_errors: 0, died: 0, made: n * 30_000, playing: 1_500, lag: 800 },
    }
    return change(sample, n)
  })
}

const wrong = (samples: readonly Sample[]): string[] =>
  findings(samples).flatMap(({ ok, text }) => (ok === false ? [text] : []))

describe('a slope', () => {
  const line = (per_hour: number, noise: number) => {
    const dice = chance(3)
    return Array.from({ length: 60 }, (_, n) => ({
      at_h: n / 60,
      value: 100 + per_hour * (n / 60) + noise * (dice() - 0.5),
    }))
  }

  test('of a line is its own, without width', () => {
    const slope = slopeOf(line(12, 0))
    expect(slope?.slope).toBeCloseTo(12, 6)
    expect((slope?.high ?? 0) - (slope?.low ?? 0)).toBeLessThan(1e-6)
  })

  test('of noise has 0 within; of noise on a rise, the rise', () => {
    const flat = slopeOf(stretches(line(0, 30)))
    expect(flat?.low).toBeLessThan(0)
    expect(flat?.high).toBeGreaterThan(0)
    const rising = slopeOf(stretches(line(60, 10)))
    expect(rising?.low).toBeGreaterThan(0)
    expect(rising?.low).toBeLessThan(60)
    expect(rising?.high).toBeGreaterThan(60)
  })

  test('covers the truth about as often as it says', () => {
    const dice = chance(11)
    let covered = 0
    for (let round = 0; round < 500; round++) {
      const points = Array.from({ length: 12 }, (_, n) => ({
        at_h: n / 12,
        value: 5 * (n / 12) + dice() + dice() + dice(),
      }))
      const slope = slopeOf(points)
      if (slope && slope.low <= 5 && slope.high >= 5) covered++
    }
    expect(covered).toBeGreaterThan(485)
    expect(covered).toBeLessThan(500)
  })

  test('of three points is unknown', () => {
    expect(slopeOf(line(1, 1).slice(0, 3))).toBeNull()
  })
})

describe('what is found', () => {
  test('nothing, where memory goes up and down and comes back', () => {
    expect(wrong(run(0))).toEqual([])
    expect(findings(run(0)).every(({ ok }) => ok === true)).toBe(true)
  })

  test('a leak of 60 MB an hour under teeth of 16 MB', () => {
    const found = wrong(run(60))
    expect(found).toHaveLength(4)
    expect(found[0]).toContain('ingester')
  })

  test.each<[string, (sample: Sample, n: number) => Sample, RegExp]>([
    ['one error logged', (sample, n) => ({ ...sample, log_errors: n > 100 ? 1 : 0 }), /1 errors logged/],
    ['one question that failed', (sample, n) => ({ ...sample, failed: n > 200 ? 1 : 0 }), /1 of \d+ questions failed/],
    ['a part that died', (sample, n) => ({ ...sample, died: n > 200 ? 1 : 0 }), /1 parts died/],
    ['parts that pile up', (sample, n) => ({ ...sample, parts: { events_v1: n * 2 } }), /538 parts/],
    [
      'a last quarter that is late',
      (sample, n) => ({ ...sample, fresh_ms: sample.fresh_ms.map(age => (n > 220 ? age * 2 : age)) }),
      /freshness/,
    ],
  ])('%s', (_, change, expected) => {
    const found = wrong(run(0, change))
    expect(found).toHaveLength(1)
    expect(found[0]).toMatch(expected)
  })

  test('of two minutes neither good nor bad is said of memory and freshness', () => {
    const short = run(500).slice(0, 12)
    expect(wrong(short)).toEqual([])
    expect(findings(short).filter(({ ok }) => ok === null)).toHaveLength(5)
    expect(soakReport(short, [])).toContain('open: ingester: too short')
  })
})

test('samples are there line by line; one that was being written when it ended is not', () => {
  const file = join(directory, 'soak', 'samples.ndjson')
  beginSamples(file)
  expect(readSamples(file)).toEqual([])
  const samples = run(0).slice(0, 3)
  for (const sample of samples) appendSample(file, sample)
  appendFileSync(file, '{"at_ms":30000,"proc')
  expect(readSamples(file)).toEqual(samples)
  appendFileSync(file, '\n')
  expect(() => readSamples(file)).toThrow(/line 4/)
  beginSamples(file)
  expect(readSamples(file)).toEqual([])
  expect(() => readSamples(`${file}.1`)).toThrow(/line 4/)
})
