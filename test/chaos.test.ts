/** What chaos and soak decide without running for minutes: where the next shot goes, what is remembered of a run, what counts as recovered. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { chance } from '../query/statistics/weights.ts'
import { killsReport } from './chaos/kills-report.ts'
import { recoveryOf } from './chaos/recovery.ts'
import { COMBINATIONS, left, nameOf, nextShot, total } from './chaos/shots.ts'
import { emptyTally, isGood, readTally, type Tally, withShot, withVerdict, writeTally } from './chaos/tally.ts'

const GOAL = { kills: 1_000, each: 40 }
const GOOD = { lost: 0, doubled: 0, different: 0, wrong_cells: 0, wrong_minutes: 0 }
const audited = { log_id: 'a#1', kafka_partition: 0, first: 100, next: 350, missing: 0, doubled: 0, expired: 0 }

let directory = ''
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), 'stream-quality-test-'))
})
afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** Shoots until the goal is reached; `misses`: whose window does not open. */
function shootAll(misses: (shot_number: number) => boolean): Tally {
  const dice = chance(7)
  let tally = emptyTally(7)
  for (let fired = 1; left(GOAL, tally.landed) > 0; fired++) {
    const shot = nextShot(total(tally.landed) + 1, tally.landed, dice)
    tally = withShot(tally, shot, { landed: !misses(fired), recovered_ms: 1_000 })
    const least = Math.min(...COMBINATIONS.map(each => tally.landed[nameOf(each)] ?? 0))
    const most = Math.max(...COMBINATIONS.map(each => tally.landed[nameOf(each)] ?? 0))
    expect(most - least, 'nobody is ahead by more than one').toBeLessThanOrEqual(1)
  }
  return tally
}

describe('where shots go', () => {
  test.each([
    ['all land', () => false],
    ['every third window does not open', (n: number) => n % 3 === 0],
  ])('forty land inside each window by each kind, a thousand in all: %s', (_, misses) => {
    const { landed } = shootAll(misses)
    expect(total(landed)).toBeGreaterThanOrEqual(GOAL.kills)
    expect(Math.min(...COMBINATIONS.map(shot => landed[nameOf(shot)] ?? 0))).toBeGreaterThanOrEqual(GOAL.each)
    expect(Object.keys(landed).some(name => name.endsWith('random'))).toBe(true)
  })

  test('what is left never says less than must land, and more kills than combinations need are asked for too', () => {
    expect(left({ kills: 10, each: 1 }, {})).toBeGreaterThanOrEqual(COMBINATIONS.length)
    expect(left({ kills: 10, each: 0 }, {})).toBe(10)
    expect(left({ kills: 3, each: 0 }, { 'kill_broker random': 3 })).toBe(0)
  })
})

describe('what is remembered of a run', () => {
  test('a tally that is written is read again; none is none, and what is no tally is not taken for an empty one', () => {
    const file = join(directory, 'below', 'kills-1.json')
    expect(readTally(file)).toBeUndefined()
    const shot = { kind: 'kill_broker', window: 'insert_sent' } as const
    const seen = withShot(emptyTally(1), shot, { landed: true, recovered_ms: 7_100 })
    const tally = withVerdict(seen, 60_000, { ...GOOD, audit: [audited] })
    writeTally(file, tally)
    expect(readTally(file)).toEqual(tally)
    expect(tally).toMatchObject({ fields: 1, offsets: 250, landed: { 'kill_broker insert_sent': 1 } })
    writeFileSync(file, '{"seed":1')
    expect(() => readTally(file)).toThrow(/kills-1\.json is not a tally/)
  })

  test.each(['lost', 'doubled', 'different', 'wrong_cells', 'wrong_minutes'] as const)(
    'one %s in one of many pipelines is not forgotten',
    what => {
      const once = withVerdict(emptyTally(1), 1, { ...GOOD, [what]: 1, audit: [] })
      const tally = withVerdict(once, 1, { ...GOOD, audit: [audited] })
      expect(isGood(tally)).toBe(false)
      expect(killsReport(tally)).toContain('NOT exactly once')
      expect(killsReport(withVerdict(emptyTally(1), 1, { ...GOOD, audit: [audited] }))).toContain(
        'Exactly once: lost 0',
      )
    },
  )
})

describe('when it has recovered', () => {
  const ages = (list: readonly number[]) => list.map((age_ms, n) => ({ at_ms: n * 1_000, age_ms }))

  test.each<[string, readonly number[], number, number | null]>([
    ['at once, where nothing was felt', [5, 5, 5, 5], 0, 0],
    ['only after it was old, however young it was at first', [5, 5, 900, 900, 5, 5], 1_000, 3_000],
    ['not while it comes and goes', [5, 900, 5, 900, 5], 1_000, 3_000],
    ['not at all', [5, 900, 900, 900], 1_000, null],
  ])('%s', (_, list, from_ms, expected) => {
    expect(recoveryOf(ages(list), 100, from_ms, list.length * 1_000).recovered_ms).toBe(expected)
  })

  test('what comes before the event or after the next one is not counted', () => {
    const { recovered_ms, oldest_ms } = recoveryOf(ages([900, 900, 5, 300, 5, 5, 950]), 100, 2_000, 6_000)
    expect({ recovered_ms, oldest_ms }).toEqual({ recovered_ms: 2_000, oldest_ms: 300 })
  })

  test('without a look at it, nothing is known', () => {
    expect(recoveryOf([], 100, 0, 1_000).recovered_ms).toBeNull()
  })
})
