/**
 * How a question gets to the store, without a store: what it would cost, whose turn it is, and whose answer it may take.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { z } from 'zod'
import { createLedger, type Ledger, mustBeAffordable, rowsToRead } from '../query/metrics/cost.ts'
import { Busy, createLane, type LaneBounds } from '../query/metrics/lanes.ts'
import { Mistake } from '../query/metrics/mistake.ts'
import type { Ask, Question } from '../query/metrics/question.ts'
import { createSharing } from '../query/metrics/sharing.ts'
import { groupedSql } from '../query/metrics/sql.ts'

const HOUR = 3_600
const CELLS = 'quality_per_10s_v1'
const MINUTES = 'quality_per_minute_v1'

describe('the rows a question reads', () => {
  const ledger: Ledger = [
    { table: CELLS, first: 0, last: 10 * HOUR, rows: 36_000 },
    { table: CELLS, first: 10 * HOUR, last: 11 * HOUR, rows: 100_000 },
    { table: MINUTES, first: 0, last: 11 * HOUR, rows: 6_600 },
    { table: 'events_v1', first: 5 * HOUR, last: 5 * HOUR, rows: 7 },
  ]
  const rows = (sql: string, params: Question<unknown>['params']) => rowsToRead({ sql, params }, ledger)

  test('are those of its range, of each table as often as it is named', () => {
    expect(rows(`SELECT FROM ${CELLS}`, { from: 0, to: HOUR })).toBe(3_600)
    expect(rows(`SELECT FROM ${CELLS} … IN (SELECT FROM ${CELLS})`, { from: 0, to: HOUR })).toBe(7_200)
    expect(rows(`SELECT FROM ${CELLS}`, { from: 9 * HOUR, to: 10.5 * HOUR })).toBe(53_600)
    expect(rows(`SELECT FROM ${CELLS}`, { then_from: 0, then_to: HOUR, now_from: 2 * HOUR, now_to: 3 * HOUR })).toBe(
      10_800,
    )
    expect(rows('SELECT frame_time_us FROM events_v1', { from: 5 * HOUR, to: 6 * HOUR })).toBe(28)
    expect(rows('SELECT kind FROM events_v1', { from: 5 * HOUR, to: 6 * HOUR })).toBeLessThan(1)
    expect(rows('SELECT frame_time_us FROM events_v1', { from: 6 * HOUR, to: 7 * HOUR })).toBe(0)
  })

  test('are ten-second cells only from the cut on, and few if it is about one session or has no range', () => {
    const both = `SELECT FROM ${MINUTES} UNION ALL SELECT FROM ${CELLS}`
    expect(rows(both, { from: 0, to: 11 * HOUR, cut: 10.5 * HOUR })).toBe(6_600 + 50_000)
    expect(rows(both, { from: 0, to: 11 * HOUR, recent: 10.5 * HOUR })).toBe(6_600 + 50_000)
    expect(rows(`SELECT FROM ${CELLS} WHERE session_id IN {is:Array(UUID)}`, { from: 0, to: HOUR })).toBe(72)
    expect(rows(`SELECT FROM ${CELLS} WHERE session_id NOT IN {not:Array(UUID)}`, { from: 0, to: HOUR })).toBe(3_600)
    expect(rows(`SELECT FROM ${CELLS}`, { since: 0 })).toBe(0)
  })

  test('are minutes only as far as they stand in for the cube, where that is asked', () => {
    const params = { from: 0, to: 11 * HOUR, cube_to: 10 * HOUR, cut: 11 * HOUR, holes: [] }
    const asked = (whole: boolean) =>
      groupedSql({
        tier: 'minute',
        where: { sql: '1', session_sql: '1' },
        cube: { dimension: 'isp', whole },
        keys: { isp: 'isp' },
        values: { frames: 'frames' },
      })
    expect([rows(asked(true), params), rows(asked(false), params)]).toEqual([0, 600])
    expect(rows(`${asked(false)} INNER JOIN (SELECT FROM ${MINUTES})`, params)).toBe(600 + 6_600)
  })

  test('grow with the range, and add up over its parts', () => {
    const time = fc.integer({ min: 0, max: 12 * HOUR })
    fc.assert(
      fc.property(fc.tuple(time, time, time), times => {
        const [from = 0, middle = 0, to = 0] = times.sort((a, b) => a - b)
        const over = (from: number, to: number) => rows(`SELECT FROM ${CELLS}`, { from, to })
        expect(over(from, middle) + over(middle, to)).toBeCloseTo(over(from, to), 3)
      }),
    )
  })

  test('are told when they are too many, with the range that would do', () => {
    const params = { from: 0, to: 10 * HOUR }
    mustBeAffordable({ params }, 100, 100)
    expect(() => mustBeAffordable({ params }, 300_000_000, 100_000_000)).toThrow(Mistake)
    expect(() => mustBeAffordable({ params }, 300_000_000, 100_000_000)).toThrow(/about 300 million.*about 3 h/)
  })

  test('are looked up once in a while; where that fails nothing is known and nothing refused', async () => {
    let [calls, now] = [0, 0]
    const ask: Ask = () => {
      calls++
      return Promise.reject(new Error('away'))
    }
    const look = createLedger(ask, () => now)
    expect(await look()).toEqual([])
    expect(await look()).toEqual([])
    expect(calls).toBe(1)
    now += 60_000
    await look()
    expect(calls).toBe(2)
  })
})

describe('a lane', () => {
  const noted: string[] = []
  const vitals = { moved: () => {}, waited: () => {}, full: (lane: string) => noted.push(lane) }
  const laneOf = (bounds: Partial<LaneBounds>) =>
    createLane('heavy', { running: 2, waiting: 3, wait_ms: 60_000, ...bounds }, vitals)

  test('lets in so many at once, the others in the order they came, whatever becomes of each', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.boolean(), { maxLength: 20 }), async fates => {
        const lane = laneOf({ waiting: 20 })
        const begun: number[] = []
        let [running, most] = [0, 0]
        const all = fates.map((good, i) =>
          lane(async () => {
            begun.push(i)
            most = Math.max(most, ++running)
            await Promise.resolve()
            running--
            if (!good) throw new Error('failed')
          }).then(
            () => true,
            () => false,
          ),
        )
        expect(await Promise.all(all)).toEqual(fates)
        expect(begun).toEqual(fates.map((_, i) => i))
        expect(most).toBeLessThanOrEqual(2)
      }),
    )
  })

  test('turns away who finds its queue full, and who waited too long', async () => {
    let letGo = (): void => {}
    const gate = new Promise<void>(resolve => {
      letGo = resolve
    })
    const lane = laneOf({ running: 1, waiting: 1, wait_ms: 1 })
    const first = lane(() => gate)
    const second = lane(() => gate)
    await expect(lane(() => gate)).rejects.toThrow(Busy)
    await expect(second).rejects.toThrow(Busy)
    letGo()
    await first
    await lane(async () => {})
    expect(noted).toEqual(['heavy', 'heavy'])
  })
})

describe('sharing', () => {
  const row = z.object({ asked_at: z.number() })
  const question = (id: string, params = {}): Question<z.infer<typeof row>> => ({
    id,
    sql: `SELECT ${id}`,
    params,
    row,
  })

  function world() {
    const state = { now: 0, calls: 0, fail: false }
    const ask: Ask = async ({ row }) => {
      state.calls++
      const asked_at = state.now
      await Promise.resolve()
      if (state.fail) throw new Error('away')
      return [row.parse({ asked_at })]
    }
    const sharing = createSharing(ask, { share_ms: 1_000, observe: () => {}, clock: () => state.now })
    const at = async (id: string, params?: Record<string, unknown>) =>
      (await sharing.ask(question(id, params)))[0]?.asked_at
    return { state, sharing, at }
  }

  test('is by text and parameters, within a moment, and each has a list of its own', async () => {
    const { state, sharing, at } = world()
    const ask = (params: Record<string, unknown>) => sharing.together(() => at('a', params))
    await Promise.all([ask({ x: 1 }), ask({ x: 1 }), ask({ x: 2 })])
    expect(state.calls).toBe(2)
    state.now = 999
    await ask({ x: 1 })
    expect(state.calls).toBe(2)
    state.now = 1_000
    expect(await ask({ x: 1 })).toBe(1_000)
    const lists = await Promise.all([1, 2].map(() => sharing.together(() => sharing.ask(question('a', { x: 1 })))))
    lists[0]?.pop()
    expect(lists[1]).toHaveLength(1)
  })

  test('never makes an answer look newer than it is: how new it is was always asked no later than its values', async () => {
    const step = fc.record({
      wait: fc.nat(700),
      request: fc.nat(3),
      window: fc.nat(1),
      fail: fc.constantFrom(false, false, false, true),
      write: fc.constantFrom(false, false, false, true),
    })
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 40 }), async steps => {
        const { state, sharing, at } = world()
        const ask = (id: string, window: number) => at(id, { window }).catch(() => undefined)
        const begin = (window: number) => {
          let [noticed, goOn] = [() => {}, () => {}]
          const asked = new Promise<void>(resolve => {
            noticed = resolve
          })
          const gate = new Promise<void>(resolve => {
            goOn = resolve
          })
          const done = sharing.together(async () => {
            const fresh = await ask('freshness', window)
            noticed()
            await gate
            return { fresh, value: await ask('value', window) }
          })
          return { asked, goOn, done }
        }
        const running = new Map<number, ReturnType<typeof begin>>()
        for (const { wait, request, window, fail, write } of steps) {
          state.now += wait
          state.fail = fail
          const begun = running.get(request)
          if (begun) {
            running.delete(request)
            begun.goOn()
            const { fresh, value } = await begun.done
            if (fresh !== undefined && value !== undefined) expect(fresh).toBeLessThanOrEqual(value)
          } else {
            const begins = begin(window)
            running.set(request, begins)
            await begins.asked
          }
          if (write) sharing.forget()
        }
      }),
      { numRuns: 300 },
    )
  })

  test('ends with a failure and with a write, and there is none outside a request', async () => {
    const { state, sharing, at } = world()
    state.fail = true
    await expect(sharing.together(() => at('a'))).rejects.toThrow('away')
    state.fail = false
    await sharing.together(() => at('a'))
    sharing.forget()
    await sharing.together(() => at('a'))
    await at('a')
    await at('a')
    expect(state.calls).toBe(5)
  })
})
