/** Priors as a running process has them: read from the store bit by bit, kept while it is away. */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BitrateEvent, FrameTimesEvent, QualityEvent } from '../ingest/contract/events.ts'
import { createLog } from '../ingest/runtime/log.ts'
import { openStore } from '../ingest/store/clickhouse.ts'
import { settleSessions } from '../ingest/store/sessions.ts'
import { dueCoarser } from '../ingest/store/settle.ts'
import type { PriorContext } from '../query/abr/priors-cohorts.ts'
import { SPAN_S, spokenBy, sustainedBy, sustainedQuestion } from '../query/abr/priors-evidence.ts'
import { openPriors, PriorReader } from '../query/abr/priors-refresh.ts'
import { type Ask, createAsk } from '../query/metrics/question.ts'
import { chance } from '../query/statistics/weights.ts'
import { AskedApi } from './support/ask.ts'
import { sharedServices, unique } from './support/services.ts'
import { until } from './support/verify.ts'

const DEADLINE_MS = 30_000
const NOW_MS = Date.now()
const BEGUN_MS = Math.floor(NOW_MS / 3_600_000) * 3_600_000 - 2 * 3_600_000
const CONTEXT = { isp: 'a', region: 'west', access: 'wifi', device: 'tv', game: 'metro' } as const

let api: AskedApi
let ask: Ask
beforeAll(async () => {
  api = await AskedApi.start(sharedServices().clickhouse, unique('priors'), NOW_MS)
  ask = createAsk(api.store, () => {})
})
afterAll(() => api.close())

interface Played {
  readonly id: string
  readonly from_s?: number
  readonly seconds: number
  readonly context?: PriorContext
  readonly interval: (second: number) => Partial<BitrateEvent>
  readonly frame_us?: number
}

/** A second of bitrate and of frames each. */
function eventsOf({ id, from_s = 0, seconds, context = CONTEXT, interval, frame_us = 16_667 }: Played): QualityEvent[] {
  return Array.from({ length: seconds }, (_, i) => {
    const second = from_s + i
    const started_at_ms = BEGUN_MS + second * 1_000
    const times = { started_at_ms, sent_at_ms: started_at_ms + 1_000 }
    const envelope = { v: 1, session_id: id, source: 'client', context, ...times } as const
    const rate: BitrateEvent = {
      ...envelope,
      kind: 'bitrate',
      seq: 2 * second,
      interval_ms: 1_000,
      bitrate_kbps: 9_000,
      ...interval(second),
    }
    const frames: FrameTimesEvent = {
      ...envelope,
      kind: 'frame_times',
      seq: 2 * second + 1,
      target_fps: 60,
      frame_time_us: Array.from({ length: 3 }, () => frame_us),
    }
    return [rate, frames]
  }).flat()
}

async function play(...sessions: readonly Played[]): Promise<void> {
  await api.insert(sessions.flatMap(eventsOf))
  await settleSessions(api.store, await dueCoarser(api.store, 'session', BEGUN_MS / 1_000))
}
const limitedAt = (kbps: number) => () => ({ bitrate_kbps: kbps, target_bitrate_kbps: 2 * kbps })
const group = (n: number, context: PriorContext, kbps: number): Played[] =>
  Array.from({ length: n }, () => ({ id: randomUUID(), seconds: 20, context, interval: limitedAt(kbps) }))

describe('the evidence of a session', () => {
  test('is the same of its rows in the store and of its events', async () => {
    const uniform = chance(17)
    const some = (p: number, value: number) => (uniform() < p ? value : undefined)
    const without = <T extends object>(object: T) =>
      Object.fromEntries(Object.entries(object).filter(([, value]) => value !== undefined))
    const sessions = Array.from({ length: 60 }, (_, n): Played => {
      const [knows, limited, level] = [uniform(), uniform(), 2_000 + 20_000 * uniform()]
      const rates = Array.from({ length: 8 + (n % 40) }, () =>
        without({
          bitrate_kbps: Math.round(level * (0.5 + 0.5 * uniform())),
          target_bitrate_kbps: some(knows, Math.round(level * (uniform() < limited ? 1.4 : 0.4))),
          available_kbps: some(knows, Math.round(level * (0.8 + 0.7 * uniform()))),
          rtt_us: some(knows, Math.round(10_000 + 12_000 * uniform())),
          packets_received: some(knows, 1_000),
          packets_lost: some(knows, Math.round(4 * limited + 3 * uniform())),
        }),
      )
      return { id: randomUUID(), seconds: rates.length, interval: second => rates[second] ?? {} }
    })
    const events = sessions.flatMap(eventsOf)
    await api.insert(events)
    // Some arrive again.
    await api.insert(events.filter((_, i) => i % 7 === 0))
    const ids = sessions.map(({ id }) => id)
    const buckets = spokenBy(true, BEGUN_MS / 1_000, BEGUN_MS / 1_000 + 290)
    const rows = await ask(sustainedQuestion({ ids, short: true, buckets }))
    const told = new Map(rows.map(({ id, ...sustained }) => [id, sustained]))
    const kinds = new Set<boolean>()
    for (const { id } of sessions) {
      const own = events.filter((event): event is BitrateEvent => event.session_id === id && event.kind === 'bitrate')
      const expected = sustainedBy(own)
      if (expected === undefined) expect(told.has(id)).toBe(false)
      else {
        kinds.add(expected.censored)
        const { packet_loss_pct, rtt_p50_us, ...exact } = told.get(id) ?? { packet_loss_pct: null, rtt_p50_us: null }
        expect(exact).toEqual({ kbps: expected.kbps, censored: expected.censored, intervals: own.length })
        expect(packet_loss_pct ?? -1).toBeCloseTo(expected.packet_loss_pct ?? -1, 9)
        expect(rtt_p50_us ?? -1).toBeCloseTo(expected.rtt_p50_us ?? -1, 6)
      }
    }
    expect(kinds).toEqual(new Set([true, false]))
  })

  test('of a longer one is that of the first ten seconds of each minute of its last half hour', async () => {
    const id = randomUUID()
    const seconds = SPAN_S + 1_200
    const interval = (second: number) => limitedAt(second < 1_200 ? 2_000 : second % 60 < 10 ? 8_000 : 9_000)()
    await api.insert(eventsOf({ id, seconds, interval }))
    const last = BEGUN_MS / 1_000 + seconds - 10
    const [row] = await ask(sustainedQuestion({ ids: [id], short: false, buckets: spokenBy(false, last, last) }))
    expect(row).toMatchObject({ kbps: 8_000, censored: false, intervals: SPAN_S / 6 })
  })

  test('is asked of the ten seconds that any of its kind was heard in, and of few more', () => {
    expect(spokenBy(true, 1_000, 1_000)).toEqual(Array.from({ length: 30 }, (_, i) => 710 + 10 * i))
    expect(spokenBy(false, 3_610, 3_700)).toEqual(Array.from({ length: 31 }, (_, i) => 1_860 + 60 * i))
  })
})

