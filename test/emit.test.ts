/**
 * The emitter: bounded, numbered, in order, and honest about what was lost. Time is turned by hand; only the last test, through the
 * real broker, waits for anything.
 */
import fc from 'fast-check'
import { afterAll, describe, expect, test } from 'vitest'
import { check } from '../ingest/contract/check.ts'
import type { Clock } from '../ingest/emit/clock.ts'
import { createEmitter, type EmitterOptions, type EventDraft, type Message } from '../ingest/emit/emitter.ts'
import { createKafkaSender } from '../ingest/emit/kafka.ts'
import { type FetchedBatch, KafkaSource } from '../ingest/load/kafka.ts'
import { createLog } from '../ingest/runtime/log.ts'
import { runFleet } from '../local/fleet/run.ts'
import { sharedServices, stopServices, unique } from './support/services.ts'
import { until } from './support/verify.ts'

afterAll(stopServices)

const SESSION = '0f8fad5b-d9cb-469f-a165-70867728950e'
const START = 1_795_000_000_000
const bitrate: EventDraft = { kind: 'bitrate', started_at_ms: START, interval_ms: 1_000, bitrate_kbps: 15_000 }
const broken: EventDraft = { ...bitrate, bitrate_kbps: -1 }

/** A clock whose hands are turned by the test. */
class Hands implements Clock {
  #now = START
  #timers: { readonly at: number; readonly action: () => void }[] = []

  now(): number {
    return this.#now
  }

  after(ms: number, action: () => void): () => void {
    const timer = { at: this.#now + ms, action }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter(one => one !== timer)
    }
  }

  get timers(): number {
    return this.#timers.length
  }

  /** Lets time pass, timers run in order, and everything settle that waits for nothing else. */
  async turn(ms: number): Promise<void> {
    const until = this.#now + ms
    await settled()
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= until).sort((a, b) => a.at - b.at)[0]
      if (!next) break
      this.#now = Math.max(this.#now, next.at)
      this.#timers = this.#timers.filter(timer => timer !== next)
      next.action()
      await settled()
    }
    this.#now = until
  }
}

const settled = (): Promise<void> => new Promise(resolve => setImmediate(resolve))

/** A `send` that does as it is told, and remembers what arrived. */
class Broker {
  mode: 'takes' | 'fails' | 'hangs' = 'takes'
  batches: (readonly Message[])[] = []
  under_way = 0
  most_under_way = 0
  #hanging: { readonly messages: readonly Message[]; readonly end: (ok: boolean) => void }[] = []

