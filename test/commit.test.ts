/**
 * The order of things at the end of a batch: on its way, written, read back, and only then committed. Kafka's offsets are no more than
 * advice to us, but others read them as "this much is safe", and so it has to be.
 */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { ClickHouseProxy, type Window } from './chaos/proxy.ts'
import { eventOf } from './support/events.ts'
import { DEADLINE_MS, Pipeline } from './support/pipeline.ts'
import { stopServices } from './support/services.ts'
import { until } from './support/verify.ts'

let pipeline: Pipeline
let proxy: ClickHouseProxy

beforeAll(async () => {
  pipeline = await Pipeline.start('commit', { KAFKA_PARTITIONS: '1', INGEST_FLUSH_MS: '100' }, async clickhouse => {
    proxy = await ClickHouseProxy.start(clickhouse.url)
    return { ...clickhouse, url: proxy.url }
  })
}, 240_000)

afterAll(async () => {
  await pipeline?.close()
  await stopServices()
  await proxy?.stop()
}, 120_000)

/** How many offsets are committed, and then, how many are stored: what comes in between can only hide a fault, never make one. */
async function standing(): Promise<{ committed: number; stored: number }> {
  const [committed] = await pipeline.admin(admin =>
    admin.fetchOffsets({ groupId: pipeline.topic, topics: [pipeline.topic] }),
  )
  const rows = await pipeline.store.query<{ stored: number }>('SELECT sum(offsets) AS stored FROM events_v1')
  return {
    committed: Math.max(0, Number(committed?.partitions[0]?.offset ?? 0)),
    stored: rows[0]?.stored ?? 0,
  }
}

test('nothing is committed that was not stored and read back', async () => {
  const start_ms = Date.now() - 60_000
  const stages: readonly [Window, (sent: number) => Awaited<ReturnType<typeof standing>>][] = [
    ['insert_on_its_way', sent => ({ committed: sent - 1, stored: sent - 1 })],
    ['written_unanswered', sent => ({ committed: sent - 1, stored: sent })],
    ['read_back_uncommitted', sent => ({ committed: sent - 1, stored: sent })],
  ]
  let sent = 0
  const sendOne = async (): Promise<void> => {
    const event = eventOf(0, sent++, start_ms)
    await pipeline.sender.sendRaw([{ key: event.session_id, value: JSON.stringify(event) }])
    await until('it is stored and committed', DEADLINE_MS, async () => {
      const { committed, stored } = await standing()
      return committed === sent && stored === sent
    })
  }
  await sendOne()
  for (const [window, expected] of stages) {
    let seen: Awaited<ReturnType<typeof standing>> | undefined
    // Whatever waits behind the window waits until this has looked.
    const fire = async (): Promise<void> => {
      seen = await standing()
    }
    proxy.aim({ window, cut: false, fire })
    await sendOne()
    expect(proxy.lower(), `${window} was passed`).toBe(true)
    expect(seen, window).toEqual(expected(sent))
  }
}, 240_000)