/** Settling costs the same for a few sessions as for many: those of all tests play at once. */
const WEST = { isp: 'of-west', region: 'west', access: 'ethernet' } as const
const CELLULAR = { access: 'cellular' } as const
const growing = randomUUID()

describe('a reader', () => {
  beforeAll(async () => {
    await play(
      ...group(39, WEST, 5_000),
      { id: growing, seconds: 40, context: WEST, interval: limitedAt(5_000) },
      ...group(40, WEST, 1_000).map(session => ({ ...session, frame_us: 80_000 })),
      ...group(31, CELLULAR, 4_000),
      ...Array.from({ length: 9 }, (_, i) => group(50, { isp: `of-many-${i}` }, 3_000)).flat(),
    )
  })

  test('hears of who played, of who went on, and not of who stuttered', async () => {
    const reader = new PriorReader(ask)
    const first = (await reader.refresh(NOW_MS)).of(WEST)
    expect(first).toMatchObject({ level: 'isp+region+access', p10_kbps: 5_000, p90_kbps: 5_000 })
    expect(first.levels[0]).toEqual({ level: 'isp+region+access', n: 40 })

    // Twenty more join; one plays on, to three times its length, at another rate.
    const onward = { id: growing, from_s: 40, seconds: 80, context: WEST, interval: limitedAt(500) }
    await play(...group(20, WEST, 7_000), onward)
    const second = (await reader.refresh(NOW_MS)).of(WEST)
    expect(second.levels[0]).toEqual({ level: 'isp+region+access', n: 60 })
    expect(second).toMatchObject({ p25_kbps: 5_000, p75_kbps: 7_000 })
    // One of 60 is under a tenth, and is what the least of them says.
    const least = await new PriorReader(ask, { sessions_min: 1, start_share: 0.001, cap_share: 0.9 }).refresh(NOW_MS)
    expect(least.of(WEST).start_bitrate_kbps).toBe(500)
  })

  test('forgets a session after a day', async () => {
    const reader = new PriorReader(ask)
    expect((await reader.refresh(NOW_MS)).of(CELLULAR).p50_kbps).toBe(4_000)
    const tomorrow = (await reader.refresh(NOW_MS + 86_400_000)).of(CELLULAR)
    expect(tomorrow).toMatchObject({ p50_kbps: null, levels: [{ n: 0 }, { n: 0 }] })
  })

  test('of more sessions than it keeps has some, drawn by lot', async () => {
    const all = (await new PriorReader(ask).refresh(NOW_MS)).sessions
    expect(all).toBeGreaterThan(450)
    const some = (await new PriorReader(ask, undefined, 100).refresh(NOW_MS)).sessions
    expect(some).toBeLessThanOrEqual(100)
    // All that may stay, less the few that stutter and whose lot is another's too.
    expect(some).toBeGreaterThan(80)
  })

  test('answers from what was read last while the store is away', async () => {
    const away = openStore({ url: 'http://127.0.0.1:1', username: 'x', password: '', database: 'x' })
    let reached = createAsk(away, () => {})
    let refreshed = 0
    let asked = 0
    const counted: Ask = question => {
      asked++
      return reached(question)
    }
    const askedMore = (times: number): Promise<void> => {
      const before = asked
      return until('it asks on', DEADLINE_MS, () => asked > before + times)
    }
    const vitals = { refreshed: () => void refreshed++ }
    const priors = openPriors(counted, createLog('test', 'silent'), vitals, { every_ms: 10 })
    try {
      await askedMore(2)
      expect(priors.priorOf(CELLULAR)).toBeUndefined()
      expect(priors.as_of_ms).toBeNull()

      reached = ask
      await until('it was read', DEADLINE_MS, () => refreshed > 0)
      expect(priors.priorOf(CELLULAR)).toMatchObject({ level: 'access', p50_kbps: 4_000 })

      reached = createAsk(away, () => {})
      await askedMore(4)
      const { as_of_ms } = priors
      await askedMore(4)
      expect(priors.priorOf(CELLULAR)).toMatchObject({ level: 'access', p50_kbps: 4_000 })
      expect(priors.as_of_ms).toBe(as_of_ms)
    } finally {
      await priors.close()
      await away.close()
    }
  })
})
