/** A simulated link and what it makes of a stream: it carries no more than fits, loses the rest, and keeps the order. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Cadence } from '../local/fleet/captures.ts'
import { ladderFor, RateController } from '../local/fleet/controller.ts'
import { readMaterial } from '../local/fleet/fleet.ts'
import { Link, type LinkProfile, PACKET_BITS } from '../local/fleet/link.ts'
import { Playout } from '../local/fleet/playout.ts'
import { type Span, Stream } from '../local/fleet/stream.ts'
import { type Trace, TraceCursor } from '../local/fleet/traces.ts'
import { chance } from '../query/statistics/weights.ts'

const material = readMaterial()
const PLAIN: LinkProfile = {
  scale: 1,
  base_rtt_us: 20_000,
  queue_us: 100_000,
  jitter_us: 1_000,
  packet_loss: 0,
  stalls_per_minute: 0,
  stall_us: 0,
}
const steady = (kbps: number): Trace => ({
  name: 'steady',
  kind: 'fixed',
  latency_ms: 20,
  duration_ms: [1_000],
  kbps: [kbps],
})
const traces = fc
  .array(fc.tuple(fc.integer({ min: 50, max: 5_000 }), fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 40_000 }))), {
    minLength: 1,
    maxLength: 20,
  })
  .filter(samples => samples.some(([, kbps]) => kbps > 0))
  .map(
    (samples): Trace => ({
      ...steady(0),
      duration_ms: samples.map(([duration]) => duration),
      kbps: samples.map(([, kbps]) => kbps),
    }),
  )
const sends = fc.array(fc.tuple(fc.integer({ min: 0, max: 60_000 }), fc.integer({ min: 1, max: 2_000_000 })), {
  maxLength: 200,
})

describe('a link', () => {
  test('loses what its queue cannot hold, never holds more, carries the rest, and keeps the order', () => {
    fc.assert(
      fc.property(traces, sends, fc.integer({ min: 0, max: 1_000_000_000 }), (trace, gaps, offset_us) => {
        const link = new Link(trace, PLAIN, offset_us, chance(1))
        let at_us = 0
        let offered_bits = 0
        let dropped_packets = 0
        let last_arrival_us = 0
        for (const [gap_us, bits] of gaps) {
          at_us += gap_us
          offered_bits += bits
          const delivery = link.send(at_us, bits)
          dropped_packets += delivery.packets_dropped
          expect(link.queued_bits).toBeLessThanOrEqual(link.queue_limit_bits * (1 + 1e-9))
          expect(delivery.packets_lost).toBeLessThanOrEqual(delivery.packets)
          expect(delivery.arrived_at_us).toBeGreaterThanOrEqual(Math.max(last_arrival_us, at_us))
          if (delivery.arrived_at_us < Number.POSITIVE_INFINITY) last_arrival_us = delivery.arrived_at_us
        }
        const { carried_bits, capacity_bits } = link.takeCarried()
        const lost_bits = offered_bits - carried_bits - link.queued_bits
        expect(carried_bits).toBeLessThanOrEqual(capacity_bits + 1e-3)
        expect(lost_bits).toBeGreaterThanOrEqual(-1e-3)
        expect(lost_bits).toBeLessThanOrEqual(dropped_packets * PACKET_BITS + 1e-3)
      }),
    )
  })

  test('never carries less for having more bandwidth, the queue being the same', () => {
    fc.assert(
      fc.property(traces, sends, fc.double({ min: 1, max: 5, noNaN: true }), (trace, gaps, more) => {
        const slow = new Link(trace, PLAIN, 0, chance(1))
        const fast = new Link(trace, { ...PLAIN, scale: more, queue_us: PLAIN.queue_us / more }, 0, chance(1))
        fc.pre(Math.abs(slow.queue_limit_bits / fast.queue_limit_bits - 1) < 1e-9)
        const carried = (link: Link) => {
          let at_us = 0
          let total = 0
          return gaps.map(([gap_us, bits]) => {
            at_us += gap_us
            link.send(at_us, bits)
            total += link.takeCarried().carried_bits
            return total
          })
        }
        const [less, no_less] = [carried(slow), carried(fast)]
        for (const [index, bits] of less.entries()) expect(no_less[index]).toBeGreaterThanOrEqual(bits - 1)
      }),
    )
  })

  test('foresees when bits will be carried as time then tells', () => {
    fc.assert(
      fc.property(
        traces,
        fc.integer({ min: 1, max: 5_000_000 }),
        fc.integer({ min: 0, max: 10_000_000 }),
        (trace, bits, offset_us) => {
          const cursor = new TraceCursor(trace, 1, offset_us)
          const at_us = cursor.carriedAt(bits, 1e9)
          fc.pre(at_us < Number.POSITIVE_INFINITY)
          let capacity = 0
          cursor.advance(at_us, one => {
            capacity += one
          })
          expect(Math.abs(capacity - bits)).toBeLessThan(1)
        },
      ),
    )
  })
})

/** A 60 fps stream over a trace, second by second. */
function play(trace: Trace, seconds: number, profile: LinkProfile = PLAIN, seed = 1): Span[] {
  const random = chance(seed)
  const stream = new Stream({
    cadence: new Cadence(material.blocks, 60, random),
    link: new Link(trace, profile, 0, random),
    controller: new RateController(ladderFor(60, 15_000)),
    playout: new Playout(
      { decode_us: 3_000, hiccup_chance: 0, hiccup_us: 0, repairable: 0.05 },
      profile.base_rtt_us,
      random,
    ),
    base_rtt_us: profile.base_rtt_us,
    random,
  })
  return Array.from({ length: seconds }, (_, second) => stream.advance((second + 1) * 1_000_000))
}

