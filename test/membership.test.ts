/**
 * Whoever the group has thrown out joins again, also where the broker goes away just then: kafkajs would go on fetching without
 * heartbeats, for ever, its partitions somebody else's.
 */
import { Kafka, logLevel } from 'kafkajs'
import { afterAll, expect, test } from 'vitest'
import { createKafkaSender } from '../ingest/emit/kafka.ts'
import { KafkaSource } from '../ingest/load/kafka.ts'
import { createLog } from '../ingest/runtime/log.ts'
import { startBroker, stopServices, unique } from './support/services.ts'
import { until } from './support/verify.ts'

const DEADLINE_MS = 120_000

afterAll(() => stopServices())

test('a member that was thrown out, and whose broker dies while it waits to be let in again, is a member again once the broker is back', async () => {
  const first = await startBroker()
  const { brokers, data_dir, port } = first
  const [topic, group_id] = [unique('membership'), unique('membership')]
  const source = new KafkaSource({
    brokers: [brokers],
    topic,
    group_id,
    session_timeout_ms: 1_500,
    log: createLog('test', 'silent'),
  })
  await source.ensureTopic(2)
  const kafka = new Kafka({ clientId: 'other', brokers: [brokers], logLevel: logLevel.NOTHING })
  // Another member, that rarely looks whether it should join again: until then the group lets nobody in.
  const other = kafka.consumer({ groupId: group_id, sessionTimeout: 60_000, heartbeatInterval: 30_000 })
  const sendOne = async (key: string): Promise<void> => {
    const sender = createKafkaSender({ brokers: [brokers], topic })
    await sender.connect()
    await sender.sendRaw([{ key, value: 'b' }])
    await sender.disconnect()
  }
  const seen = { batches: 0, assigned: 0, heartbeats: 0 }
  let release = (): void => {}
  const held = new Promise<void>(resolve => {
    release = resolve
  })
  await source.start({
    onAssigned: () => seen.assigned++,
    onHeartbeat: () => seen.heartbeats++,
    onBatch: async () => {
      seen.batches++
      await held
    },
    onUndelivered: () => {},
    onCrash: () => {},
  })
  const admin = kafka.admin()
  await admin.connect()
  const isMember = async (): Promise<boolean> => {
    const { groups } = await admin.describeGroups([group_id])
    return groups[0]?.members.some(({ clientId }) => clientId !== 'other') ?? false
  }
  try {
    await other.connect()
    await other.subscribe({ topic })
    await other.run({ autoCommit: false, eachBatch: async () => {} })
    await until('both are members', DEADLINE_MS, () => seen.assigned > 1)
    await Promise.all(Array.from({ length: 20 }, (_, n) => sendOne(`${n}`)))
    await until('a batch is in hand', DEADLINE_MS, () => seen.batches > 0)
    // Without a heartbeat the session ends.
    await until('the group has thrown it out', DEADLINE_MS, async () => !(await isMember()))
    const before = { ...seen }
    release()
    await until('it was told, and asks to be let in', DEADLINE_MS, isMember)
    first.part.kill('SIGKILL')
    await first.part.ended
    await startBroker({ data_dir, port })
    await other.disconnect()
    await Promise.all(Array.from({ length: 20 }, (_, n) => sendOne(`${n}`)))
    await until('it is a member again', DEADLINE_MS, () => seen.assigned > before.assigned)
    await until('and stays one', DEADLINE_MS, () => seen.heartbeats > before.heartbeats)
    expect(seen.batches).toBeGreaterThan(before.batches)
  } finally {
    release()
    await admin.disconnect()
    await source.stop()
  }
}, 300_000)
