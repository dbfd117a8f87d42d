/**
 * The loader's and the settler's decisions, without Kafka or ClickHouse: positions, the ends of a log, when a bucket is worth settling.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { createAdmission, NEW_VALUES_PER_FIELD_AND_DAY, OTHER } from '../ingest/load/admit.ts'
import { compareEnds, fetchPosition, type Gate, place, verifySameLog } from '../ingest/load/gate.ts'
import { Partitions } from '../ingest/load/partitions.ts'
import { chooseEnded, inBacklog, nextEarly, oursOf, quietOf, type Watch } from '../ingest/load/schedule.ts'
import type { DueBucket } from '../ingest/store/settle.ts'

describe('a partition’s gate', () => {
  const gate: Gate = { partition: 0, next: 100, verify_appended_at_ms: undefined }
  const unverified: Gate = { ...gate, verify_appended_at_ms: 5_000 }

  test('lets in only what was fetched from exactly where the data ends', () => {
    fc.assert(
      fc.property(fc.nat(200), offset => {
        expect(place(gate, offset)).toBe(offset === 100 ? 'in_order' : 'elsewhere')
      }),
    )
  })

  test('after a take asks for the last stored record first, to see that it is the same log', () => {
    expect(fetchPosition(unverified)).toBe(99)
    expect(verifySameLog(unverified, 99, 5_000)).toBe(true)
    expect(verifySameLog(unverified, 99, 5_001)).toBe(false)
    expect(verifySameLog(unverified, 100, 5_000)).toBe(false)
  })

  test('knows a log that is shorter than what is stored of it for another one', () => {
    expect(compareEnds(gate, 0, 99)).toEqual({ ok: false })
    expect(compareEnds(gate, 0, 100)).toEqual({ ok: true })
  })

  test('knows offsets that expired before they were read', () => {
    expect(compareEnds(gate, 150, 200)).toEqual({ ok: true, expired: 150 })
    expect(compareEnds(gate, 100, 200)).toEqual({ ok: true })
  })
})

describe('how far an ingester is', () => {
  const gateAt = (partition: number, next: number): Gate => ({ partition, next, verify_appended_at_ms: undefined })
  const partitionsAt = (stored: readonly [next: number, last_appended_at_ms: number | undefined][]): Partitions => {
    const ours = new Partitions()
    ours.take({
      lease: { log_id: 'topic#1', writer: 'w', partitions: [0, 2] },
      gates: stored.map(([next], i) => gateAt(2 * i, next)),
      progress: new Map(stored.map(([next, last_appended_at_ms], i) => [2 * i, { next, last_appended_at_ms }])),
      topic_partitions: 4,
    })
    return ours
  }
  const now = 1_795_000_000_000

  test('is unknown of a partition it has not fetched from', () => {
    const ours = partitionsAt([
      [100, 1_000],
      [100, 2_000],
    ])
    ours.noteFetched(0, 130)
    expect([ours.unread, ours.unstored, ours.unknown, ours.lag]).toEqual([30, 30, 1, [[0, 30]]])
  })

  test('has passed what the slowest of its partitions with a backlog has passed, and all where none has one', () => {
    const ours = partitionsAt([
      [100, 1_000],
      [100, 2_000],
    ])
    ours.noteFetched(0, 130)
    ours.noteFetched(2, 130)
    expect(ours.passed_ms(now)).toBe(1_000)
    ours.noteStored(0, { next: 130, last_appended_at_ms: 5_000 })
    expect(ours.passed_ms(now)).toBe(2_000)
    ours.noteStored(2, { next: 130, last_appended_at_ms: 5_000 })
    expect(ours.passed_ms(now)).toBe(now)
  })

  test('and nothing where one was not fetched from, or nothing of it is stored', () => {
    const ours = partitionsAt([
      [100, 1_000],
      [0, undefined],
    ])
    ours.noteFetched(0, 100)
    expect(ours.passed_ms(now)).toBe(Number.NEGATIVE_INFINITY)
    ours.noteFetched(2, 130)
    expect(ours.passed_ms(now)).toBe(Number.NEGATIVE_INFINITY)
  })

  test('it has the turns of the partitions it holds, around the topic, and none while it is without', () => {
    const ours = partitionsAt([
      [100, 1_000],
      [100, 2_000],
    ])
    expect([0, 1, 2, 3, 4, 5, 6].filter(n => ours.hasTurn(n))).toEqual([0, 2, 4, 6])
    ours.leave()
    expect(ours.hasTurn(0)).toBe(false)
  })
})

describe('a changed bucket is settled', () => {
  const T = 1_795_000_000
  const end = (T + 10) * 1_000
  const now = end + 1_000
  const bucket = (rows: number): DueBucket => ({ t: T, rows, settled_at_ms: 0 })

  test('once it has gone quiet, and until then it is told when that will be', () => {
    const watched = new Map<number, Watch>()
    const due = [bucket(10)]
    const later = { quiet: [], next_ms: now + 2_000 }
    expect(quietOf(due, watched, now)).toEqual(later)
    expect(quietOf(due, watched, now + 1_900)).toEqual(later)
    expect(quietOf(due, watched, now + 2_000)).toEqual({ quiet: due, next_ms: Number.POSITIVE_INFINITY })
  })

  test('not before it has ended', () => {
    const watched = new Map<number, Watch>()
    const due = [bucket(10)]
    quietOf(due, watched, end - 9_000)
    expect(quietOf(due, watched, end - 1)).toEqual({ quiet: [], next_ms: end })
    expect(quietOf(due, watched, end).quiet).toEqual(due)
  })

  test('later while a backlog is worked off and a partition has yet to pass it', () => {
    const watched = new Map<number, Watch>()
    const due = [bucket(10)]
    quietOf(due, watched, now, end)
    expect(quietOf(due, watched, now + 14_000, end)).toEqual({ quiet: [], next_ms: now + 15_000 })
    expect(quietOf(due, watched, now + 14_000, end + 5_000).quiet).toEqual(due)
    expect(quietOf(due, watched, now + 15_000, end).quiet).toEqual(due)
  })

  test('later if a row arrived meanwhile', () => {
    const watched = new Map<number, Watch>()
    quietOf([bucket(10)], watched, now)
    expect(quietOf([bucket(11)], watched, now + 2_000).quiet).toEqual([])
    expect(quietOf([bucket(11)], watched, now + 4_000).quiet).toEqual([bucket(11)])
  })

  test('before that only as often as it costs a tenth of a core', () => {
    expect(nextEarly(now, 10)).toBe(now + 2_500)
    expect(nextEarly(now, 2_000)).toBe(now + 20_000)
  })

  test('and is forgotten once it is settled', () => {
    const watched = new Map<number, Watch>()
    quietOf([bucket(1)], watched, now)
    quietOf([], watched, now)
    expect(watched.size).toBe(0)
  })
})

describe('what several ingesters could settle', () => {
  const now = 1_795_000_000_000
  const chosen = [0, 10, 20].map(t => ({ t, rows: 1, settled_at_ms: 0 }))
  const turnOfTen = ({ t }: { t: number }): boolean => t === 10

  test('is settled by the one whose turn it is', () => {
    expect(oursOf(chosen, new Map(), now, turnOfTen)).toEqual([chosen[1]])
  })

  test('and by the others where that one has let it go by', () => {
    const passed = new Map<number, number>()
    oursOf(chosen.slice(0, 2), passed, now, turnOfTen)
    expect(oursOf(chosen, passed, now + 59_000, turnOfTen)).toEqual([chosen[1]])
    expect(oursOf(chosen, passed, now + 60_000, turnOfTen)).toEqual(chosen.slice(0, 2))
    oursOf([], passed, now + 61_000, turnOfTen)
    expect(oursOf(chosen, passed, now + 62_000, turnOfTen)).toEqual([chosen[1]])
  })
})

describe('a backlog', () => {
  const none = { beyond_a_batch: false, unstored: 0, stored_age_ms: 0, passed_ms: 0 }

  test('begins where Kafka has more than one batch holds', () => {
    expect(inBacklog(false, { ...none, unstored: 60, stored_age_ms: 30_000 })).toBe(false)
    expect(inBacklog(false, { ...none, beyond_a_batch: true })).toBe(true)
  })

  test('ends when all of it is stored, or what is stored is live again, and not while its last rows are on their way', () => {
    const last = { ...none, unstored: 60, stored_age_ms: 30_000 }
    expect(inBacklog(true, last)).toBe(true)
    expect(inBacklog(true, { ...last, unstored: 0 })).toBe(false)
    expect(inBacklog(true, { ...last, stored_age_ms: 1_000 })).toBe(false)
  })
})

describe('a minute is settled', () => {
  const T = 1_795_000_020 - (1_795_000_020 % 60)
  const due = [{ t: T, rows: 10, settled_at_ms: 0 }]
  const secondsIn = (seconds: number) => (T + seconds) * 1_000

  test('when it has ended and all its cells are settled', () => {
    expect(chooseEnded('minute', due, new Set(), secondsIn(59))).toEqual([])
    expect(chooseEnded('minute', due, new Set([T + 50]), secondsIn(70))).toEqual([])
    expect(chooseEnded('minute', due, new Set(), secondsIn(70))).toEqual(due)
  })

  test('at last even while late events keep one of its cells changing', () => {
    expect(chooseEnded('minute', due, new Set([T + 50]), secondsIn(60 + 61))).toEqual(due)
  })

  test('not before its cells while a backlog is worked off, however long ago it ended', () => {
    const HOUR_S = 3_600
    const read_at_ms = secondsIn(HOUR_S)
    expect(chooseEnded('minute', due, new Set([T + 50]), secondsIn(HOUR_S + 59), read_at_ms)).toEqual([])
    expect(chooseEnded('minute', due, new Set([T + 50]), secondsIn(HOUR_S + 60), read_at_ms)).toEqual(due)
    expect(chooseEnded('minute', due, new Set(), secondsIn(HOUR_S), read_at_ms)).toEqual(due)
  })
})

describe('context values', () => {
  test('beyond the daily number of new ones become (other), and are counted', () => {
    let others = 0
    let now = 0
    const admit = createAdmission(
      () => others++,
      () => now,
    )
    for (let i = 0; i < NEW_VALUES_PER_FIELD_AND_DAY; i++) expect(admit('isp', `isp-${i}`)).toBe(`isp-${i}`)
    expect(admit('isp', 'one more')).toBe(OTHER)
    expect(admit('isp', 'isp-0')).toBe('isp-0')
    expect(admit('game', 'one more')).toBe('one more')
    expect(others).toBe(1)
    now = 86_400_000
    expect(admit('isp', 'one more')).toBe('one more')
  })
})
