/**
 * What nobody should send, through the whole pipeline. Every bad message becomes one row with its reason, its bytes and its place in
 * Kafka; no good neighbour is held up, lost or doubled; and what Kafka itself leaves out of a log is accounted for.
 */
import type { IHeaders, KafkaMessage } from 'kafkajs'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { FrameTimesEvent } from '../ingest/contract/events.ts'
import { REASONS, REFUSED_BYTES_KEPT, type Reason } from '../ingest/contract/refusal.ts'
import type { RawMessage } from '../ingest/emit/kafka.ts'
import { auditPartitions } from '../ingest/store/audit.ts'
import { sessionId } from './support/events.ts'
import { DEADLINE_MS, Pipeline, type Place } from './support/pipeline.ts'
import { stopServices } from './support/services.ts'
import { until } from './support/verify.ts'

const DAY_MS = 86_400_000
const DAYS = 150
/** So that events of 150 days may come, and nothing they become expires. */
const KEEPS_LONG = { TOO_OLD_HOURS: '3720', RAW_RETENTION_DAYS: '200', CELL_RETENTION_DAYS: '200' }

function frameTimes(n: number, seq: number, more: Partial<Record<string, unknown>> = {}): FrameTimesEvent {
  const now = Date.now()
  const event: FrameTimesEvent = {
    v: 1,
    kind: 'frame_times',
    session_id: sessionId(n),
    source: 'client',
    seq,
    started_at_ms: now - 1_000,
    sent_at_ms: now,
    context: { game: 'poison' },
    target_fps: 60,
    frame_time_us: [16_667, 16_666, 33_333],
  }
  return { ...event, ...more }
}

const bytes = (text: string): Buffer => Buffer.from(text, 'latin1')
/** A valid event's text with one place in it changed. */
const changed = (from: string | RegExp, to: string): Buffer =>
  bytes(JSON.stringify(frameTimes(1, 0)).replace(from, () => to))
const withField = (name: string, json: string): Buffer => changed('{', `{${JSON.stringify(name)}:${json},`)
const nested = (depth: number): string => `${'['.repeat(depth)}${']'.repeat(depth)}`

const SIXTEEN_MB = 16 * 1024 * 1024

