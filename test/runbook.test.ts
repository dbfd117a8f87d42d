/**
 * The runbook is for somebody who was just woken. Each alert has its section, all in one form, and what it names exists as it is written:
 * routes and parameters, vitals, variables, commands, panels, log lines, columns, bounds. That its calls answer is seen in `readme.test.ts`.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { ClickHouseError } from '@clickhouse/client'
import { describe, expect, test } from 'vitest'
import { BURNS, OBJECTIVES, SESSIONS_MIN } from '../dashboards/grafana/alerts/objectives.ts'
import { provisioned } from '../dashboards/grafana/alerts/rule.ts'
import { dashboards } from '../dashboards/grafana/dashboards/all.ts'
import { rules } from '../dashboards/grafana/files.ts'
import { placed } from '../dashboards/grafana/layout.ts'
import { DEFAULTS, variables } from '../ingest/runtime/variables.ts'
import { createIngestVitals } from '../ingest/runtime/vitals.ts'
import { worthRetrying } from '../ingest/store/clickhouse.ts'
import { createQueryVitals } from '../query/http/vitals.ts'
import { METRICS } from '../query/metrics/catalogue.ts'
import type { Document } from './fuzz/document.ts'
import { CALLS, CODES, ITALICS, RUNBOOK, SECTIONS } from './support/runbook.ts'
import { RETENTION } from './support/seed.ts'

const ROOT = join(import.meta.dirname, '..')
const read = (file: string): string => readFileSync(join(ROOT, file), 'utf8')
const scripts: Readonly<Record<string, string>> = JSON.parse(read('package.json')).scripts
const { paths }: Document = JSON.parse(read('test/data/openapi.json'))
const SOURCES = ['ingest', 'query']
  .flatMap(folder =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map(file => join(folder, file)),
  )
  .filter(file => /\.(ts|sql)$/.test(file))
  .map(read)
  .join('\n')
const VITALS = await (async () => {
  const told = await Promise.all(
    [createIngestVitals(), createQueryVitals()].map(({ registry }) => registry.getMetricsAsJSON()),
  )
  return told
    .flat()
    .flatMap(({ name, type }) => [name, ...(String(type) === 'histogram' ? [`${name}_sum`, `${name}_count`] : [])])
})()

describe('a section', () => {
  test('is there for each alert, and for nothing else', () => {
    const links = rules(RETENTION).map(rule => provisioned(rule, 0).annotations.runbook_url)
    expect([...SECTIONS.keys()].sort()).toEqual([...new Set(links.map(link => link.split('#')[1]))].sort())
  })

  test.each([...SECTIONS])(
    '%s: what it means, where to look, causes, when it is over, when to do nothing',
    (_, section) => {
      const [own = ''] = section.split('\n### ')
      for (const part of ['**Means.** ', '**Look.** ', '```sh\n', '\n**Over** ', '**Do nothing** '])
        expect(own).toContain(part)
      const causes = [...own.matchAll(/^(\d)\. \*\*[^*]+\*\* /gm)].map(([, number]) => Number(number))
      expect(causes).toEqual(causes.map((_, i) => i + 1))
      expect(causes.length).toBeGreaterThanOrEqual(3)
      expect(own.split('\n').filter(line => line !== '').length).toBeLessThanOrEqual(20)
    },
  )

  test.each(OBJECTIVES)('$uid names the bounds of its rules', ({ uid, metric, objective }) => {
    const means = SECTIONS.get(uid)?.split('**Look.**', 1)[0] ?? ''
    for (const { above } of BURNS) {
      const bad_pct = 100 * above * (1 - objective)
      const bound = METRICS[metric].better === 'higher' ? 100 - bad_pct : bad_pct
      expect(means).toContain(` ${Number(bound.toFixed(2))} %`)
    }
    expect(means).toContain(`fewer than ${SESSIONS_MIN} sessions`)
  })

  test('leads to other sections and headings that are there', () => {
    const headings = [...RUNBOOK.matchAll(/^#+ (.+)$/gm)].map(([, title = '']) =>
      title.toLowerCase().replaceAll(' ', '-'),
    )
    const links = [...RUNBOOK.matchAll(/\]\(([^)]+)\)/g)].map(([, target]) => target)
    expect(links.length).toBeGreaterThan(5)
    expect(links.filter(target => !headings.includes(target?.slice(1) ?? ''))).toEqual([])
  })
})

/** @param text `/v1/…?…`, of a concrete thing or with its placeholder */
function unknownIn(text: string, method = 'get'): string[] {
  const [path = '', query = ''] = text.split('?')
  const found = Object.entries(paths).find(([form]) =>
    new RegExp(`^${form.replaceAll(/\{\w+\}/g, '[^/]+')}$`).test(path),
  )?.[1][method]
  if (!found) return [path]
  const metric = /^\/v1\/metrics\/(\w+)/.exec(path)?.[1]
  const known = (found.parameters ?? []).filter(({ in: place }) => place === 'query').map(({ name }) => name)
  return [
    ...(metric && !(metric in METRICS) ? [metric] : []),
    ...[...new URLSearchParams(query).keys()].filter(name => !known.includes(name)),
  ]
}

