/**
 * The tree is the data flow: imports point upstream, and what touches the outside is touched in one place.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { dirname, join, normalize } from 'node:path'
import { describe, expect, test } from 'vitest'

const ROOT = join(import.meta.dirname, '..')
const FOLDERS = ['ingest', 'query', 'dashboards', 'local', 'bench', 'test']

const files = FOLDERS.filter(folder => existsSync(join(ROOT, folder))).flatMap(folder =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter(file => /\.tsx?$/.test(file))
    .map(file => join(folder, file)),
)
const source = (file: string): string => readFileSync(join(ROOT, file), 'utf8')
const importsOf = (file: string): string[] =>
  [...source(file).matchAll(/(?:from|import)\s*\(?'([^']+)'/g)].map(([, target = '']) =>
    target.startsWith('.') ? normalize(join(dirname(file), target)) : target,
  )

/** Which rooms a room may look into, besides itself. The order of the list is the flow of the data. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  'ingest/contract': [],
  'ingest/runtime': [],
  'ingest/emit': ['ingest/contract'],
  'ingest/store': ['ingest/contract', 'ingest/runtime'],
  'ingest/load': ['ingest/contract', 'ingest/runtime', 'ingest/store', 'ingest/emit'],
  'query/metrics': ['ingest/contract', 'ingest/runtime', 'ingest/store'],
  'query/pipeline': ['ingest/contract', 'ingest/runtime', 'ingest/store', 'query/metrics'],
  'query/sessions': ['ingest/contract', 'ingest/runtime', 'ingest/store', 'query/metrics'],
  'query/statistics': [],
  'query/comparisons': ['ingest/store', 'query/metrics', 'query/statistics'],
  'query/annotations': ['ingest/store', 'query/metrics'],
  'query/abr': [
    'ingest/contract',
    'ingest/runtime',
    'ingest/store',
    'ingest/emit',
    'ingest/load',
    'query/metrics',
    'query/statistics',
    'query/comparisons',
  ],
  'query/abr-client': ['ingest/contract', 'query/abr', 'query/client.ts'],
  'query/http': [
    'ingest/contract',
    'ingest/runtime',
    'ingest/store',
    'query/metrics',
    'query/statistics',
    'query/comparisons',
    'query/annotations',
    'query/sessions',
    'query/pipeline',
    'query/abr',
  ],
  'dashboards/console': ['ingest/runtime', 'query/client.ts', 'query/metrics', 'query/http'],
  // Definitions and SQL: whatever the API asks, and what the texts of that are made of.
  'dashboards/grafana': [
    'ingest/runtime',
    'ingest/store',
    'query/metrics',
    'query/comparisons',
    'query/annotations',
    'query/sessions',
    'query/pipeline',
  ],
}
const room = (file: string): string => file.split('/').slice(0, 2).join('/')
const isOurs = (target: string): boolean => FOLDERS.some(folder => target.startsWith(`${folder}/`))

describe('imports point upstream', () => {
  test.each(Object.entries(MAY_IMPORT))('%s', (from, allowed) => {
    const stray = files
      .filter(file => room(file) === from)
      .flatMap(file =>
        importsOf(file)
          .filter(isOurs)
          .map(target => ({ file, target })),
      )
      .filter(({ target }) => room(target) !== from && !allowed.includes(room(target)))
    expect(stray).toEqual([])
  })

  test('every room of the product is in the list', () => {
    const rooms = new Set(files.filter(file => /^(ingest|query|dashboards)\/[^/]+\//.test(file)).map(room))
    expect([...rooms].sort()).toEqual(Object.keys(MAY_IMPORT).sort())
  })

  test('what draws in Grafana asks nobody: it has no connection, and knows no value that a caller gave', () => {
    const drawing = files.filter(file => room(file) === 'dashboards/grafana')
    expect(drawing.length).toBeGreaterThan(20)
    expect(drawing.filter(file => /openStore|createAsk|fetch\(|node:(http|net)/.test(source(file)))).toEqual([])
  })

  test('nothing of the product looks into local, bench or test', () => {
    const stray = files
      .filter(file => /^(ingest|query|dashboards)\//.test(file))
      .filter(file => importsOf(file).some(target => /^(local|bench|test)\//.test(target)))
    expect(stray).toEqual([])
  })

  test('no file is part of a circle', () => {
    const graph = new Map(files.map(file => [file, importsOf(file).filter(isOurs)]))
    const done = new Set<string>()
    const walk = (file: string, path: string[]): void => {
      if (path.includes(file)) throw new Error(`circle: ${[...path.slice(path.indexOf(file)), file].join(' → ')}`)
      if (done.has(file)) return
      for (const target of graph.get(file) ?? []) walk(target, [...path, file])
      done.add(file)
    }
    for (const file of files) walk(file, [])
  })
})

describe('what runs in a browser', () => {
  const browser = files.filter(file => file.startsWith('dashboards/console/browser/'))
  const statements = (file: string): { text: string; target: string }[] =>
    [...source(file).matchAll(/^(?:import|export)\b[^']*?(?:from\s*)?'([^']+)'/gm)].map(([text, target = '']) => ({
      text,
      target: target.startsWith('.') ? normalize(join(dirname(file), target)) : target,
    }))

  test('takes from the rest of the project types, and the client, which does so itself', () => {
    const stray = [...browser, 'query/client.ts']
      .flatMap(file => statements(file).map(statement => ({ file, ...statement })))
      .filter(({ target }) => /^(ingest|query|local|bench|test|node:)/.test(target) && target !== 'query/client.ts')
      .filter(({ text }) => !text.startsWith('import type'))
    expect(browser.length).toBeGreaterThan(20)
    expect(stray).toEqual([])
  })
})

describe('the outside is touched in one place', () => {
  const product = files.filter(file => /^(ingest|query|dashboards)\//.test(file))
  const users = (among: readonly string[], name: string): string[] =>
    among.filter(file => importsOf(file).some(target => target === name || target.startsWith(`${name}/`)))

  test('Kafka: by the producer and by the consumer', () => {
    expect(users(product, 'kafkajs')).toEqual(['ingest/emit/kafka.ts', 'ingest/load/kafka.ts'])
  })

  test('ClickHouse’s client: by the store', () => {
    expect(users(product, '@clickhouse/client')).toEqual(['ingest/store/clickhouse.ts'])
  })

  test('the embedded engine: by one file of local', () => {
    expect(users(files, 'chdb')).toEqual(['local/clickhouse/engine.ts'])
  })

  test('the environment: only where a process starts', () => {
    const readers = files.filter(
      file => !file.startsWith('test/') && !file.startsWith('bench/') && /[^`]process\.env\b/.test(source(file)),
    )
    expect(readers.filter(file => !/(main|demo|-command)\.ts$/.test(file))).toEqual([])
  })
})

describe('each package', () => {
  interface Package {
    readonly version: string
    readonly license: string
  }
  type Listed = Readonly<Record<string, string>>
  const { dependencies, optionalDependencies, devDependencies } = JSON.parse(source('package.json')) as {
    readonly [list in 'dependencies' | 'optionalDependencies' | 'devDependencies']: Listed
  }
  const listed = Object.entries({ '': dependencies, ' (optional)': optionalDependencies, ' (dev)': devDependencies })
    .flatMap(([kind, list]) => Object.entries(list).map(([name, version]) => ({ name, version, kind })))
    .sort((a, b) => (a.name < b.name ? -1 : 1))

  const [, chapter = ''] = /^## Dependencies$([\s\S]*?)^## /m.exec(source('ARCHITECTURE.md')) ?? []
  const rows = [...chapter.matchAll(/^\| (\S+)( \d\S+)?( \(\w+\))? +\| (.+) \|$/gm)]
    .map(([, name = '', version, kind = '', rest = '']) => ({ name, version, kind, cells: rest.split(/ +\| +/) }))
    .filter(({ name }) => !/^(package|-+)$/.test(name))
    .sort((a, b) => (a.name < b.name ? -1 : 1))

  test('has its row in ARCHITECTURE.md', () => {
    expect(rows.map(({ name, kind }) => ({ name, kind }))).toEqual(listed.map(({ name, kind }) => ({ name, kind })))
  })

  test.each(listed)('$name $version is one version, and what its row says of it is so', ({ name, version }) => {
    const installed: Package = JSON.parse(source(`node_modules/${name}/package.json`))
    // One is published as `v0.0.21`.
    expect(installed.version.replace(/^v/, '')).toBe(version)
    const row = rows.find(row => row.name === name)
    expect(row?.version?.trim() ?? version).toBe(version)
    const [what_for, why, released, license, mb] = row?.cells ?? []
    expect(license).toBe(installed.license)
    expect([what_for, why, released, mb]).toEqual([
      expect.stringMatching(/\w/),
      expect.stringMatching(/\w/),
      expect.stringMatching(/^20\d\d(-\d\d)?$/),
      expect.stringMatching(/^\d+(\.\d)?$/),
    ])
  })
})
