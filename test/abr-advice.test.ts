/** What a caller is told while little is heard: the same evidence moves nobody twice, and silence moves nobody at all. */
import { expect, test } from 'vitest'
import { adviceOn } from '../query/abr/advice.ts'
import { DEFAULT_LADDER } from '../query/abr/ladder.ts'
import { good, SETTLED } from './support/advised.ts'

test('while nothing new is heard, one step is made for what was bad, not one each time it is asked', () => {
  const live = { state: { ...good(12_000), open_frame_us: 400_000 }, context: {}, as_of_ms: 0, period_ms: 1_000 }
  const priors = { priorOf: () => undefined }
  for (const stale_after_ms of [500, 4_000, 60_000]) {
    let standing = { ...SETTLED, rung: '1440p60-25m' }
    const moves: string[] = []
    for (let now_ms = 1_000; now_ms < 20_000; now_ms += 1_000) {
      const knowledge = {
        ladder: DEFAULT_LADDER,
        stale_after_ms,
        sessions: { of: () => live, heard_ms: now_ms },
        priors,
      }
      const { rung } = adviceOn(knowledge, { session_id: 'any', context: {}, standing }, now_ms).recommendation
      if (rung !== standing.rung) moves.push(rung)
      standing = { ...standing, rung, since_ms: rung === standing.rung ? standing.since_ms + 1_000 : 1_000 }
    }
    expect(moves).toEqual([stale_after_ms === 500 ? '1080p60-15m' : '1080p60-10m'])
  }
})

test('silence takes nobody down, and nobody up', () => {
  for (const kbps of [12_000, 40_000]) {
    const live = { state: good(kbps), context: {}, as_of_ms: 0, period_ms: 1_000 }
    const sessions = { of: () => live, heard_ms: 3_000 }
    const knowledge = { ladder: DEFAULT_LADDER, stale_after_ms: 5_000, sessions, priors: { priorOf: () => undefined } }
    const told = adviceOn(knowledge, { session_id: 'any', context: {}, standing: SETTLED }, 3_000)
    expect(told).toMatchObject({ freeze_in_progress: true, recommendation: { rung: SETTLED.rung, reason: 'hold' } })
  }
})