/** Name → what is sent, and the reason it is refused for. */
const POISON: Readonly<Record<string, readonly [Reason, Buffer | null]>> = {
  'JSON cut short': ['not_json', bytes(JSON.stringify(frameTimes(1, 0)).slice(0, -20))],
  'an empty value': ['not_json', Buffer.alloc(0)],
  'no value': ['tombstone', null],
  'malformed UTF-8': ['not_json', changed('poison', 'poi\xc3\x28son')],
  'an encoded surrogate': ['not_json', changed('poison', '\xed\xa0\x80')],
  'NUL bytes alone': ['not_json', Buffer.alloc(64)],
  'a NUL byte inside': ['not_json', changed('poison', 'poi\0son')],
  'a NUL byte, escaped': ['bad_shape', changed('poison', 'poi\\u0000son')],
  'bytes of any kind, more than are kept': [
    'not_json',
    Buffer.from(Array.from({ length: 200_000 }, (_, i) => (i * 7_919) >> 3)),
  ],
  'just over the limit': ['too_large', Buffer.alloc(256 * 1024 + 1, '{')],
  '16 MiB': ['too_large', Buffer.alloc(SIXTEEN_MB, JSON.stringify(frameTimes(1, 0)))],
  'deep nesting': ['not_an_object', bytes(nested(120_000))],
  'deep nesting in a field': ['bad_shape', withField('deeper', nested(100_000))],
  'deep nesting, cut short': ['not_json', bytes(nested(100_000).slice(0, 150_000))],
  'a string': ['not_an_object', bytes('"frame_times"')],
  null: ['not_an_object', bytes('null')],
  'a __proto__': ['bad_shape', withField('__proto__', '{"polluted":true}')],
  'a __proto__ in the context': ['bad_shape', changed('{"game"', '{"__proto__":{"polluted":true},"game"')],
  'a constructor': ['bad_shape', withField('constructor', '{"prototype":{"polluted":true}}')],
  'a __proto__ for a kind': ['unknown_kind', changed('"frame_times"', '"__proto__"')],
  'a number beyond 2^53': ['bad_shape', changed('"seq":0', '"seq":9007199254740993')],
  'a number beyond 2^64': ['bad_shape', changed('"seq":0', '"seq":18446744073709551616')],
  'less than nothing': ['bad_shape', changed('"seq":0', '"seq":-1')],
  'frames of -1': ['bad_shape', changed('16667', '-1')],
  'frames of 1e40': ['bad_shape', changed('16667', '1e40')],
  'frames of 1e400': ['bad_shape', changed('16667', '1e400')],
  'half a microsecond': ['bad_shape', changed('16667', '16666.5')],
  'epoch seconds': ['too_old', changed(/"started_at_ms":\d+/, `"started_at_ms":${Math.floor(Date.now() / 1_000)}`)],
  'epoch seconds in both times': [
    'bad_shape',
    bytes(JSON.stringify(frameTimes(1, 0)).replace(/_at_ms":(\d+)\d{3}\b/g, '_at_ms":$1')),
  ],
  'an event of too long ago': ['too_old', Buffer.from(JSON.stringify(daysAgo(DAYS + 6)))],
  'an event of tomorrow': ['from_future', Buffer.from(JSON.stringify(daysAgo(-1)))],
  'another version': ['unknown_version', changed('"v":1', '"v":2')],
  'another kind': ['unknown_kind', changed('"frame_times"', '"frame_lines"')],
  'an unknown field': ['bad_shape', withField('fps', '60')],
  'an unknown field in the context': ['bad_shape', changed('{"game"', '{"mood":"fine","game"')],
  'an upper-case session': ['bad_shape', changed(sessionId(1), sessionId(0xabc).toUpperCase())],
}

function daysAgo(days: number): FrameTimesEvent {
  return frameTimes(2, 1_000 + days, { started_at_ms: Date.now() - days * DAY_MS })
}

const CASE = 'case'
const headers = (name: string): Record<string, string> => ({ [CASE]: name })
const caseOf = (headers: IHeaders | undefined): string => String(headers?.[CASE] ?? '')

/** Each bad message between two good ones; their keys are as odd as theirs. */
function interleaved(): RawMessage[] {
  const binary = Buffer.from([0, 255, 192, 128, 10])
  const keys = [null, binary, sessionId(3), '', 'x'.repeat(1_000)]
  return Object.entries(POISON).flatMap(([name, [, value]], i) => {
    const key = keys[i % keys.length] ?? null
    const good = { key, value: JSON.stringify(frameTimes(3, i)), headers: headers(`good ${i}`) }
    return [good, { key, value, headers: headers(name) }]
  })
}

const EXTENSIONS: RawMessage[] = [
  { ext_mood: 'fine', ext_deeper: JSON.parse(nested(1_000)) },
  { context: { game: 'poison', ext_seat: { row: 4 } }, ext___proto__: null },
].map((more, i) => ({ key: sessionId(4), value: JSON.stringify({ ...frameTimes(4, i), ...more }) }))

const ofAllDays = Array.from({ length: DAYS }, (_, days) => daysAgo(days + 1))

let pipeline: Pipeline

beforeAll(async () => {
  pipeline = await Pipeline.start('poison', KEEPS_LONG)
}, 240_000)

afterAll(async () => {
  await pipeline?.close()
  await stopServices()
}, 120_000)

interface RejectedRow {
  readonly place: Place
  readonly reason: Reason
  readonly detail: string
  readonly key64: string
  readonly bytes64: string
  readonly bytes_total: number
}
const rejectedRows = (): Promise<RejectedRow[]> =>
  pipeline.store.query<RejectedRow>(
    `SELECT concat(toString(kafka_partition), '/', toString(kafka_offset)) AS place, reason, detail, bytes_total,
       base64Encode(kafka_key) AS key64, base64Encode(bytes) AS bytes64 FROM events_v1 WHERE kind = 'rejected'`,
  )

/** Every offset is one row, and Kafka knows how far we are. */
async function expectAllAccountedFor(expired = 0): Promise<void> {
  const audit = await auditPartitions(pipeline.store)
  expect(audit.length).toBeGreaterThan(0)
  for (const row of audit) expect(row).toMatchObject({ missing: 0, doubled: 0 })
  expect(audit.reduce((all, row) => all + row.expired, 0)).toBe(expired)
  const next = new Map(audit.map(row => [row.kafka_partition, row.next]))
  await pipeline.admin(async admin => {
    for (const { partition, high } of await admin.fetchTopicOffsets(pipeline.topic))
      expect(next.get(partition) ?? 0).toBe(Number(high))
    await until('offsets committed to the end of the log', DEADLINE_MS, async () => {
      const [committed] = await admin.fetchOffsets({ groupId: pipeline.topic, topics: [pipeline.topic] })
      return [...next].every(([p, end]) => committed?.partitions.find(c => c.partition === p)?.offset === String(end))
    })
  })
}

describe('poison between good events', () => {
  let messages: Map<Place, KafkaMessage>

  beforeAll(async () => {
    const days = { key: 'days', messages: ofAllDays.map(event => ({ key: 'days', value: JSON.stringify(event) })) }
    for (const { key, value, headers } of interleaved())
      await pipeline.sender.sendRaw([{ key, value, ...(headers ? { headers } : {}) }])
    await pipeline.sender.sendRaw([...days.messages, ...EXTENSIONS])
    await pipeline.stored()
    messages = await pipeline.messages()
  }, 300_000)

  test.each(Object.entries(POISON))('%s is kept with its reason, bytes and place', async (name, [reason, value]) => {
    const [place, message] = [...messages].find(([, { headers }]) => caseOf(headers) === name) ?? []
    const row = (await rejectedRows()).find(rejected => rejected.place === place)
    expect(row).toMatchObject({ reason, bytes_total: value?.length ?? 0 })
    expect(row?.detail.length).toBeLessThanOrEqual(200)
    const kept = Buffer.from(row?.bytes64 ?? '', 'base64')
    expect(kept.equals((value ?? Buffer.alloc(0)).subarray(0, REFUSED_BYTES_KEPT))).toBe(true)
    expect(row?.key64).toBe((message?.key ?? Buffer.alloc(0)).toString('base64'))
  })

  test('nothing else is refused, and every good neighbour is stored', async () => {
    expect(await rejectedRows()).toHaveLength(Object.keys(POISON).length)
    const stored = await pipeline.store.query<{ session_id: string; seq: number; frames: number[]; place: Place }>(
      `SELECT session_id, seq, frame_time_us AS frames, concat(toString(kafka_partition), '/', toString(kafka_offset)) AS place
       FROM events_v1 WHERE kind = 'frame_times'`,
    )
    expect(stored).toHaveLength(messages.size - Object.keys(POISON).length)
    for (const { place, session_id, seq, frames } of stored) {
      const said: FrameTimesEvent = JSON.parse(String(messages.get(place)?.value))
      expect({ session_id, seq, frames }).toEqual({
        session_id: said.session_id,
        seq: said.seq,
        frames: said.frame_time_us,
      })
    }
  })

  test('extension fields are ignored and counted', async () => {
    const rows = await pipeline.store.query<{ extensions: number }>(
      'SELECT extensions FROM events_v1 WHERE session_id = {id:UUID} ORDER BY seq',
      { id: sessionId(4) },
    )
    expect(rows.map(row => row.extensions)).toEqual([2, 2])
    expect(await pipeline.vital('ingest_extension_fields_total')).toBe(4)
  })

  test('a batch of 150 different days is one insert, and every day is settled', async () => {
    const [inserted] = await pipeline.store.query<{ days: number; inserts: number }>(
      `SELECT uniqExact(toDate(at)) AS days, uniqExact(ingested_at) AS inserts FROM events_v1 WHERE session_id = {id:UUID}`,
      { id: sessionId(2) },
    )
    expect(inserted).toEqual({ days: DAYS, inserts: 1 })
    await pipeline.settled()
    const [settled] = await pipeline.store.query<{ cells: number; minutes: number }>(
      `SELECT count() AS cells, (SELECT count() FROM quality_per_minute_v1 FINAL WHERE session_id = {id:UUID}) AS minutes
       FROM quality_per_10s_v1 FINAL WHERE session_id = {id:UUID}`,
      { id: sessionId(2) },
    )
    expect(settled).toEqual({ cells: DAYS, minutes: DAYS })
  }, 180_000)

  test('every offset is one row, and Kafka knows', () => expectAllAccountedFor())

  test('the vitals count what the table holds, reason by reason', async () => {
    const rows = await pipeline.store.query<{ reason: Reason; n: number }>(
      "SELECT reason, count() AS n FROM events_v1 WHERE kind = 'rejected' GROUP BY reason",
    )
    const held = new Map(rows.map(({ reason, n }) => [reason, n]))
    expect([...held.keys()].sort()).toEqual([...REASONS].sort())
    for (const reason of REASONS)
      expect(await pipeline.vital('ingest_rejects_total', `{reason="${reason}"}`), reason).toBe(held.get(reason))
  })

  test('nobody’s prototype was touched', () => expect(Object.hasOwn(Object.prototype, 'polluted')).toBe(false))
})

describe('what Kafka leaves out', () => {
  interface GapRow {
    readonly reason: string
    readonly kafka_offset: number
    readonly offsets: number
  }
  const KEY = 'gaps'
  const gaps = (reason: string): Promise<GapRow[]> =>
    pipeline.store.query<GapRow>(
      "SELECT reason, kafka_offset, offsets FROM events_v1 WHERE kind = 'gap' AND reason = {reason:String} ORDER BY kafka_offset",
      { reason },
    )
  const total = (rows: readonly GapRow[]): number => rows.reduce((all, row) => all + row.offsets, 0)
  const events = (session: number, n: number, more = {}): RawMessage[] =>
    Array.from({ length: n }, (_, seq) => ({ key: KEY, value: JSON.stringify(frameTimes(session, seq, more)) }))
  const seqsOf = async (session: number): Promise<number[]> => {
    const rows = await pipeline.store.query<{ seq: number }>(
      "SELECT seq FROM events_v1 WHERE kind = 'frame_times' AND session_id = {id:UUID} ORDER BY kafka_offset",
      { id: sessionId(session) },
    )
    return rows.map(row => row.seq)
  }
  const upTo = (n: number): number[] => Array.from({ length: n }, (_, seq) => seq)

  async function inTransaction(messages: readonly RawMessage[], end: 'commit' | 'abort'): Promise<void> {
    const producer = pipeline.kafka.producer({
      transactionalId: `${pipeline.topic}-${end}`,
      idempotent: true,
      maxInFlightRequests: 1,
    })
    await producer.connect()
    const transaction = await producer.transaction()
    for (const message of messages)
      await transaction.send({
        topic: pipeline.topic,
        messages: [{ key: message.key, value: message.value }],
      })
    await transaction[end]()
    await producer.disconnect()
  }

  test('markers and the messages of an aborted transaction are gaps, those of a committed one events', async () => {
    await inTransaction(events(10, 3), 'commit')
    await inTransaction(events(11, 4), 'abort')
    await inTransaction(events(12, 2), 'commit')
    await pipeline.sender.sendRaw(events(13, 1))
    await pipeline.stored()
    expect(await seqsOf(10)).toEqual(upTo(3))
    expect(await seqsOf(11)).toEqual([])
    expect(await seqsOf(12)).toEqual(upTo(2))
    expect(await seqsOf(13)).toEqual(upTo(1))
    // A marker for each transaction, and the four that were taken back.
    expect(total(await gaps('control'))).toBe(3 + 4)
    await expectAllAccountedFor()
  }, 180_000)

  test('more than one fetch of it, or a marker before a message that fills one, holds nothing up', async () => {
    const before = total(await gaps('control'))
    const large = Buffer.alloc(300_000, 'x')
    const aborted = Array.from({ length: 12 }, () => ({ key: KEY, value: large }))
    await inTransaction(aborted, 'abort')
    await inTransaction(events(14, 1), 'commit')
    await pipeline.sender.sendRaw([{ key: KEY, value: Buffer.alloc(4_000_000, 'x') }])
    await pipeline.sender.sendRaw(events(15, 2))
    await pipeline.stored()
    expect(await seqsOf(15)).toEqual(upTo(2))
    expect(total(await gaps('control')) - before).toBe(12 + 2)
    await expectAllAccountedFor()
  }, 240_000)

  test('markers at the very end of the log are no lag', async () => {
    await inTransaction(events(16, 1), 'commit')
    await pipeline.stored()
    await expectAllAccountedFor()
  }, 180_000)

  test('a restart behind a marker goes on behind it', async () => {
    await pipeline.stopIngester()
    await inTransaction(events(17, 1), 'commit')
    await pipeline.startIngester()
    await pipeline.stored()
    await pipeline.stopIngester()
    await pipeline.sender.sendRaw(events(18, 3))
    await pipeline.startIngester()
    await pipeline.stored()
    expect(await seqsOf(18)).toEqual(upTo(3))
    await expectAllAccountedFor()
  }, 300_000)

  test('messages that expired before they were read are counted as lost, once', async () => {
    await pipeline.stopIngester()
    await pipeline.sender.sendRaw(events(20, 20))
    const [place] = [...(await pipeline.messages())]
      .filter(([, { value }]) => String(value).includes(sessionId(20)))
      .map(([at]) => at.split('/').map(Number))
    const [partition = 0, first = 0] = place ?? []
    const LOST = 7
    const upToThere = { topic: pipeline.topic, partitions: [{ partition, offset: String(first + LOST) }] }
    await pipeline.admin(async admin => {
      await admin.fetchTopicMetadata({ topics: [pipeline.topic] })
      await admin.deleteTopicRecords(upToThere)
    })
    await pipeline.startIngester()
    await pipeline.stored()
    expect(await gaps('expired')).toEqual([{ reason: 'expired', kafka_offset: first, offsets: LOST }])
    expect(await seqsOf(20)).toEqual(upTo(20).slice(LOST))
    expect(await pipeline.vital('ingest_offsets_expired_total')).toBe(LOST)
    await expectAllAccountedFor(LOST)
  }, 300_000)
})
