/**
 * What is asked, before anything is asked of a store: moments, steps, tiers, filters, and the words of a percentile.
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { METRIC_IDS, METRICS } from '../query/metrics/catalogue.ts'
import { conditionOf, DIMENSIONS, parseFilter } from '../query/metrics/filter.ts'
import { Mistake } from '../query/metrics/mistake.ts'
import { fewestValues } from '../query/metrics/percentile.ts'
import {
  type Asked,
  BUCKETS_MAX,
  bucketSeconds,
  bucketStarts,
  chooseWindow,
  parseMoment,
  parseStep,
  type Window,
} from '../query/metrics/range.ts'
import { escaped } from '../query/pipeline/rejects.ts'
import { FAMILIES, ofAnyShare, PERCENTILE_IDS } from '../query/sessions/percentiles.ts'
import { RETENTION } from './support/seed.ts'

const NOW = Date.UTC(2026, 10, 22, 19, 3, 7, 250)
const KEPT = RETENTION
const HOUR_MS = 3_600_000

const windowOf = (from_ms: number, to_ms: number, rest: Partial<Asked> = {}): Window =>
  chooseWindow({ from: { at_ms: from_ms }, to: { at_ms: to_ms }, ...rest }, NOW, KEPT)
const mistakeOf = (act: () => unknown): { code: string; parameter: string | undefined } => {
  try {
    act()
  } catch (error) {
    if (error instanceof Mistake) return { code: error.code, parameter: error.parameter }
    throw error
  }
  throw new Error('nothing was refused')
}

describe('a moment', () => {
  test.each([
    ['2026-11-22T19:03:07.250Z', { at_ms: NOW }],
    ['2026-11-22T20:03:07.250+01:00', { at_ms: NOW }],
    ['2026-11-22', { at_ms: Date.UTC(2026, 10, 22) }],
    [String(NOW), { at_ms: NOW }],
    ['0', { at_ms: 0 }],
    ['now', { before_now_ms: 0 }],
    ['now-15m', { before_now_ms: 900_000 }],
    ['now-2d', { before_now_ms: 172_800_000 }],
  ])('%s is understood', (text, moment) => {
    expect(parseMoment(text)).toEqual(moment)
  })

  test.each([
    ...['', 'yesterday', 'now-', 'now-15', 'now-1.5h', 'now+5m', 'now-15M', '-1', '1e12', '99999999999999'],
    // Whose midnight, whose noon?
    ...['2026-11-22T19:03:07', '2026-13-01', '2026-11-22 19:03:07Z', "2026-11-22'--"],
  ])('%s is not guessed at', text => {
    expect(parseMoment(text)).toBeUndefined()
  })

  test('as ISO 8601 or as epoch milliseconds is the same one', () => {
    fc.assert(
      fc.property(fc.date({ min: new Date(0), max: new Date('2099-12-31'), noInvalidDate: true }), date => {
        expect(parseMoment(date.toISOString())).toEqual(parseMoment(String(date.getTime())))
      }),
    )
  })
})

describe('a step', () => {
  test.each([
    ['auto', 'auto'],
    ['10s', 10],
    ['90s', 90],
    ['1m', 60],
    ['1h', 3_600],
    ['7d', 604_800],
  ] as const)('%s is understood', (text, step) => expect(parseStep(text)).toBe(step))

  test.each(['', '0s', '5s', '15s', '1', 'm', '-1m', '1w', '1m30s', 'AUTO'])('%s is refused', text => {
    expect(parseStep(text)).toBeUndefined()
  })
})

describe('a window', () => {
  const tier = fc.constantFrom(undefined, '10s' as const, 'minute' as const)
  const span = fc.tuple(fc.integer({ min: 0, max: 20 * 24 * HOUR_MS }), fc.integer({ min: 1, max: 10 * 24 * HOUR_MS }))

  test('is snapped outward to whole buckets of its tier, by less than a bucket', () => {
    fc.assert(
      fc.property(span, tier, ([before, length], forced) => {
        const from_ms = NOW - before - length
        const window = windowOf(from_ms, from_ms + length, { tier: forced })
        const bucket_ms = bucketSeconds(window.tier) * 1_000
        expect((window.from * 1_000) % bucket_ms).toBe(0)
        expect((window.to * 1_000) % bucket_ms).toBe(0)
        expect(from_ms - window.from * 1_000).toBeGreaterThanOrEqual(0)
        expect(from_ms - window.from * 1_000).toBeLessThan(bucket_ms)
        expect(window.to * 1_000 - (from_ms + length)).toBeGreaterThanOrEqual(0)
        expect(window.to * 1_000 - (from_ms + length)).toBeLessThan(bucket_ms)
        if (forced) expect(window.tier).toBe(forced)
      }),
    )
  })

  test('with the automatic step always has a step its tier can answer, and no more of them than a chart has room for', () => {
    fc.assert(
      fc.property(span, tier, ([before, length], forced) => {
        const from_ms = NOW - before - length
        const window = windowOf(from_ms, from_ms + length, { tier: forced, step: 'auto' })
        const step_s = window.step_s ?? 0
        expect(step_s % bucketSeconds(window.tier)).toBe(0)
        expect(bucketStarts(window.from, window.to, step_s).count).toBeLessThanOrEqual(365)
      }),
    )
  })

  test('is covered by its steps without gap or overlap', () => {
    fc.assert(
      fc.property(span, fc.integer({ min: 1, max: 400 }), ([before, length], tens) => {
        const from_ms = NOW - before - length
        const step_s = tens * 10
        fc.pre(length / 1_000 / step_s < BUCKETS_MAX - 2)
        const { from, to } = windowOf(from_ms, from_ms + length, { step: step_s })
        const { first, count } = bucketStarts(from, to, step_s)
        expect(first).toBeLessThanOrEqual(from)
        expect(from - first).toBeLessThan(step_s)
        expect(first + count * step_s).toBeGreaterThanOrEqual(to)
        expect(first + (count - 1) * step_s).toBeLessThan(to)
      }),
    )
  })

  test('is answered from ten-second cells while it is short or finely stepped, from minutes beyond that', () => {
    expect(windowOf(NOW - HOUR_MS / 2, NOW).tier).toBe('10s')
    expect(windowOf(NOW - HOUR_MS, NOW).tier).toBe('minute')
    expect(windowOf(NOW - 3 * HOUR_MS, NOW, { step: 10 }).tier).toBe('10s')
    expect(windowOf(NOW - 3 * HOUR_MS, NOW, { step: 120 }).tier).toBe('minute')
  })

  test('that reaches back beyond the ten-second cells is answered from minutes, or refused where it cannot be', () => {
    const old = NOW - 40 * 24 * HOUR_MS
    expect(windowOf(old, old + HOUR_MS).tier).toBe('minute')
    expect(windowOf(old, old + HOUR_MS, { step: 'auto' })).toMatchObject({ tier: 'minute' })
    expect(mistakeOf(() => windowOf(old, old + HOUR_MS, { step: 10 }))).toEqual({ code: 'bad_step', parameter: 'step' })
    expect(mistakeOf(() => windowOf(old, old + HOUR_MS, { tier: '10s' }))).toEqual({
      code: 'bad_tier',
      parameter: 'tier',
    })
  })

  test.each([
    ['ends before it begins', NOW, NOW - 1, {}, 'bad_range', 'from'],
    ['is empty', NOW, NOW, {}, 'bad_range', 'from'],
    ['has too many steps', NOW - 48 * HOUR_MS, NOW, { step: 10 }, 'too_many_buckets', 'step'],
    ['has steps finer than its tier', NOW - HOUR_MS, NOW, { step: 90, tier: 'minute' as const }, 'bad_step', 'step'],
    ['is too long for cells on the fly', NOW - 7 * HOUR_MS, NOW, { tier: 'events' as const }, 'too_expensive', 'tier'],
  ])('that %s is refused by name', (_, from, to, rest, code, parameter) => {
    expect(mistakeOf(() => windowOf(from, to, rest))).toEqual({ code, parameter })
  })
})

describe('a filter', () => {
  test('takes everything after the first colon as its value, whatever it is', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(...DIMENSIONS),
        fc.string({ unit: 'grapheme' }),
        fc.boolean(),
        (dimension, value, exclude) => {
          expect(parseFilter(`${exclude ? '!' : ''}${dimension}:${value}`)).toEqual({ dimension, value, exclude })
        },
      ),
    )
  })

  test('never gets into the text of a question: values are bound', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.constantFrom(...DIMENSIONS), fc.string()), { maxLength: 8 }), pairs => {
        const { sql, params } = conditionOf(pairs.map(([dimension, value]) => ({ dimension, value, exclude: false })))
        expect(sql).toMatch(
          /^(1|[a-z_]+ IN \{is_[a-z_]+:Array\(String\)\}( AND [a-z_]+ IN \{is_[a-z_]+:Array\(String\)\})*)$/,
        )
        expect(Object.values(params).flat().length).toBe(pairs.length)
      }),
    )
  })

  test.each([
    ['region', 'bad_filter'],
    ['continent:europe', 'unknown_dimension'],
    ['toString:x', 'unknown_dimension'],
    ['session_id:x', 'bad_session_id'],
  ])('such as %s is refused', (text, code) => {
    expect(mistakeOf(() => parseFilter(text))).toEqual({ code, parameter: 'filter' })
  })
})

describe('the catalogue', () => {
  test.each(METRIC_IDS)('%s has a name of the form quantity_qualifier_unit, a sentence and a count', id => {
    const { title, definition, unit, count, min_count } = METRICS[id]
    expect(id).toMatch(/^[a-z]+(_[a-z0-9]+)*$/)
    expect(title).not.toBe('')
    expect(definition).toMatch(/\.$/)
    expect(count).not.toBe('')
    expect(min_count).toBeGreaterThanOrEqual(1)
    if (['us', 'pct', 'kbps'].includes(unit)) expect(id.endsWith(`_${unit}`)).toBe(true)
  })

  test('asks for ten values beyond a percentile', () => {
    expect([0.5, 0.9, 0.95, 0.99, 0.999].map(fewestValues)).toEqual([20, 100, 200, 1_000, 10_000])
  })
})

describe('percentiles asked together', () => {
  test('are each one once, and of any other share what the catalogue says of theirs', () => {
    expect(FAMILIES.flatMap(({ members }) => members).sort()).toEqual([...PERCENTILE_IDS].sort())
    for (const { sql, members } of FAMILIES)
      for (const id of members)
        if (sql !== undefined)
          expect(sql.replaceAll(/\bp\b/g, String(METRICS[id].percentile)), id).toBe(METRICS[id].value)
    expect(FAMILIES.filter(({ members }) => members.length > 1).length).toBeGreaterThanOrEqual(6)
  })

  test('of which the share does not stand in the text are not taken for others', () => {
    expect(ofAnyShare('max(frame_time_max_us)', 0.99)).toBeUndefined()
    expect(ofAnyShare(METRICS.frame_time_p99_us.value, 0.5)).toBeUndefined()
  })
})

test('bytes of a refused message are shown so that they can be told apart, and can do no harm', () => {
  expect(escaped(Buffer.from('{"a":\n"\\é\0"}').toString('hex'))).toBe('{"a":\\x0a"\\\\\\xc3\\xa9\\x00"}')
})
