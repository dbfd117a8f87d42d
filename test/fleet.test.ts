/**
 * The simulated fleet: repeatable, within the contract, and telling one story in frame times and bitrate. (What a link does: link.test.ts.)
 */

import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { check } from '../ingest/contract/check.ts'
import type { BitrateEvent, FrameTimesEvent } from '../ingest/contract/events.ts'
import { decode } from '../ingest/load/decode.ts'
import { FOLLOWING } from '../ingest/runtime/config.ts'
import { DEFAULTS } from '../ingest/runtime/variables.ts'
import { Cadence, cutBlocks, readCaptures } from '../local/fleet/captures.ts'
import { readMaterial } from '../local/fleet/fleet.ts'
import { type FleetMessage, type GenerateOptions, generateEvents } from '../local/fleet/generate.ts'
import { simulatedStart, simulatedTime } from '../local/fleet/run.ts'
import { judge, type Stored } from '../local/fleet/verdict.ts'
import { chance } from '../query/statistics/weights.ts'

const START = 1_795_000_000_000
const LIMITS = FOLLOWING.limits(DEFAULTS)
const material = readMaterial()
const generate = (options: Partial<GenerateOptions> = {}): FleetMessage[] => [
  ...generateEvents({ seed: 1, sessions: 20, seconds: 30, start_ms: START, ...options }, material),
]
function groupBy<T>(items: readonly T[], keyOf: (item: T) => string): Map<string, T[]> {
  const groups = new Map<string, T[]>()
  for (const item of items) {
    const group = groups.get(keyOf(item))
    if (group) group.push(item)
    else groups.set(keyOf(item), [item])
  }
  return groups
}
const rawOf = (message: FleetMessage): Buffer | null =>
  message.event ? Buffer.from(JSON.stringify(message.event)) : message.value
const bytesOf = (messages: readonly FleetMessage[]) => messages.map(message => rawOf(message)?.toString('latin1'))

describe('a fleet', () => {
  test('says the same again for the same seed, byte by byte, and something else for another', () => {
    const options = { malformed: 0.01, resent: 0.01 }
    const first = bytesOf(generate(options))
    expect(bytesOf(generate(options))).toEqual(first)
    expect(bytesOf(generate({ ...options, seed: 2 }))).not.toEqual(first)
  })

  test('says nothing that the contract or the clock would refuse', () => {
    for (const message of generate({ sessions: 60, seconds: 60 })) {
      expect(check(rawOf(message))).toEqual({ event: message.event, extensions: 0 })
      expect(Math.abs((message.event?.sent_at_ms ?? 0) - message.at_ms)).toBeLessThan(1_000)
    }
  })

  test('says malformed things that are refused, each for its reason', () => {
    const malformed = generate({ sessions: 40, seconds: 60, malformed: 0.2 }).filter(({ reason }) => reason)
    for (const { value, reason, at_ms } of malformed.filter(message => message.reason !== undefined)) {
      expect(decode(value ?? null, null, at_ms, LIMITS)).toMatchObject({ refusal: { reason } })
    }
    expect(new Set(malformed.map(({ reason }) => reason)).size).toBe(8)
  })

  test('numbers the events of each speaker without a gap, in order of time', () => {
    const next = new Map<string, number>()
    let last_ms = 0
    for (const { event, at_ms } of generate({ sessions: 40, seconds: 300 })) {
      if (!event) continue
      const speaker = `${event.session_id} ${event.source}`
      expect(event.seq).toBe(next.get(speaker) ?? 0)
      next.set(speaker, event.seq + 1)
      expect(at_ms).toBeGreaterThanOrEqual(last_ms)
      last_ms = at_ms
    }
  })

  test('resends the very bytes of an event', () => {
    const messages = generate({ resent: 0.05 })
    const resent = messages.filter(message => message.event && message.resent)
    expect(resent.length).toBeGreaterThan(20)
    const before = new Set(bytesOf(messages.filter(message => message.event && !message.resent)))
    for (const bytes of bytesOf(resent)) expect(before).toContain(bytes)
  })

  test('holds its number of sessions, ends some for every reason that happens, and replaces them', () => {
    const messages = generate({ sessions: 300, seconds: 400 })
    const ended = messages.flatMap(({ event }) => (event?.kind === 'session' && event.state === 'ended' ? [event] : []))
    expect(new Set(ended.map(({ end_reason }) => end_reason))).toEqual(
      new Set(['user_quit', 'network', 'host_failure', 'client_crash', 'timeout']),
    )
    const playing = messages.filter(({ at_ms }) => at_ms >= START + 390_000).map(({ session_id }) => session_id)
    expect(new Set(playing).size).toBeGreaterThan(280)
    expect(new Set(messages.map(({ session_id }) => session_id)).size).toBeGreaterThan(400)
  })

  test('has contexts whose values go together', () => {
    for (const { event } of generate({ sessions: 200, seconds: 1 })) {
      if (!event) continue
      expect(Object.keys(event.context)).toHaveLength(12)
      if (event.context.device === 'phone') expect(event.context.access).toBe('cellular')
      if (event.context.isp === 'tellmo-3g') expect(event.context.access).toBe('cellular')
    }
  })

  test('covers all of a session’s time with intervals: from its first present to the last', () => {
    const bySession = groupBy(
      generate({ seconds: 60 }).flatMap(({ event }) => (event?.kind === 'frame_times' ? [event] : [])),
      ({ session_id }) => session_id,
    )
    for (const events of bySession.values()) {
      const [first] = events
      const last = events.at(-1)
      if (!first || !last) continue
      const sum_ms = events.flatMap(event => event.frame_time_us).reduce((sum, interval) => sum + interval, 0) / 1000
      const covered_ms =
        last.started_at_ms -
        first.started_at_ms +
        last.frame_time_us.reduce((sum, interval) => sum + interval, 0) / 1000
      expect(Math.abs(sum_ms - covered_ms)).toBeLessThan(2)
    }
  })
})

