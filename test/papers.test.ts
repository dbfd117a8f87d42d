/** The papers name nothing that is not there: every file, folder and command in them exists. (The runbook: `runbook.test.ts`.) */
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'

const ROOT = join(import.meta.dirname, '..')
const scripts: Record<string, string> = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')).scripts

describe.each(['README.md', 'docs/API.md', 'ARCHITECTURE.md', 'CONTRIBUTING.md'])('%s', paper => {
  const text = readFileSync(join(ROOT, paper), 'utf8')
  const all = (pattern: RegExp): string[] => [
    ...new Set([...text.matchAll(pattern)].map(([, found = '']) => found.replace(/[/.]$/, ''))),
  ]

  test('every file and folder it names exists', () => {
    const named = all(/(?<![\w/.-])((?:ingest|query|dashboards|local|bench|test|docs)\/[\w./-]+)/g)
    expect(named.filter(path => !existsSync(join(ROOT, path)))).toEqual([])
  })

  test('every command it names exists', () => {
    expect(all(/npm run ([a-z:-]+)/g).filter(name => !Object.hasOwn(scripts, name))).toEqual([])
  })
})
