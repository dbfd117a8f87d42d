/**
 * The decision ledger: what is taken reaches the tables exactly once, with all it says; what cannot be kept is not taken; and nothing
 * of it changes what a session was like.
 */
import { randomUUID } from 'node:crypto'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createEmitter } from '../ingest/emit/emitter.ts'
import { createKafkaSender } from '../ingest/emit/kafka.ts'
import type { Message, Send } from '../ingest/emit/outbox.ts'
import { connecting, type Decision, type DecisionBook, NoRoom, openBook } from '../query/abr/decisions.ts'
import { type App, apiOver } from './support/app.ts'
import { eventOf, sessionId } from './support/events.ts'
import { Pipeline } from './support/pipeline.ts'
import { keyFor } from './support/seed.ts'
import { unique } from './support/services.ts'
import { until, verify } from './support/verify.ts'

const DEADLINE_MS = 60_000
const NOBODY_COUNTS = { noted: () => {} }

const decisionOf = (more: Partial<Decision> = {}): Decision => ({
  ...{ session_id: randomUUID(), decision_id: randomUUID(), policy: 'aimd', policy_version: '3' },
  ...{ to_rung: '720p60-5m', target_bitrate_kbps: 5_000, started_at_ms: Date.now() },
  ...more,
})

describe('the book', () => {
  /** Kafka as the book sees it: takes messages, or does not. */
  function kafka(fails: (attempt: number) => boolean): { send: Send; taken: Message[]; attempts: () => number } {
    const taken: Message[] = []
    let attempts = 0
    return {
      taken,
      attempts: () => attempts,
      send: async messages => {
        if (fails(attempts++)) throw new Error('not now')
        taken.push(...messages)
      },
    }
  }
  const idsIn = (messages: readonly Message[]): string[] => messages.map(({ value }) => JSON.parse(value).decision_id)

  test('hands over what it took, under the session’s key, with what is known of the session', async () => {
    const { send, taken } = kafka(() => false)
    const decision = decisionOf({ from_rung: '540p60-2.5m', as_of_ms: 1_795_000_000_000, reason: 'climb' })
    const book = openBook({ send, vitals: NOBODY_COUNTS, contextOf: () => ({ isp: 'a' }) })
    book.note([decision])
    expect(await book.close(DEADLINE_MS)).toBe(0)
    expect(taken.map(({ key }) => key)).toEqual([decision.session_id])
    const { seq, sent_at_ms, ...event } = JSON.parse(taken[0]?.value ?? '')
    expect(event).toEqual({ v: 1, kind: 'abr_decision', source: 'controller', context: { isp: 'a' }, ...decision })
    expect(sent_at_ms).toBeGreaterThanOrEqual(decision.started_at_ms)
    expect(seq).toBe(Number.parseInt(decision.decision_id.slice(-8), 16))
  })

  test('tries again until Kafka takes them, and loses none', async () => {
    const { send, taken } = kafka(attempt => attempt < 3)
    const counted: Record<string, number> = {}
    const vitals = {
      noted: (n: number, fate: string) => {
        counted[fate] = (counted[fate] ?? 0) + n
      },
    }
    const book = openBook({ send, vitals, retry_max_ms: 5 })
    const decisions = Array.from({ length: 40 }, () => decisionOf())
    for (const decision of decisions) book.note([decision])
    await until('all are handed over', DEADLINE_MS, () => book.waiting === 0)
    expect(idsIn(taken)).toEqual(decisions.map(({ decision_id }) => decision_id))
    expect(counted).toEqual({ taken: 40, handed_over: 40 })
  })

  test('takes all of a batch or none, and more once Kafka has taken some', async () => {
    let away = true
    const { send, taken } = kafka(() => away)
    const book = openBook({ send, vitals: NOBODY_COUNTS, decisions_max: 5, retry_max_ms: 5 })
    book.note([decisionOf(), decisionOf(), decisionOf()])
    expect(() => book.note([decisionOf(), decisionOf(), decisionOf()])).toThrow(NoRoom)
    expect(book.waiting).toBe(3)
    book.note([decisionOf(), decisionOf()])
    expect(() => book.note([decisionOf()])).toThrow(NoRoom)
    away = false
    await until('there is room', DEADLINE_MS, () => book.waiting === 0)
    book.note([decisionOf()])
    expect(await book.close(DEADLINE_MS)).toBe(0)
    expect(taken).toHaveLength(6)
  })

  test('says at its end what it could not hand over, and takes nothing afterwards', async () => {
    const book = openBook({ send: kafka(() => true).send, vitals: NOBODY_COUNTS })
    book.note([decisionOf(), decisionOf()])
    expect(await book.close(20)).toBe(2)
    expect(() => book.note([decisionOf()])).toThrow(NoRoom)
  })

  test('connects with the first message, and again after it failed', async () => {
    let connects = 0
    const sent: Message[] = []
    const send = connecting({
      connect: async () => {
        if (connects++ === 0) throw new Error('nobody there')
      },
      send: async messages => void sent.push(...messages),
    })
    const message = { key: 'a', value: '{}' }
    await expect(send([message])).rejects.toThrow('nobody there')
    await send([message])
    await send([message])
    expect([connects, sent.length]).toEqual([2, 2])
  })
})

