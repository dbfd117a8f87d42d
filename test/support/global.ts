/**
 * Before the tests that need them: one Kafka and one ClickHouse, side by side, on free ports, in a directory that goes with
 * the run. After the tests, or when the run is interrupted, nothing of it is left.
 */
import { mkdtempSync, readdirSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { TestProject } from 'vitest/node'
import { readConfig } from '../../ingest/runtime/config.ts'
import { brokerPart } from '../../local/kafka/broker.ts'
import { endLeftover } from '../../local/leftover.ts'
import { clickHousePart } from '../../local/parts.ts'
import { freePort } from '../../local/ports.ts'
import { type Part, type PartSpec, startPart } from '../../local/supervise.ts'

const PREFIX = 'stream-quality-test-'

export async function setup(project: TestProject): Promise<() => Promise<void>> {
  await removeDeadRuns()
  const root = mkdtempSync(join(tmpdir(), `${PREFIX}${process.pid}-`))
  const data_dir = join(root, 'shared')
  const parts: Part[] = []
  const kill = (): void => {
    for (const part of parts) part.kill('SIGKILL')
    rmSync(root, { recursive: true, force: true, maxRetries: 3 })
  }
  process.once('exit', kill)
  const start = async (spec: PartSpec): Promise<void> => {
    parts.push(await startPart(spec, { data_dir, report: () => {}, restart: false }))
  }
  const [kafka_port, clickhouse_port] = [await freePort(), await freePort()]
  const environment = {
    ...process.env,
    DATA_DIR: data_dir,
    CLICKHOUSE_PORT: String(clickhouse_port),
    CLICKHOUSE_URL: undefined,
  }
  await Promise.all([
    start(
      brokerPart({
        data_dir,
        port: kafka_port,
        environment: process.env,
        short_lived: true,
        announce: what => console.log(what),
      }),
    ),
    start(clickHousePart({ config: readConfig(environment), environment })),
  ])
  const { url, username, password } = readConfig(environment).clickhouse
  project.provide('services', { brokers: `127.0.0.1:${kafka_port}`, clickhouse: { url, username, password }, root })
  return async () => {
    await Promise.all(parts.map(part => part.stop()))
    await removeRun(root)
    process.off('exit', kill)
  }
}

/** Runs that were killed: what they left running, then what they left lying. */
async function removeDeadRuns(): Promise<void> {
  for (const name of readdirSync(tmpdir()).filter(entry => entry.startsWith(PREFIX))) {
    const pid = Number(name.slice(PREFIX.length).split('-', 1)[0])
    if (isAlive(pid)) continue
    // Where something of it is still mounted it stays, and this run is none the worse.
    await removeRun(join(tmpdir(), name)).catch(error => console.warn(`left over: ${name}: ${error}`))
  }
}

async function removeRun(root: string): Promise<void> {
  for (const data_dir of readdirSync(root, { withFileTypes: true }).filter(entry => entry.isDirectory())) {
    for (const part of ['api', 'ingester', 'clickhouse', 'kafka']) await endLeftover(join(root, data_dir.name), part)
  }
  rmSync(root, { recursive: true, force: true, maxRetries: 3 })
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch {
    return false
  }
}