describe('what it names exists', () => {
  const [CALL, VITAL, VARIABLE, FILE] = [
    /^(?:(?:ask|vital|sql|docker|npm) |--|(?:(?:GET|POST|DELETE) )?\/v1\/)/,
    /^(?:ingest|abr|query|process|nodejs)_\w+$/,
    /^[A-Z][A-Z0-9]*_[A-Z0-9_]+$/,
    /^[a-z]+\/.+\.ts$/,
  ]
  const those = (form: RegExp): string[] => CODES.filter(code => form.test(code))

  test('panels, rows and dashboards', () => {
    const titles = dashboards(RETENTION).flatMap(one => [
      one.title,
      ...one.rows.map(({ title }) => title),
      ...placed(one).map(({ drawn }) => drawn.title),
    ])
    expect(ITALICS.length).toBeGreaterThan(10)
    expect(ITALICS.filter(name => !titles.includes(name))).toEqual([])
  })

  test('routes, with their parameters', () => {
    const asked = CALLS.flatMap(call => /^ask '?(\/v1[^' ]*)/.exec(call)?.[1] ?? [])
    const alone = [...RUNBOOK.matchAll(/(GET|POST|DELETE)? ?(?<![\w'])(\/v1\/[\w/{}]+)/g)]
    expect(asked.length).toBeGreaterThan(15)
    expect(asked.flatMap(path => unknownIn(path))).toEqual([])
    expect(alone.flatMap(([, method = 'GET', path = '']) => unknownIn(path, method.toLowerCase()))).toEqual([])
  })

  test('vitals', () => {
    const named = those(VITAL)
    expect(named.length).toBeGreaterThan(10)
    expect(named.filter(name => !VITALS.includes(name))).toEqual([])
    const begun = CALLS.flatMap(call => /^vital '?([^' ]+)/.exec(call)?.[1]?.split('|') ?? [])
    expect(begun.length).toBeGreaterThan(10)
    expect(begun.filter(name => !VITALS.some(vital => vital.startsWith(name)))).toEqual([])
  })

  test('variables', () => {
    const named = those(VARIABLE)
    expect(named.length).toBeGreaterThan(5)
    expect(named.filter(name => !(name in variables.shape))).toEqual([])
  })

  test('commands, and their flags', () => {
    const commands = [...RUNBOOK.matchAll(/npm (?:run )?([a-z:]+)((?: --[a-z-]*| [a-z_]+)*)/g)]
    expect(commands.length).toBeGreaterThan(3)
    for (const [command, name = '', rest = ''] of commands) {
      expect(scripts, command).toHaveProperty(name)
      const [file = ''] = /\S+\.ts/.exec(scripts[name] ?? '') ?? []
      for (const [flag] of rest.matchAll(/--[a-z][a-z-]*/g)) expect(read(file), command).toContain(`'${flag}`)
    }
  })

  test('services of Docker', () => {
    const named = [...RUNBOOK.matchAll(/docker compose (?:exec|logs|run) (\w+)/g)].map(([, name]) => name)
    for (const name of named) expect(read('compose.yaml')).toContain(`\n  ${name}:\n`)
  })

  test('codes of ClickHouse after which it is tried again', () => {
    const codes = those(/^\d+$/)
    expect(codes.length).toBeGreaterThan(2)
    for (const code of codes)
      expect(worthRetrying(new ClickHouseError({ code, message: '', type: '' })), code).toBe(true)
  })

  test('files', () => {
    expect(those(FILE).length).toBeGreaterThan(0)
    for (const file of those(FILE)) expect(existsSync(join(ROOT, file)), file).toBe(true)
    for (const [path] of RUNBOOK.matchAll(/\.data\b/g)) expect(path).toBe(DEFAULTS.DATA_DIR)
  })

  test('tables in SQL', () => {
    const tables = [...RUNBOOK.matchAll(/\b\w+_v\d\b/g)].map(([name]) => name)
    expect(tables.length).toBeGreaterThan(3)
    expect(tables.filter(name => !SOURCES.includes(`CREATE TABLE IF NOT EXISTS ${name}\n`))).toEqual([])
  })

  test('whatever else is written as code stands in the sources: fields, columns, reasons, states, log lines', () => {
    const SQL = /^[A-Z]+ [A-Z]+/
    const rest = CODES.filter(
      code => ![CALL, VITAL, VARIABLE, FILE, SQL, /^\d+$/, /^\.data\//].some(form => form.test(code)),
    )
    expect(rest.length).toBeGreaterThan(50)
    const stands = (code: string): boolean =>
      new RegExp(`(?<!\\w)${code.replaceAll(/[().]/g, '\\$&')}(?!\\w)`).test(SOURCES)
    expect(rest.filter(code => !stands(code))).toEqual([])
  })
})