describe('simulated time', () => {
  test('is the real time at speed 1', () => {
    expect(simulatedTime(START + 5_000, START, 1, 60_000)).toBe(START + 5_000)
  })

  test('at speed S starts (S - 1) times the plan ago, arrives at the present when the plan is over, and never runs ahead', () => {
    expect(simulatedStart(START, 10, 60_000)).toBe(START - 540_000)
    expect(simulatedTime(START + 1_000, START, 10, 60_000)).toBe(START - 530_000)
    expect(simulatedTime(START + 60_000, START, 10, 60_000)).toBe(START + 60_000)
    expect(simulatedTime(START + 90_000, START, 10, 60_000)).toBe(START + 90_000)
  })
})

describe('a cadence', () => {
  test('is cut from captures into blocks of one to three seconds', () => {
    for (const capture of readCaptures()) {
      const mean = capture.frame_time_us.reduce((sum, interval) => sum + interval, 0) / capture.frame_time_us.length
      for (const { pace } of cutBlocks(capture)) {
        const length_us = pace.reduce((sum, one) => sum + one, 0) * mean
        expect(length_us).toBeGreaterThan(0.8e6)
        expect(length_us).toBeLessThanOrEqual(3e6)
      }
    }
  })

  test('never plays the same block twice in a row', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer({ min: 2, max: 12 }), (seed, count) => {
        const blocks = Array.from({ length: count }, () => ({
          capture: '',
          pace: new Float64Array([1]),
          hitches: false,
        }))
        const cadence = new Cadence(blocks, 60, chance(seed))
        let last = -1
        for (let i = 0; i < 100; i++) {
          cadence.next()
          expect(cadence.block).not.toBe(last)
          last = cadence.block
        }
      }),
    )
  })

  test('keeps the rate it is scaled to', () => {
    const cadence = new Cadence(material.blocks, 60, chance(1))
    let sum_us = 0
    for (let i = 0; i < 60_000; i++) sum_us += cadence.next()
    expect(sum_us / 1e9).toBeGreaterThan(0.96)
    expect(sum_us / 1e9).toBeLessThan(1.04)
  })
})

test('networks order as one expects: ethernet freezes least, 3G most, and bitrate goes the other way', () => {
  const events = generate({ seed: 3, sessions: 400, seconds: 120 }).flatMap(({ event }) =>
    event?.kind === 'frame_times' || event?.kind === 'bitrate' ? [event] : [],
  )
  const network = ({ context }: FrameTimesEvent | BitrateEvent) =>
    context.isp === 'tellmo-3g' ? '3g' : (context.access ?? '')
  const figures = Object.fromEntries(
    [...groupBy(events, network)].map(([name, group]) => {
      const intervals = group.flatMap(event => (event.kind === 'frame_times' ? event.frame_time_us : []))
      const time = intervals.reduce((sum, interval) => sum + interval, 0)
      const frozen = intervals.filter(interval => interval > 167_000).reduce((sum, interval) => sum + interval, 0)
      const rates = group.flatMap(event => (event.kind === 'bitrate' ? [event.bitrate_kbps] : []))
      return [
        name,
        { freeze_pct: (100 * frozen) / time, kbps: rates.reduce((sum, rate) => sum + rate, 0) / rates.length },
      ]
    }),
  )
  const { ethernet, wifi, cellular, '3g': third } = figures
  expect(ethernet?.freeze_pct).toBeLessThan(0.05)
  expect(wifi?.freeze_pct).toBeLessThan(0.3)
  expect(cellular?.freeze_pct).toBeLessThan(4)
  expect(third?.freeze_pct).toBeGreaterThan(4)
  const rates = [ethernet, wifi, cellular, third].map(one => one?.kbps ?? 0)
  expect(rates).toEqual([...rates].sort((a, b) => b - a))
})

describe('the verdict of a run', () => {
  const run = {
    playing: 0,
    behind_ms: 0,
    made: 100,
    sent: 100,
    waiting: 0,
    dropped: 0,
    resent: 3,
    malformed: 2,
    refused: 0,
  }
  const audited = { log_id: '1', kafka_partition: 0, first: 0, next: 105, missing: 0, doubled: 0, expired: 0 }
  const stored: Stored = {
    produced: 105,
    offsets: 105,
    rejected: 2,
    events: 100,
    events_expected: 100,
    cell_events: 100,
    unsettled_buckets: 0,
    audit: [audited],
  }
  const wrong = (differences: Partial<Stored>, ran = {}) =>
    judge({ ...run, ...ran }, { ...stored, ...differences }).filter(({ ok }) => !ok).length

  test('is good when every offset is one row, and every event is counted once', () => {
    expect(wrong({})).toBe(0)
  })

  test.each<[string, Partial<Stored>, object]>([
    ['an event was dropped before Kafka', {}, { made: 101, dropped: 1 }],
    ['Kafka has fewer messages than were acknowledged', { produced: 104, offsets: 104 }, {}],
    ['an offset has no row', { offsets: 104 }, {}],
    ['the log has a hole', { audit: [{ ...audited, missing: 1 }] }, {}],
    ['the log has an offset twice', { audit: [{ ...audited, doubled: 1 }] }, {}],
    ['a malformed message was taken for an event', { rejected: 1 }, {}],
    ['a number is missing', { events_expected: 101 }, {}],
    ['a bucket is not settled', { unsettled_buckets: 1 }, {}],
    ['cells count an event twice', { cell_events: 101 }, {}],
  ])('is bad when %s', (_, differences, ran) => {
    expect(wrong(differences, ran)).toBe(1)
  })
})