const total = (spans: readonly Span[], of: (span: Span) => number): number =>
  spans.reduce((sum, span) => sum + of(span), 0)
const longestGap = (spans: readonly Span[]): number => {
  const shown = spans.flatMap(span => span.shown_at_us)
  return Math.max(...shown.map((at_us, index) => at_us - (shown[index - 1] ?? at_us)))
}

describe('a stream', () => {
  test('shows, drops or still owes every frame it sent, in order, whatever the network', () => {
    fc.assert(
      fc.property(traces, fc.integer(), (trace, seed) => {
        const spans = play(trace, 12, { ...PLAIN, packet_loss: 0.001, stalls_per_minute: 10, stall_us: 100_000 }, seed)
        const shown = spans.flatMap(span => span.shown_at_us)
        const sent = total(spans, span => span.frames_sent)
        const dropped = total(spans, span => span.frames_dropped)
        expect(shown.length + dropped + (spans.at(-1)?.frames_pending ?? 0)).toBe(sent)
        for (const [index, at_us] of shown.entries()) expect(at_us).toBeGreaterThan(shown[index - 1] ?? 0)
      }),
      { numRuns: 50 },
    )
  })

  test('climbs to the rung that the bandwidth allows, and no higher', () => {
    const final = (kbps: number) => play(steady(kbps), 60).at(-1)?.rung.name
    expect([3_500, 8_000, 14_000, 60_000].map(final)).toEqual([
      '540p60-2.5m',
      '720p60-5m',
      '1080p60-10m',
      '1080p60-15m',
    ])
  })

  test('on a wide and steady line is clean', () => {
    const spans = play(steady(60_000), 120)
    expect(total(spans, span => span.packets_lost)).toBe(0)
    expect(total(spans, span => span.frames_dropped)).toBe(0)
    expect(longestGap(spans)).toBeLessThan(166_000)
  })

  test('shows a collapse below the lowest rung in both stories at once: freezes and drops, loss and a low rate', () => {
    const collapse: Trace = { ...steady(20_000), duration_ms: [20_000, 6_000, 600_000], kbps: [20_000, 200, 20_000] }
    const spans = play(collapse, 40)
    const during = spans.slice(20, 26)
    expect(total(during, span => span.packets_lost)).toBeGreaterThan(50)
    expect(total(during, span => span.frames_dropped)).toBeGreaterThan(100)
    expect(total(during, span => span.carried_kbps) / 6).toBeLessThan(250)
    expect(longestGap(spans)).toBeGreaterThan(1_000_000)
    expect(Math.max(...during.map(span => span.rtt_us))).toBeGreaterThan(200_000)
    expect(during.at(-1)?.rung.name).toBe('360p60-1m')
    const after = spans.slice(32)
    expect(total(after, span => span.packets_lost)).toBe(0)
    expect(total(after, span => span.frames_dropped)).toBe(0)
  })
})
