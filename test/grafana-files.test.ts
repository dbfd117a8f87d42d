/** `npm run dashboards`: what is committed is what the catalogue says now, the same bytes wherever it is written, and one definition of each metric. */
import { spawnSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, test } from 'vitest'
import { dashboards } from '../dashboards/grafana/dashboards/all.ts'
import { files, OUT } from '../dashboards/grafana/files.ts'
import { metricsOf } from '../dashboards/grafana/model.ts'
import { titleOf } from '../dashboards/grafana/panels.ts'
import { printed } from '../dashboards/grafana/sql/print.ts'
import { METRICS } from '../query/metrics/catalogue.ts'
import { RETENTION } from './support/seed.ts'

const ROOT = join(import.meta.dirname, '..')
const out = mkdtempSync(join(tmpdir(), 'dashboards-'))
afterAll(() => rmSync(out, { recursive: true, force: true }))

const run = (args: readonly string[], environment: Record<string, string> = {}) => {
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--import', 'tsx', 'dashboards/grafana/dashboards-command.ts', ...args],
    {
      cwd: ROOT,
      env: { PATH: process.env.PATH, ...environment },
      encoding: 'utf8',
    },
  )
  return { status, said: stdout + stderr }
}

/** A process each, on a machine that may be busy. */
const timeout = 240_000

test('what is committed is fresh, in whatever time zone and language', { timeout }, () => {
  const elsewhere = { TZ: 'Asia/Kathmandu', LANG: 'tr_TR.UTF-8', LC_ALL: 'tr_TR.UTF-8' }
  expect(run(['--check'], elsewhere)).toEqual({ status: 0, said: expect.stringContaining('are fresh') })
})

test('--out writes the same bytes; --check says which file is not fresh, and which is nobody’s', { timeout }, () => {
  expect(run(['--out', out]).status).toBe(0)
  for (const [path, text] of files(RETENTION)) {
    expect(readFileSync(join(out, path), 'utf8') === text, path).toBe(true)
    expect(readFileSync(join(ROOT, OUT, path), 'utf8') === text, path).toBe(true)
    expect(text.length, path).toBeLessThan(2 ** 20)
  }
  const path = join(out, 'dashboards/quality-frames.json')
  writeFileSync(path, readFileSync(path, 'utf8').replace('"Frames"', '"Frames (mine)"'))
  writeFileSync(join(out, 'dashboards/old.json'), '{}')
  const { status, said } = run(['--out', out, '--check'])
  expect(status).toBe(1)
  expect(said).toContain('quality-frames.json is not fresh')
  expect(said).toContain("old.json is nobody's")
  expect(readFileSync(path, 'utf8')).toContain('Frames (mine)')
})

test('--help says what there is', { timeout }, () => {
  expect(run(['--help']).said).toMatch(/--out[\s\S]*--check/)
})

test('another retention gives other windows', () => {
  const usual = files(RETENTION)
  const changed = [...files({ ...RETENTION, cell_days: 20 })].filter(([path, text]) => usual.get(path) !== text)
  expect(changed.map(([path]) => path)).toContain('dashboards/quality-frames.json')
})

test('a parameter that nothing stands for stops the generator', () => {
  expect(() => printed('SELECT {from:UInt32}, {ids:Array(UUID)}', { from: '1' })).toThrow('ids')
})

describe('one definition of each metric', () => {
  const drawn = dashboards(RETENTION).flatMap(({ rows }) => rows.flatMap(({ panels }) => panels))

  test('a panel of one metric has its title, its definition and its unit', () => {
    const single = drawn.filter(({ target }) => new Set(metricsOf(target)).size === 1 && target.answers && !target.by)
    expect(single.length).toBeGreaterThan(20)
    for (const { title, description, target } of single) {
      const [id] = metricsOf(target)
      if (!id) continue
      expect(title).toBe(METRICS[id].title)
      expect(description).toBe(METRICS[id].definition)
    }
  })

  test('of several, what their titles have in common, and every definition', () => {
    const several = drawn.filter(({ target }) => new Set(metricsOf(target)).size > 1)
    expect(several.length).toBeGreaterThan(10)
    for (const { description, target } of several)
      for (const id of metricsOf(target)) expect(description).toContain(METRICS[id].definition)
    const percentiles = drawn.find(({ target }) => metricsOf(target).includes('frame_time_p999_us'))
    expect(percentiles && titleOf(percentiles.target)).toBe(
      'Frame time: median, 90th percentile, 95th percentile, 99th percentile, 99.9th percentile',
    )
  })
})