describe('through Kafka and the ingester', () => {
  const { key, hash } = keyFor('ledger')
  let pipeline: Pipeline
  let book: DecisionBook
  let app: App
  beforeAll(async () => {
    pipeline = await Pipeline.start('ledger')
    const sender = createKafkaSender({ brokers: pipeline.brokers, topic: pipeline.topic })
    book = openBook({ send: connecting(sender), vitals: NOBODY_COUNTS })
    app = apiOver(pipeline.store, [hash], { book })
    return () => sender.disconnect()
  })
  afterAll(() => pipeline.close())

  const headers = { authorization: `Bearer ${key}`, 'content-type': 'application/json' }
  const post = (body: unknown, to: App = app) =>
    to.request('/v1/abr/decisions', { method: 'POST', headers, body: JSON.stringify(body) })
  const taken = async (body: unknown): Promise<unknown> => {
    const response = await post(body)
    expect(response.status, await response.clone().text()).toBe(202)
    return ((await response.json()) as { data: unknown }).data
  }
  const spoken = <More extends object>(more: More = {} as More) => {
    const { started_at_ms: _, ...decision } = decisionOf()
    return { ...decision, ...more }
  }
  const arrived = async (): Promise<void> => {
    await until('the book is empty', DEADLINE_MS, () => book.waiting === 0)
    await pipeline.stored()
  }
  const rowsOf = (policy: string) =>
    pipeline.store.query<Record<string, unknown>>(
      `SELECT toString(session_id) AS session_id, toString(decision_id) AS decision_id, source, policy, policy_version, from_rung, to_rung,
         target_bitrate_kbps, toUnixTimestamp64Milli(as_of) AS as_of_ms, reason, toUnixTimestamp64Milli(at) AS at_ms, toUnixTimestamp64Milli(sent_at) AS sent_ms
       FROM events_v1 WHERE kind = 'abr_decision' AND policy = {policy:String} ORDER BY kafka_partition, kafka_offset`,
      { policy },
    )

  test('a decision has a row with all it says', async () => {
    const policy = unique('whole')
    const whole = spoken({
      policy,
      from_rung: 'α',
      to_rung: 'β',
      as_of: '2026-01-02T03:04:05.678Z',
      reason: 'climb',
      age_ms: 2_000,
    })
    const bare = spoken({ policy })
    expect(await taken({ decisions: [whole, bare] })).toEqual([{ taken: 2 }])
    await arrived()
    const rows = new Map((await rowsOf(policy)).map(row => [row.decision_id, row]))
    expect(rows.size).toBe(2)
    const { as_of: _, age_ms: __, ...said } = whole
    expect(rows.get(whole.decision_id)).toMatchObject({
      ...said,
      source: 'controller',
      as_of_ms: Date.UTC(2026, 0, 2, 3, 4, 5, 678),
    })
    const { at_ms, sent_ms } = rows.get(whole.decision_id) as { at_ms: number; sent_ms: number }
    expect(sent_ms - at_ms).toBeGreaterThanOrEqual(2_000)
    expect(rows.get(bare.decision_id)).toMatchObject({ ...bare, from_rung: '', as_of_ms: null, reason: '' })
  })

  test('one that is said again, in any way, counts once: as it was said first', async () => {
    const policy = unique('again')
    const session_id = sessionId(77)
    const once = spoken({ policy, session_id })
    await taken({ decisions: [once] })
    await arrived()
    await taken({ decisions: [once, { ...once, policy_version: 'other' }, spoken({ policy, session_id })] })
    await arrived()
    expect(await rowsOf(policy)).toHaveLength(4)
    // Its ten seconds are over.
    const later = apiOver(pipeline.store, [hash], { now: () => Date.now() + 60_000 })
    const response = await later.request('/v1/abr/regret?from=now-15m', { headers })
    const { data } = (await response.json()) as {
      data: { policy: string; policy_version: string; decisions: number }[]
    }
    expect(data.filter(row => row.policy === policy)).toMatchObject([{ policy_version: '3', decisions: 2 }])
  })

  test('every message of the topic is one row, and cells know nothing of decisions', async () => {
    const begun_ms = Math.floor(Date.now() / 10_000) * 10_000 - 30_000
    const played = Array.from({ length: 20 }, (_, seq) => eventOf(900, seq, begun_ms))
    await pipeline.sender.sendRaw(
      played.map(event => ({ key: event.session_id, value: JSON.stringify({ ...event, sent_at_ms: Date.now() }) })),
    )
    const decisions = Array.from({ length: 100 }, (_, i) =>
      spoken({ policy: 'many', session_id: i % 2 === 0 ? sessionId(900) : randomUUID(), age_ms: 20_000 }),
    )
    for (let i = 0; i < 3; i++) await taken({ decisions })
    // By an emitter of one's own too.
    const emitter = createEmitter({
      ...{ session_id: sessionId(900), source: 'controller', context: {}, send: pipeline.sender.send },
    })
    const { session_id: _, ...draft } = decisionOf({ policy: 'many' })
    expect(emitter.emit({ kind: 'abr_decision', ...draft })).toBeUndefined()
    expect(await emitter.close(DEADLINE_MS)).toBe(0)
    await arrived()
    await pipeline.settled()
    const verdict = await verify(pipeline.store, pipeline.brokers, pipeline.topic)
    expect({ ...verdict, audit: [] }).toEqual({
      audit: [],
      lost: 0,
      doubled: 0,
      different: 0,
      wrong_cells: 0,
      wrong_minutes: 0,
    })
    expect(await rowsOf('many')).toHaveLength(301)
    const cells = await pipeline.store.query<{ id: string; events: number; controller_seqs: number }>(
      'SELECT toString(session_id) AS id, sum(events) AS events, sum(controller_seqs) AS controller_seqs FROM quality_per_10s_v1 FINAL GROUP BY id',
    )
    expect(cells).toEqual([{ id: sessionId(900), events: 20, controller_seqs: 0 }])
    for (const [session, status] of [
      [sessionId(900), 200],
      [decisions[1]?.session_id, 404],
    ] as const)
      expect((await app.request(`/v1/sessions/${session}`, { headers })).status).toBe(status)
  })

  test('those of an erased session are erased with it', async () => {
    const policy = unique('erased')
    const session_id = randomUUID()
    await taken({ decisions: [spoken({ policy, session_id }), spoken({ policy })] })
    await arrived()
    const response = await app.request(`/v1/sessions/${session_id}`, { method: 'DELETE', headers })
    expect([200, 202]).toContain(response.status)
    expect((await rowsOf(policy)).map(row => row.session_id)).not.toContain(session_id)
    expect(await rowsOf(policy)).toHaveLength(1)
  })

  test.each([
    ['session_id', { session_id: 'x' }],
    ['decision_id', { decision_id: randomUUID().toUpperCase() }],
    ['policy', { policy: 'a:b' }],
    ['to_rung', { to_rung: 'r'.repeat(33) }],
    ['target_bitrate_kbps', { target_bitrate_kbps: -1 }],
    ['as_of', { as_of: 'yesterday' }],
    ['as_of', { as_of: '9999-01-01T00:00:00Z' }],
    ['age_ms', { age_ms: 3_600_001 }],
    ['policy_version', { policy_version: undefined }],
  ])('a malformed %s is refused by name, and nothing of its batch is taken', async (field, wrong) => {
    const before = book.waiting
    const response = await post({ decisions: [spoken(), spoken(wrong)] })
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({ parameter: `decisions.1.${field}` })
    expect(book.waiting).toBe(before)
  })

  test.each([
    ['none', { decisions: [] }],
    ['101', { decisions: Array.from({ length: 101 }, () => spoken()) }],
    ['what is no list', spoken()],
  ])('%s are refused', async (_, body) => {
    expect((await post(body)).status).toBe(400)
  })

  test('while Kafka takes nothing they are taken until there is no room, and then 503 and none', async () => {
    const away = createKafkaSender({ brokers: ['127.0.0.1:1'], topic: 'x' })
    const full = openBook({ send: connecting(away), vitals: NOBODY_COUNTS, decisions_max: 3 })
    const over = apiOver(pipeline.store, [hash], { book: full })
    expect((await post({ decisions: [spoken(), spoken()] }, over)).status).toBe(202)
    const response = await post({ decisions: [spoken(), spoken()] }, over)
    expect(response.status).toBe(503)
    expect(response.headers.get('retry-after')).toBe('5')
    expect(await response.json()).toMatchObject({ code: 'busy' })
    expect(full.waiting).toBe(2)
    expect(await full.close(20)).toBe(2)
  })
})