  readonly send = async (messages: readonly Message[]): Promise<void> => {
    this.under_way++
    this.most_under_way = Math.max(this.most_under_way, this.under_way)
    try {
      if (this.mode === 'fails') throw new Error('no broker')
      if (this.mode === 'hangs') {
        const ok = await new Promise<boolean>(end => this.#hanging.push({ messages, end }))
        if (!ok) throw new Error('no broker after all')
      }
      this.batches.push(messages)
    } finally {
      this.under_way--
    }
  }

  /** Ends what hangs. */
  async release(ok: boolean): Promise<void> {
    for (const { end } of this.#hanging.splice(0)) end(ok)
    await settled()
  }

  get seqs(): number[] {
    return this.batches.flat().map(({ value }) => JSON.parse(value).seq)
  }
}

function setUp(options: Partial<EmitterOptions> = {}) {
  const clock = new Hands()
  const broker = new Broker()
  const dropped: number[] = []
  const emitter = createEmitter({
    session_id: SESSION,
    source: 'client',
    context: { game: 'ashen-drift', access: 'wifi' },
    send: broker.send,
    clock,
    random: () => 0.5,
    linger_ms: 100,
    batch_events: 10,
    onDrop: seq => dropped.push(seq),
    ...options,
  })
  const emit = (count: number) => {
    for (let i = 0; i < count; i++) emitter.emit(bitrate)
  }
  return { clock, broker, emitter, dropped, emit }
}

describe('an event', () => {
  test('is handed over as the contract wants it, stamped when it is handed over', async () => {
    const { clock, broker, emitter } = setUp()
    expect(emitter.emit(bitrate)).toBeUndefined()
    await clock.turn(100)
    const [message] = broker.batches.flat()
    expect(message?.key).toBe(SESSION)
    expect(check(Buffer.from(message?.value ?? '')).event).toEqual({
      ...bitrate,
      v: 1,
      session_id: SESSION,
      source: 'client',
      seq: 0,
      sent_at_ms: START + 100,
      context: { game: 'ashen-drift', access: 'wifi' },
    })
  })

  test('that breaks the contract is refused on the spot with the field, and its number is missing afterwards', async () => {
    const { clock, broker, emitter } = setUp()
    emitter.emit(bitrate)
    expect(emitter.emit(broken)).toEqual({ reason: 'bad_shape', detail: 'bitrate_kbps: must be >= 0' })
    emitter.emit(bitrate)
    await clock.turn(100)
    expect(broker.seqs).toEqual([0, 2])
    expect(emitter.stats()).toMatchObject({ made: 3, sent: 2, refused: 1, dropped: 0, buffered: 0, buffered_bytes: 0 })
  })

  test('made after closing is dropped and counted', async () => {
    const { emitter, dropped } = setUp()
    await emitter.close(1_000)
    emitter.emit(bitrate)
    expect(dropped).toEqual([0])
    expect(emitter.stats()).toMatchObject({ made: 1, dropped: 1, buffered: 0 })
  })
})

describe('a batch', () => {
  test('waits for its first event to have lingered', async () => {
    const { clock, broker, emit } = setUp()
    emit(1)
    await clock.turn(60)
    emit(1)
    await clock.turn(39)
    expect(broker.batches).toHaveLength(0)
    await clock.turn(1)
    expect(broker.batches.map(batch => batch.length)).toEqual([2])
  })

  test('goes at once when it has its number of events', async () => {
    const { broker, emit } = setUp()
    emit(10)
    await settled()
    expect(broker.batches.map(batch => batch.length)).toEqual([10])
  })

  test('goes at once when it has its bytes, and holds no more than those', async () => {
    const { clock, broker, emit } = setUp({ batch_bytes: 700, batch_events: 1_000 })
    emit(9)
    await clock.turn(100)
    expect(broker.seqs).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8])
    for (const batch of broker.batches) {
      expect(batch.reduce((sum, { value }) => sum + value.length, 0)).toBeLessThanOrEqual(700)
    }
  })

  test('is one at a time', async () => {
    const { clock, broker, emit } = setUp()
    broker.mode = 'hangs'
    emit(50)
    await clock.turn(10_000)
    expect(broker.most_under_way).toBe(1)
    broker.mode = 'takes'
    await broker.release(true)
    await clock.turn(100)
    expect(broker.seqs).toEqual(Array.from({ length: 50 }, (_, seq) => seq))
  })
})

describe('when sending fails', () => {
  test('it is tried again, ever more rarely up to the cap, and nothing is lost once it recovers', async () => {
    const { clock, broker, emitter, emit } = setUp({ retry_ms: 100, retry_max_ms: 1_000 })
    broker.mode = 'fails'
    emit(3)
    // Lingering 100, then 75 % of 100, 200, 400, 800, 1000, 1000 … by the dice of this test.
    await clock.turn(100 + 75 + 150 + 300 + 600 + 750 + 750)
    expect(emitter.stats()).toMatchObject({ failed_sends: 7, buffered: 3, sent: 0 })
    broker.mode = 'takes'
    await clock.turn(750)
    expect(broker.seqs).toEqual([0, 1, 2])
    expect(emitter.stats()).toMatchObject({ sent: 3, buffered: 0, buffered_bytes: 0 })
  })

  test('the second try is stamped anew: an old stamp would pass for a wrong clock', async () => {
    const { clock, broker, emit } = setUp({ retry_ms: 400_000, retry_max_ms: 400_000 })
    broker.mode = 'fails'
    emit(1)
    await clock.turn(100)
    broker.mode = 'takes'
    await clock.turn(300_000)
    expect(JSON.parse(broker.batches[0]?.[0]?.value ?? '{}').sent_at_ms).toBe(START + 300_100)
  })

  test('a send that throws at once is a failure, not an exception in the game loop', async () => {
    const { clock, emitter } = setUp({
      send: () => {
        throw new Error('not connected')
      },
    })
    emitter.emit(bitrate)
    await clock.turn(100)
    expect(emitter.stats()).toMatchObject({ failed_sends: 1, buffered: 1 })
  })
})

