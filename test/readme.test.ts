/**
 * What the papers say is what happens: each call of README, guide and runbook answers, each command explains itself and refuses what it
 * does not know.
 */
import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { createKafkaSender } from '../ingest/emit/kafka.ts'
import { DEFAULTS } from '../ingest/runtime/variables.ts'
import { openStore } from '../ingest/store/clickhouse.ts'
import { eventOf } from './support/events.ts'
import { variablesReadBy } from './support/readers.ts'
import { CALLS, PRELUDE } from './support/runbook.ts'
import { sharedServices, startApi, startIngester, stopServices, unique } from './support/services.ts'
import { untilSettled, untilStored } from './support/verify.ts'

const ROOT = join(import.meta.dirname, '..')
const PAPERS = ['README.md', 'docs/API.md'].map(paper => readFileSync(join(ROOT, paper), 'utf8')).join('\n')
const run = promisify(execFile)

const calls = new Set([...PAPERS.matchAll(/```sh\n(curl [\s\S]*?)```/g)].map(([, call = '']) => call.trim()))
const scripts: Record<string, string> = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).scripts

afterAll(stopServices)

describe('what README, guide and runbook tell to ask', () => {
  let url = ''
  let data_dir = ''
  let prelude = ''

  beforeAll(async () => {
    const { brokers, clickhouse } = sharedServices()
    const pipeline = { brokers, clickhouse, database: unique('readme'), topic: unique('readme') }
    const { vitals_url } = await startIngester({
      ...pipeline,
      environment: { INGEST_FLUSH_MS: '100', SETTLE_EVERY_MS: '200' },
    })
    const sender = createKafkaSender({ brokers: [brokers], topic: pipeline.topic })
    await sender.connect()
    const start_ms = Date.now() - 180_000
    const messages = Array.from({ length: 20 * 240 }, (_, i) => {
      const event = eventOf(i % 20, Math.floor(i / 20), start_ms)
      return { key: event.session_id, value: JSON.stringify(event) }
    })
    await sender.sendRaw([...messages, { key: 'poison', value: '{"v":1' }])
    await sender.disconnect()
    const store = openStore({ ...clickhouse, database: pipeline.database })
    await untilStored(store, [brokers], pipeline.topic, 60_000)
    await untilSettled(store, 60_000)
    await store.close()
    const api = await startApi(pipeline)
    url = api.url
    data_dir = api.data_dir
    prelude = here(PRELUDE)
      .replace(`http://127.0.0.1:${DEFAULTS.INGEST_VITALS_PORT}`, vitals_url)
      .replace(`http://127.0.0.1:${DEFAULTS.CLICKHOUSE_PORT}`, clickhouse.url)
      .replace(`database=${DEFAULTS.CLICKHOUSE_DATABASE}`, `database=${pipeline.database}`)
      .replace('$(cat .data/clickhouse-password)', clickhouse.password)
  }, 240_000)

  const here = (text: string): string =>
    text
      .replaceAll('.data/dev-key', join(data_dir, 'dev-key'))
      .replaceAll(`http://127.0.0.1:${DEFAULTS.HTTP_PORT}`, url)

  test.each([...calls])('%s', async call => {
    const { stdout } = await run('bash', ['-c', here(call)])
    const answer = JSON.parse(stdout)
    expect(answer).toMatchObject({ data: expect.any(Array), meta: expect.any(Object) })
    // Nobody got worse in this fleet: an honest search finds nothing.
    if (!call.includes('/v1/insights')) expect(answer.data.length).toBeGreaterThan(0)
  })

  test.each(CALLS)('runbook: %s', async call => {
    const { stdout } = await run('bash', ['-c', `set -euo pipefail\n${prelude}\n${call}`])
    if (call.startsWith('ask ')) expect(JSON.parse(stdout)).toHaveProperty('data')
    else expect(stdout.trim()).not.toBe('')
  })

  test('there are some', () => {
    expect(calls.size).toBeGreaterThanOrEqual(4)
    expect(CALLS.length).toBeGreaterThanOrEqual(20)
  })
})

describe('each command', () => {
  const commands = Object.entries(scripts).filter(([, script]) => script.startsWith('tsx '))
  /** What a command cannot do without, so that it is the unknown flag that it complains of. */
  const REQUIRED: Readonly<Record<string, readonly string[]>> = {
    replay: ['--reason', 'bad_shape'],
    key: ['--id', 'a', '--scopes', 'admin'],
  }
  const call = (script: string, flags: readonly string[]) =>
    run(process.execPath, ['--import', 'tsx', ...script.split(' ').slice(1), ...flags], { cwd: ROOT })

  test.each(commands)('npm run %s explains itself, and refuses a flag it does not know', async (name, script) => {
    const { stdout } = await call(script, ['--help'])
    expect(stdout).toMatch(/^Usage: /)
    const file = script.split(' ').find(word => /^(ingest|query|dashboards|local)\//.test(word))
    if (file && variablesReadBy(file).size > 0) expect(stdout).toContain('.env.example')
    const refused = await call(script, [...(REQUIRED[name] ?? []), '--no-such-flag']).catch(
      (error: { code: number; stderr: string }) => error,
    )
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringContaining('--no-such-flag') })
  })
})
