/**
 * A full disk under ClickHouse, for real: its data directory is a small file system of its own, filled to the last byte.
 * Needs the right to mount one, as a container's root has; without it there is nothing to run.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, expect, test } from 'vitest'
import { createKafkaSender } from '../ingest/emit/kafka.ts'
import { openStore } from '../ingest/store/clickhouse.ts'
import { eventOf } from './support/events.ts'
import {
  sharedServices,
  startClickHouse,
  startIngester,
  stopServices,
  temporaryDirectory,
  unique,
} from './support/services.ts'
import { until, untilSettled, untilStored, verify } from './support/verify.ts'

const data_dir = temporaryDirectory('small')
const SIZE_MB = 200

function mount(): boolean {
  try {
    execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${SIZE_MB}m`, 'tmpfs', data_dir], { stdio: 'ignore' })
    return true
  } catch {
    return false
  }
}

const mounted = mount()

afterAll(async () => {
  await stopServices()
  if (mounted) execFileSync('umount', ['-l', data_dir])
})

/** Takes what room there is. ClickHouse writes at the same time: running into the end is the aim, not a failure. */
function fill(filler: string): void {
  const { bavail, bsize } = statfsSync(data_dir)
  try {
    writeFileSync(filler, Buffer.alloc(bavail * bsize))
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ENOSPC') throw error
  }
}

test.runIf(mounted)(
  'while the disk is full nothing is stored and the ingester says so; once there is room, nothing is missing',
  async () => {
    const { brokers } = sharedServices()
    const clickhouse = await startClickHouse({ data_dir })
    const options = { brokers, clickhouse, database: unique('full'), topic: unique('full') }
    const store = openStore({ ...clickhouse, database: options.database })
    const ingester = await startIngester({
      ...options,
      environment: { INGEST_FLUSH_MS: '100', SETTLE_EVERY_MS: '300' },
    })
    const sender = createKafkaSender({ brokers: [brokers], topic: options.topic })
    await sender.connect()
    const start_ms = Date.now() - 60_000
    const send = (from: number, to: number) =>
      sender.sendRaw(
        Array.from({ length: (to - from) * 20 }, (_, i) => {
          const event = eventOf(i % 20, from + Math.floor(i / 20), start_ms)
          return { key: event.session_id, value: JSON.stringify(event) }
        }),
      )
    await send(0, 20)
    await untilStored(store, [brokers], options.topic, 30_000)

    const filler = join(data_dir, 'filler')
    fill(filler)
    await send(20, 60)
    const log = join(ingester.data_dir, 'logs', 'ingester.log')
    await until('the ingester says that the disk is full', 30_000, () =>
      readFileSync(log, 'utf8').includes('clickhouse_disk_full'),
    )
    expect(ingester.part.pid, 'the ingester lives').toBeDefined()

    rmSync(filler)
    await untilStored(store, [brokers], options.topic, 60_000)
    await untilSettled(store, 60_000)
    expect(await verify(store, [brokers], options.topic)).toMatchObject({
      lost: 0,
      doubled: 0,
      different: 0,
      wrong_cells: 0,
      wrong_minutes: 0,
    })
    await sender.disconnect()
    await store.close()
  },
  240_000,
)
