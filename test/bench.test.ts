/**
 * The benchmark runs and says a number wherever it promises one, and what it races against ends with the same result as ours, which it
 * checks itself. What the numbers are depends on the machine and is no test's business.
 */
import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, describe, expect, test } from 'vitest'
import { type Finding, markdown, markdownTable, middle, printedTables } from '../bench/finding.ts'
import { PARTS } from '../bench/parts.ts'

const ROOT = join(import.meta.dirname, '..')
const directory = mkdtempSync(join(tmpdir(), 'stream-quality-bench-test-'))
afterAll(() => rmSync(directory, { recursive: true, force: true }))

/** On a busy machine every part takes many times what it takes alone. */
const DEADLINE_MS = 900_000

const run = promisify(execFile)

async function quickly(part: string): Promise<Finding> {
  const file = join(directory, `${part}.json`)
  const args = ['--import', 'tsx', 'bench/command.ts', '--quick', '--only', part, '--json', file]
  await run(process.execPath, args, { cwd: ROOT, timeout: DEADLINE_MS, env: { ...process.env, NODE_ENV: undefined } })
  const [finding] = JSON.parse(readFileSync(file, 'utf8')) as [Finding]
  return finding
}

/** Every number of a finding, by where it stands. A number that is none is null in JSON. */
const figuresOf = ({ ratios, tables }: Finding): [where: string, figure: unknown][] => [
  ...Object.entries(ratios),
  ...Object.entries(tables).flatMap(([caption, table]) =>
    Object.entries(table).flatMap(([row, cells]) =>
      Object.entries(cells)
        .filter(([, cell]) => typeof cell !== 'string')
        .map(([column, cell]): [string, unknown] => [`${caption} / ${row} / ${column}`, cell]),
    ),
  ),
]

describe('npm run bench -- --quick', () => {
  test.each(Object.keys(PARTS))(
    'says every figure of %s',
    async part => {
      const figures = figuresOf(await quickly(part))
      expect(figures.length).toBeGreaterThan(2)
      expect(figures.filter(([, figure]) => !Number.isFinite(figure))).toEqual([])
    },
    DEADLINE_MS,
  )
})

describe('what was found', () => {
  test('is written ratios first, with the digits that mean something', () => {
    const finding: Finding = {
      title: 'Speed',
      ratios: { 'ours / theirs': 1.23456 },
      tables: { 'A table': { ours: { 'events/s': 65_432.1, spread: '1–2' }, theirs: { 'events/s': 50_000 } } },
      notes: ['A note.'],
    }
    const text = markdown([{ measured: 'one machine', finding }])
    expect(text.indexOf('| ours / theirs | 1.235 |')).toBeGreaterThan(0)
    expect(text.indexOf('| ours / theirs | 1.235 |')).toBeLessThan(text.indexOf('## Speed'))
    expect(text).toContain(markdownTable(finding.tables['A table'] ?? {}))
    expect(text).toContain('| theirs | 50000 |  |')
  })

  test('is read back from what a process printed', () => {
    const printed = [
      'words',
      '┌──────────┬────────┬───────┐',
      '│ (index)  │ p50 ms │ times │',
      '├──────────┼────────┼───────┤',
      "│ one      │ 12.5   │ '×2'  │",
      "│ two      │ 3      │ ''    │",
      '└──────────┴────────┴───────┘',
    ]
    expect(printedTables(printed)).toEqual([{ one: { 'p50 ms': 12.5, times: '×2' }, two: { 'p50 ms': 3, times: '' } }])
  })

  test('of several runs is the middle one', () => {
    expect([middle([3, 1, 2]), middle([4, 1, 2, 3])]).toEqual([2, 2.5])
  })
})
