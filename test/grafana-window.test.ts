/** The hidden variables of dashboards are what the API takes: the same range in whole buckets, the same tier and step, read as far as it is settled. */
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import {
  lastSeconds,
  type Part,
  partSql,
  partsOf,
  type Span,
  STEPPED,
  variableOf,
  WHOLE,
} from '../dashboards/grafana/sql/window.ts'
import { noteSettled, settlingBegins } from '../ingest/store/settle.ts'
import { cutOf, settledOf } from '../query/metrics/answer.ts'
import { createAsk } from '../query/metrics/question.ts'
import { bucketSeconds, bucketStarts, chooseWindow } from '../query/metrics/range.ts'
import { AskedApi } from './support/ask.ts'
import { expanded, type Range, type Run, runOn } from './support/grafana.ts'
import { RETENTION } from './support/seed.ts'
import { sharedServices, unique } from './support/services.ts'

const [MINUTE_S, HOUR_S, DAY_S] = [60, 3_600, 86_400]
const NOW_S = Math.floor(Date.now() / 1_000)
let api: AskedApi
let run: Run

/** Of three days: minutes are settled to an hour ago, one of them five hours ago is behind, and so is an hour of yesterday. */
beforeAll(async () => {
  const { clickhouse } = sharedServices()
  const database = unique('window')
  api = await AskedApi.start(clickhouse, database, NOW_S * 1_000)
  run = runOn({ ...clickhouse, database })
  const at = await settlingBegins(api.store)
  const every = (seconds: number, rows: number, until_s: number, odd = 0) => {
    const first = Math.floor((NOW_S - 3 * DAY_S) / HOUR_S) * HOUR_S
    return Array.from({ length: Math.floor((until_s - first) / seconds) }, (_, i) => {
      const t = first + i * seconds
      return { t, rows: odd > 0 && t <= odd && odd < t + seconds ? rows - 1 : rows, settled_at_ms: 0 }
    })
  }
  await noteSettled(api.store, '10s', every(10, 2, NOW_S - 20), at)
  await noteSettled(api.store, 'minute', every(MINUTE_S, 12, NOW_S - HOUR_S, NOW_S - 5 * HOUR_S), at)
  await noteSettled(api.store, 'hour', every(HOUR_S, 720, NOW_S - 2 * HOUR_S, NOW_S - 30 * HOUR_S), at)
})
afterAll(() => api?.close())

type Parts = Partial<Record<Part, number>>
async function asked(span: Span, range: Range): Promise<Parts> {
  const values: Record<string, string> = {}
  const found: Parts = {}
  for (const part of partsOf(span)) {
    const { data } = await run(expanded(partSql(span, part, RETENTION), values, range))
    values[variableOf(span, part)] = String(data[0]?.[0])
    found[part] = Number(data[0]?.[0])
  }
  return found
}

/** What the API's SQL is given; of a tier that is not read an empty span at the beginning. */
async function taken(span: Span, { from_ms, to_ms }: Range): Promise<Parts> {
  const range = { from: { at_ms: from_ms }, to: { at_ms: to_ms } }
  const window = chooseWindow(span === STEPPED ? { ...range, step: 'auto' } : range, NOW_S * 1_000, RETENTION)
  const desk = { ask: createAsk(api.store, () => {}), retention: RETENTION, now: () => NOW_S * 1_000 }
  const cut = cutOf(window, await settledOf(desk, window))
  const { from, to, tier } = window
  const hours = tier === 'hour' ? cut : { hours_from: from, hours_to: from }
  return {
    tier_s: bucketSeconds(tier),
    from,
    to,
    cut: tier === '10s' ? from : cut.minute,
    hours_from: hours.hours_from,
    hours_to: hours.hours_to,
    ...(span === STEPPED ? { step_s: window.step_s ?? Number.NaN } : {}),
  }
}

/** Ranges of every length that matters, ending now, in the middle of what is settled, and long ago. */
const ranges = fc
  .tuple(
    fc.oneof(
      fc.integer({ min: 10, max: 2 * HOUR_S }),
      fc.integer({ min: HOUR_S, max: 14 * HOUR_S }),
      fc.integer({ min: DAY_S, max: 500 * DAY_S }),
      fc.constantFrom(30 * MINUTE_S, HOUR_S, 3 * HOUR_S, 6 * HOUR_S, 12 * HOUR_S, 2 * DAY_S, 30 * DAY_S),
    ),
    fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 3 * DAY_S }), fc.integer({ min: 0, max: 450 * DAY_S })),
    fc.integer({ min: 0, max: 999 }),
  )
  .map(([length_s, ago_s, ms]) => ({
    from_ms: (NOW_S - ago_s - length_s) * 1_000 + ms,
    to_ms: (NOW_S - ago_s) * 1_000,
  }))
  // Within a minute of what a tier has forgotten, it matters when the clock is read.
  .filter(({ from_ms }) =>
    [RETENTION.cell_days, RETENTION.minute_days].every(
      days => Math.abs(from_ms / 1_000 - (NOW_S - days * DAY_S)) > MINUTE_S,
    ),
  )

test.each([WHOLE, STEPPED] as const)('%s ranges', { timeout: 300_000 }, async span => {
  const property = fc.asyncProperty(ranges, async range => {
    expect(await asked(span, range)).toEqual(await taken(span, range))
  })
  await fc.assert(property, { numRuns: 20, seed: 6 })
})

test('a range of an hour has more than one step, and one of a month is read from hours', async () => {
  const hour = await asked(STEPPED, { from_ms: (NOW_S - HOUR_S) * 1_000, to_ms: NOW_S * 1_000 })
  expect(hour.step_s).toBe(10)
  const {
    from = 0,
    to = 0,
    step_s = 1,
    hours_from = 0,
    hours_to = 0,
  } = await asked(STEPPED, {
    from_ms: (NOW_S - 30 * DAY_S) * 1_000,
    to_ms: NOW_S * 1_000,
  })
  expect(bucketStarts(from, to, step_s).count).toBeGreaterThan(100)
  expect(hours_to).toBeGreaterThan(hours_from)
})

test.each([5 * MINUTE_S, 30 * MINUTE_S, HOUR_S, 6 * HOUR_S, 72 * HOUR_S])(
  'the last %d s, as alerts look at them',
  async seconds => {
    const { sql, names } = lastSeconds(seconds, RETENTION)
    const range = { from_ms: (NOW_S - seconds) * 1_000, to_ms: NOW_S * 1_000 }
    const { tier_s: _, ...expected } = await taken(WHOLE, range)
    const parts = partsOf(WHOLE).filter(part => part !== 'tier_s')
    const { data } = await run(expanded(`${sql} SELECT ${parts.map(part => names[part])}`, {}, range))
    expect(Object.fromEntries(parts.map((part, i) => [part, data[0]?.[i]]))).toEqual(expected)
  },
)