describe('when the buffer is full', () => {
  test('the oldest goes, is counted, and shows as a gap in seq', async () => {
    const { clock, broker, emitter, dropped, emit } = setUp({ max_buffered_events: 4 })
    broker.mode = 'fails'
    emit(10)
    await clock.turn(100)
    expect(dropped).toEqual([0, 1, 2, 3, 4, 5])
    broker.mode = 'takes'
    await clock.turn(1_000)
    expect(broker.seqs).toEqual([6, 7, 8, 9])
    expect(emitter.stats()).toMatchObject({ made: 10, sent: 4, dropped: 6 })
  })

  test('what is under way is neither dropped nor sent twice', async () => {
    const { clock, broker, dropped, emit } = setUp({ max_buffered_events: 10, batch_events: 5 })
    broker.mode = 'hangs'
    emit(5)
    await settled()
    emit(7)
    expect(dropped).toEqual([5, 6])
    broker.mode = 'takes'
    await broker.release(true)
    await clock.turn(200)
    expect(broker.seqs).toEqual([0, 1, 2, 3, 4, 7, 8, 9, 10, 11])
  })

  test('a failed batch is older than what came meanwhile and goes first', async () => {
    const { clock, broker, dropped, emit } = setUp({ max_buffered_events: 6, batch_events: 3 })
    broker.mode = 'hangs'
    emit(3)
    await settled()
    emit(3)
    await broker.release(false)
    emit(2)
    expect(dropped).toEqual([0, 1])
    broker.mode = 'takes'
    await clock.turn(1_000)
    expect(broker.seqs).toEqual([2, 3, 4, 5, 6, 7])
  })

  test('bytes bound it as events do', () => {
    const { broker, emitter, emit } = setUp({ max_buffered_bytes: 2_000 })
    broker.mode = 'hangs'
    for (let i = 0; i < 100; i++) {
      emit(1)
      expect(emitter.stats().buffered_bytes).toBeLessThanOrEqual(2_000)
    }
    expect(emitter.stats().dropped).toBeGreaterThan(80)
  })
})

describe('flush and close', () => {
  test('hand over without lingering and say that nothing is left', async () => {
    const { broker, emitter, emit } = setUp()
    emit(3)
    expect(await emitter.flush(1_000)).toBe(0)
    expect(broker.seqs).toEqual([0, 1, 2])
  })

  test('flush returns at its deadline with what is left, which is still sent later', async () => {
    const { clock, broker, emitter, emit } = setUp()
    broker.mode = 'hangs'
    emit(13)
    const left = emitter.flush(500)
    await clock.turn(500)
    expect(await left).toBe(13)
    broker.mode = 'takes'
    await broker.release(true)
    await clock.turn(100)
    expect(broker.seqs).toHaveLength(13)
  })

  test('flush does not sit out the back-off', async () => {
    const { clock, broker, emitter, emit } = setUp({ retry_ms: 60_000, retry_max_ms: 60_000 })
    broker.mode = 'fails'
    emit(2)
    await clock.turn(100)
    broker.mode = 'takes'
    expect(await emitter.flush(1_000)).toBe(0)
    expect(broker.seqs).toEqual([0, 1])
  })

  test('close drops what its deadline left, says how many, and leaves no timer behind', async () => {
    const { clock, broker, emitter, dropped, emit } = setUp()
    broker.mode = 'fails'
    emit(4)
    const left = emitter.close(2_000)
    await clock.turn(2_000)
    expect(await left).toBe(4)
    expect(dropped).toEqual([0, 1, 2, 3])
    expect(emitter.stats()).toMatchObject({ made: 4, sent: 0, dropped: 4, buffered: 0, buffered_bytes: 0 })
    expect(clock.timers).toBe(0)
  })
})

/** What may happen to an emitter, in any order. */
const happenings = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.record({ do: fc.constant('emit' as const), count: fc.integer({ min: 1, max: 8 }) }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('break' as const) }) },
    { weight: 4, arbitrary: fc.record({ do: fc.constant('wait' as const), ms: fc.integer({ min: 0, max: 400 }) }) },
    {
      weight: 2,
      arbitrary: fc.record({
        do: fc.constant('mode' as const),
        mode: fc.constantFrom('takes' as const, 'fails' as const, 'hangs' as const),
      }),
    },
    { weight: 2, arbitrary: fc.record({ do: fc.constant('release' as const), ok: fc.boolean() }) },
    { weight: 1, arbitrary: fc.record({ do: fc.constant('flush' as const), ms: fc.integer({ min: 1, max: 300 }) }) },
  ),
  { maxLength: 60 },
)

