/**
 * The console as files and as rules, without a browser: small, cacheable, harmless to load; and what its pages decide, by themselves.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { OpenAPIHono } from '@hono/zod-openapi'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { columnsOf, Frames } from '../dashboards/console/browser/charts/frame-data.ts'
import { digits, length, saying, UNKNOWN } from '../dashboards/console/browser/format.ts'
import { PAGE_PATHS, pageOf, pathOf } from '../dashboards/console/browser/paths.ts'
import {
  DEFAULTS,
  elsewhere,
  type Place,
  placeOf,
  stepFor,
  urlOf,
  viewOf,
} from '../dashboards/console/browser/place.ts'
import { buildConsole } from '../dashboards/console/build.ts'
import { addConsole } from '../query/http/console.ts'
import type { RequestEnv } from '../query/http/problems.ts'

const FIRST_LOAD_MAX = 150_000

const directory = mkdtempSync(join(tmpdir(), 'console-'))
const app = new OpenAPIHono<RequestEnv>()
let assets: readonly string[] = []
beforeAll(async () => {
  await buildConsole(join(directory, 'built'))
  assets = await buildConsole(join(directory, 'built'))
  addConsole(app, join(directory, 'built'))
})
afterAll(() => rmSync(directory, { recursive: true }))

const built = (...path: string[]): string => readFileSync(join(directory, 'built', ...path), 'utf8')
const packed = { 'accept-encoding': 'gzip, br' }

describe('the files of the console', () => {
  test('are the same whenever they are built, each named after what is in it', async () => {
    expect([...(await buildConsole(join(directory, 'again')))].sort()).toEqual([...assets].sort())
    expect(assets.every(name => /-[A-Z0-9]{8}\.(js|css|svg|txt)$/.test(name))).toBe(true)
  })

  test('are less than 150 kB on the first load, as they are sent', async () => {
    const sizes = await Promise.all(
      ['/', ...assets.filter(name => !name.endsWith('.txt')).map(name => `/assets/${name}`)].map(async path => {
        const response = await app.request(path, { headers: packed })
        expect([response.status, response.headers.get('content-encoding')], path).toEqual([200, 'gzip'])
        return (await response.arrayBuffer()).byteLength
      }),
    )
    expect(sizes.reduce((a, b) => a + b)).toBeLessThan(FIRST_LOAD_MAX)
  })

  test('refer to nothing elsewhere, and have no script or style in the page', async () => {
    const html = await (await app.request('/')).text()
    expect(html).not.toMatch(/https?:/)
    expect(html).not.toMatch(/<script(?![^>]* src="\/assets\/)|<style|style=|\son\w+=/)
    for (const [, path = ''] of html.matchAll(/(?:src|href)="(\/assets[^"]+)"/g))
      expect((await app.request(path)).status, path).toBe(200)
  })

  test('come with a policy that runs no script but ours, at every page', async () => {
    for (const path of PAGE_PATHS.map(path => path.replace(':id', 'x'))) {
      const { headers, status } = await app.request(path)
      expect(status, path).toBe(200)
      const policy = headers.get('content-security-policy') ?? ''
      expect(policy).toContain("default-src 'none'")
      expect(policy).toContain("script-src 'self'")
      expect(policy).not.toContain('unsafe')
      expect(headers.get('referrer-policy')).toBe('no-referrer')
    }
  })

  test('are kept for ever, and the page that names them is looked at again', async () => {
    const [asset] = assets
    const kept = await app.request(`/assets/${asset}`)
    expect(kept.headers.get('cache-control')).toContain('immutable')
    const page = await app.request('/', { headers: packed })
    expect(page.headers.get('cache-control')).toBe('no-cache')
    const etag = page.headers.get('etag') ?? ''
    expect((await app.request('/', { headers: { ...packed, 'if-none-match': etag } })).status).toBe(304)
    expect((await app.request('/', { headers: { 'if-none-match': etag } })).status).toBe(200)
  })

  test('are a closed list', async () => {
    for (const path of ['/assets/manifest.json', '/assets/..%2Findex.html', '/manifest.json', '/index.html'])
      expect((await app.request(path)).status, path).toBe(404)
  })

  test('that are not there are asked for in a sentence', async () => {
    const bare = new OpenAPIHono<RequestEnv>()
    addConsole(bare, join(directory, 'nowhere'))
    const response = await bare.request('/')
    const { detail } = (await response.json()) as { detail: string }
    expect([response.status, detail]).toEqual([404, expect.stringContaining('npm run console')])
  })

  test('name whose work they hold, and under which licence', async () => {
    const script = assets.find(name => name.endsWith('.js')) ?? ''
    const [, notice = ''] = /^\/\*! .*(\/assets\/[\w-]+\.txt) \*\//.exec(built('assets', script)) ?? []
    const text = await (await app.request(notice)).text()
    for (const name of ['hono', 'preact', 'uplot']) expect(text).toContain(`${name} `)
    expect(text.match(/Permission is hereby granted/g)?.length).toBeGreaterThanOrEqual(3)
  })
})

describe('a place', () => {
  const text = fc.string({ maxLength: 20 })
  const place: fc.Arbitrary<Place> = fc.record({
    page: fc.constantFrom('fleet', 'frames', 'sessions', 'abr', 'pipeline'),
    id: fc.constant(''),
    filter: fc.array(text, { maxLength: 3 }),
    where: fc.array(text, { maxLength: 3 }),
    like: fc.array(text, { maxLength: 3 }),
    ...{ from: text, to: text, metric: text, group: text, by: text, order: text },
    ...{ threshold_us: text, view: text, live: text, session: text },
  })

  test('is what its URL says, whatever is in it', () => {
    fc.assert(
      fc.property(place, one => {
        const { pathname, search } = new URL(urlOf(one), 'http://x')
        expect(placeOf(pathname, search)).toEqual(one)
      }),
    )
  })

  test('with nothing set has a bare URL, and takes no parameter that is not its own', () => {
    const bare = placeOf('/frames', '?key=secret&constructor=1')
    expect(bare).toEqual({ page: 'frames', id: '', ...DEFAULTS })
    expect(urlOf(bare)).toBe('/frames')
  })

  test('elsewhere keeps range and filters, and leaves what belongs to its page', () => {
    const here = placeOf('/', '?from=now-6h&filter=isp:a&metric=fps_avg&by=game')
    expect(urlOf(elsewhere(here, 'frames'))).toBe('/frames?from=now-6h&filter=isp%3Aa')
    expect(urlOf(elsewhere(here, 'session', 'a b'))).toBe('/sessions/a%20b?filter=isp%3Aa')
    expect(pageOf(pathOf('session', 'a b'))).toEqual({ page: 'session', id: 'a b' })
  })

  test('asks for as many points as can be drawn', () => {
    const range = (from: string, to = 'now') => stepFor({ from, to }, 90, Date.UTC(2026, 0, 31))
    expect([range('now-15m'), range('now-1h'), range('now-6h'), range('now-7d')]).toEqual(['10s', '1m', '5m', '6h'])
    expect([range('yesterday'), range('2025-12-01T00:00:00Z', '2025-12-01T01:00:00Z')]).toEqual(['auto', 'auto'])
    expect(viewOf({ view: '1000-3000' })).toEqual({ min: 1, max: 3 })
    expect([viewOf({ view: '3000-1000' }), viewOf({ view: 'x' })]).toEqual([undefined, undefined])
  })
})

describe('a number', () => {
  test.each([
    [16_667, 'us', '16.7\u00a0ms'],
    [950, 'us', '0.95\u00a0ms'],
    [2_220_000, 'us', '2.22\u00a0s'],
    [14_800, 'kbps', '14.8\u00a0Mbit/s'],
    [806, 'kbps', '806\u00a0kbit/s'],
    [0.0004, 'pct', '<0.001\u00a0%'],
    [0, 'pct', '0\u00a0%'],
    [1_587_990, 'sessions', '1\u202f587\u202f990'],
    [4, 'mos', '4.00\u00a0of 5'],
    [null, 'fps', UNKNOWN],
  ] as const)('%s %s is said as %s', (value, unit, said) => {
    expect(saying(value, unit)).toBe(said)
  })

  test('is never more than half of its third digit away from what is said', () => {
    fc.assert(
      fc.property(fc.double({ min: 0.001, max: 1e9, noNaN: true }), value => {
        const said = Number(digits(value).replaceAll('\u202f', ''))
        expect(Math.abs(said - value)).toBeLessThanOrEqual(Math.max(0.000_501, value / 199))
      }),
    )
    expect([length(4_000), length(90_000), length(3_600_000), length(5_430_000)]).toEqual(
      ['4 s', '1 min 30 s', '1 h', '1 h 31 min'].map(text => text.replace(/(\d) /g, '$1\u00a0')),
    )
  })
})

describe('the frames of a chart', () => {
  const line = (at_ms: number, frame_time_us: number[], stutters: number[] = []): string =>
    `${JSON.stringify({ at: new Date(at_ms).toISOString(), target_fps: 60, frame_time_us, stutters, freezes: [] })}\n`

  test('keep the longest and the shortest of every stretch, however few pixels there are', () => {
    const times = fc.array(fc.array(fc.integer({ min: 1_000, max: 400_000 }), { minLength: 1, maxLength: 80 }), {
      minLength: 1,
      maxLength: 20,
    })
    fc.assert(
      fc.property(times, fc.integer({ min: 1, max: 300 }), (events, pixels) => {
        const frames = new Frames()
        let at_ms = 1_700_000_000_000
        for (const event of events) {
          frames.read(line(at_ms, event))
          at_ms += Math.round(event.reduce((a, b) => a + b) / 1_000)
        }
        const all = events.flat()
        expect(frames.count).toBe(all.length)
        const [t, longest, shortest] = columnsOf(frames, 1_700_000_000 - 1, at_ms / 1_000 + 1, pixels)
        const known = (values: (number | null)[]): number[] => values.filter(value => value !== null)
        expect(Math.max(...known(longest))).toBe(Math.max(...all))
        expect(Math.min(...known(shortest))).toBe(Math.min(...all))
        expect(t.every((one, i) => i === 0 || one >= (t[i - 1] ?? 0))).toBe(true)
        expect(t.length).toBeLessThanOrEqual(Math.max(pixels, all.length) + 2 * events.length + 1)
      }),
      { numRuns: 200 },
    )
  })

  test('have a gap where nothing was said, and know when what was bad began', () => {
    const frames = new Frames()
    frames.read(line(1_000_000, [20_000, 80_000], [1]) + line(9_000_000, [20_000]))
    expect(frames.bad).toEqual([{ kind: 'stutter', frame_us: 80_000, from: expect.closeTo(1_000.02), to: 1_000.1 }])
    const [, longest] = columnsOf(frames, 999, 9_001, 500)
    expect(longest).toEqual([20_000, 80_000, null, 20_000])
  })
})
