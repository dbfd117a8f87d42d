/**
 * Exactly once, shown by killing: each thing that can die, in each step of an insert, while events flow. Afterwards every offset of
 * the topic is one row, every row says what its message said, and every cell is what its rows say.
 */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { Field } from './chaos/field.ts'
import { WINDOWS } from './chaos/proxy.ts'
import { KINDS } from './chaos/shots.ts'

let field: Field

beforeAll(async () => {
  field = await Field.start()
})

afterAll(async () => {
  await field?.stop()
})

describe('while events flow', () => {
  let lane = 0
  for (const kind of KINDS) {
    test.each(WINDOWS)(
      `${kind} at %s: the pipeline recovers`,
      async window => {
        const { landed } = await field.shoot({ kind, window }, lane++)
        expect(landed, 'the window opened').toBe(true)
      },
      300_000,
    )
  }
})

test('after all of that nothing is lost, nothing is doubled, and everything says what it should', async () => {
  const { audit, ...verdict } = await field.judge()
  expect(verdict).toEqual({ lost: 0, doubled: 0, different: 0, wrong_cells: 0, wrong_minutes: 0 })
  expect(audit.reduce((sum, row) => sum + row.next - row.first, 0)).toBeGreaterThanOrEqual(field.produced)
  expect(audit.every(row => row.expired === 0)).toBe(true)
}, 600_000)