test('whatever happens: memory is bounded, order is kept, and every number is sent, dropped or refused exactly once', async () => {
  await fc.assert(
    fc.asyncProperty(
      happenings,
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 6 }),
      async (steps, max, batch) => {
        const refused: number[] = []
        const bounds = { max_buffered_events: max, max_buffered_bytes: 4_000, batch_events: batch }
        const { clock, broker, emitter, dropped, emit } = setUp(bounds)
        const hold = () => {
          const stats = emitter.stats()
          expect(stats.made).toBe(stats.sent + stats.refused + stats.dropped + stats.buffered)
          expect(stats.buffered).toBeLessThanOrEqual(max)
          expect(stats.buffered_bytes).toBeLessThanOrEqual(4_000)
        }
        for (const step of steps) {
          if (step.do === 'emit') emit(step.count)
          else if (step.do === 'break') {
            refused.push(emitter.stats().made)
            emitter.emit(broken)
          } else if (step.do === 'wait') await clock.turn(step.ms)
          else if (step.do === 'mode') broker.mode = step.mode
          else if (step.do === 'release') await broker.release(step.ok)
          else void emitter.flush(step.ms)
          hold()
        }
        broker.mode = 'takes'
        await broker.release(true)
        await clock.turn(60_000)
        expect(await emitter.close(1_000)).toBe(0)
        hold()
        expect(broker.most_under_way).toBeLessThanOrEqual(1)
        expect(broker.seqs).toEqual([...broker.seqs].sort((a, b) => a - b))
        const all = [...broker.seqs, ...dropped, ...refused].sort((a, b) => a - b)
        expect(all).toEqual(Array.from({ length: emitter.stats().made }, (_, seq) => seq))
        await clock.turn(1_000)
        expect(clock.timers).toBe(0)
      },
    ),
    { numRuns: 200 },
  )
})

test('through a real broker: all that a fleet of emitters counts as sent is there, a session on one partition, each speaker in order', async () => {
  const topic = unique('emit')
  const brokers = [sharedServices().brokers]
  const log = createLog('test', 'silent')
  const source = new KafkaSource({ brokers, topic, group_id: topic, session_timeout_ms: 10_000, log })
  await source.ensureTopic(4)
  const sender = createKafkaSender({ brokers, topic })
  await sender.connect()
  const fleet = runFleet({ sender, seed: 1, sessions: 25, speed: 30, planned_ms: 1_500, malformed: 0.01, resent: 0.05 })
  await until('the simulated clock has caught up', 30_000, () => fleet.stats().behind_ms === 0)
  const stats = await fleet.stop(15_000)
  await sender.disconnect()
  expect(stats).toMatchObject({ made: stats.sent, waiting: 0, dropped: 0, refused: 0 })
  expect(stats.sent).toBeGreaterThan(25 * 2 * 40)
  expect(stats.resent).toBeGreaterThan(0)
  expect(stats.malformed).toBeGreaterThan(0)

  const batches: FetchedBatch[] = []
  await source.start({
    // A consumer that starts again, as after "coordinator is loading", reads from the beginning again.
    onAssigned: () => void batches.splice(0),
    onHeartbeat: () => {},
    onUndelivered: () => {},
    onCrash: (error, restarts) => restarts || expect.unreachable(String(error)),
    onBatch: async batch => {
      batches.push(batch)
    },
  })
  const total = stats.sent + stats.resent + stats.malformed
  const read = () => batches.flatMap(({ partition, messages }) => messages.map(message => ({ partition, ...message })))
  await until('all of the topic was read', 30_000, () => read().length >= total)
  await source.stop()
  expect(read()).toHaveLength(total)

  const partitionOf = new Map<string, number>()
  const next = new Map<string, number>()
  const counts = { good: 0, resent: 0, malformed: 0 }
  for (const { partition, key, value } of read()) {
    expect(partitionOf.get(String(key)) ?? partition).toBe(partition)
    partitionOf.set(String(key), partition)
    const { event } = check(value)
    if (!event || Math.abs(event.started_at_ms - event.sent_at_ms) > 86_000_000) {
      counts.malformed++
      continue
    }
    const speaker = `${event.session_id} ${event.source}`
    const expected = next.get(speaker) ?? 0
    if (event.seq < expected) counts.resent++
    else {
      expect(event.seq).toBe(expected)
      next.set(speaker, expected + 1)
      counts.good++
    }
  }
  expect(counts).toEqual({ good: stats.sent, resent: stats.resent, malformed: stats.malformed })
})
