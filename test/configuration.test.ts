/**
 * Configuration is said once, in `ingest/runtime/variables.ts`: `.env.example` is printed from it (`npm run env-example`), and whatever
 * names a variable or repeats a default elsewhere agrees with it.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { type AddressInfo, createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { ConfigError, readConfig } from '../ingest/runtime/config.ts'
import { listen, urlOf } from '../ingest/runtime/listen.ts'
import { DEFAULTS, variables } from '../ingest/runtime/variables.ts'
import { envExample } from './support/env-example.ts'
import { variablesReadBy } from './support/readers.ts'

const ROOT = join(import.meta.dirname, '..')
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8')
const scripts: Readonly<Record<string, string>> = JSON.parse(read('package.json')).scripts
/** What local, bench and test start are these. */
const COMMANDS = Object.fromEntries(
  Object.entries(scripts).flatMap(([name, script]) => {
    const file = /^tsx .*?\b((?:ingest|query|dashboards)\/\S+\.ts)/.exec(script)?.[1]
    return file ? [[name, file]] : []
  }),
)

describe('.env.example', () => {
  test('is what the variables say of themselves', async () => {
    await expect(envExample(COMMANDS)).toMatchFileSnapshot(join(ROOT, '.env.example'))
  })

  test('holds every default: with each of its lines in force, all is as with none', () => {
    const directory = mkdtempSync(join(tmpdir(), 'env-'))
    onTestFinished(() => rmSync(directory, { recursive: true, force: true }))
    const file = join(directory, '.env')
    writeFileSync(file, read('.env.example').replaceAll(/^# (?=[A-Z0-9_]+=)/gm, ''))
    const print = `exec '${process.execPath}' -p 'JSON.stringify(process.env)'`
    const said = execFileSync('sh', ['-c', `set -a; . '${file}'; ${print}`], { env: {}, encoding: 'utf8' })
    const environment: Record<string, string> = JSON.parse(said)
    expect(Object.keys(variables.shape).filter(name => !(name in environment))).toEqual([])
    expect(readConfig(environment)).toEqual(readConfig({}))
  })
})

describe('a place to listen at', () => {
  test('that is not to be had is named with its variable', async () => {
    const taken = createServer()
    onTestFinished(() => void taken.close())
    await listen(taken, { host: '127.0.0.1', port: 0, variables: 'HTTP' })
    const { port } = taken.address() as AddressInfo
    const at = (host: string, port: number) => listen(createServer(), { host, port, variables: 'INGEST_VITALS' })
    await expect(at('127.0.0.1', port)).rejects.toThrow(
      new ConfigError(
        `port ${port} on 127.0.0.1 is taken: stop what listens there or set INGEST_VITALS_PORT to a free one`,
      ),
    )
    await expect(at('192.0.2.1', 0)).rejects.toThrow('INGEST_VITALS_HOST: 192.0.2.1 is no address of this machine')
  })

  test.each([
    ['0.0.0.0', 'http://127.0.0.1:80'],
    ['::', 'http://127.0.0.1:80'],
    ['::1', 'http://[::1]:80'],
    ['10.0.0.7', 'http://10.0.0.7:80'],
  ])('%s is reached at %s', (host, url) => expect(urlOf({ host, port: 80 })).toBe(url))
})

describe('who reads what', () => {
  test('is read off the code: what a command is handed, and what follows from several', () => {
    expect([...variablesReadBy('query/key-command.ts')]).toEqual([])
    expect([...variablesReadBy('ingest/store/migrate-command.ts')]).toEqual(
      expect.arrayContaining(['CLICKHOUSE_URL', 'CLICKHOUSE_PORT', 'DATA_DIR', 'MINUTE_RETENTION_DAYS']),
    )
    expect(variablesReadBy('ingest/main.ts')).not.toContain('API_ROWS_MAX')
    expect(variablesReadBy('query/main.ts')).not.toContain('INGEST_FLUSH_MS')
  })
})

describe('what the papers say again', () => {
  const papers = ['README.md', 'docs/API.md'].map(read).join('\n')

  test('names variables that there are', () => {
    const names = [...papers.matchAll(/(?:\*|\b[A-Z][A-Z0-9]*)(?:_[A-Z0-9]+)+\b/g)].map(([name]) => name)
    expect(names.length).toBeGreaterThan(5)
    const known = Object.keys(variables.shape)
    const isKnown = (name: string): boolean =>
      known.some(one => (name.startsWith('*') ? one.endsWith(name.slice(1)) : one === name))
    expect(names.filter(name => !isKnown(name))).toEqual([])
  })

  test('names ports that are listened on where nothing is said', () => {
    const { HTTP_PORT, KAFKA_PORT, CLICKHOUSE_PORT, INGEST_VITALS_PORT } = DEFAULTS
    const GRAFANA = 3_000
    const ports = [...papers.matchAll(/127\.0\.0\.1:(\d+)|\bport (\d+)/g)].map(([, url, word]) => Number(url ?? word))
    expect([...new Set(ports)].sort()).toEqual(
      [HTTP_PORT, CLICKHOUSE_PORT, KAFKA_PORT, INGEST_VITALS_PORT, GRAFANA].sort(),
    )
  })
})
