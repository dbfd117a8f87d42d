/**
 * The console in a real browser, over the real API and a real ClickHouse: every page shows what the API says, says it to everybody, and
 * can be shared and driven by keys.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { digits, say, saying } from '../dashboards/console/browser/format.ts'
import type { Advice, Advisor } from '../query/abr/advice.ts'
import { METRICS, type MetricId } from '../query/metrics/catalogue.ts'
import { launchBrowser, watchedPage } from './support/browser.ts'
import { fleetEvents, ServedConsole } from './support/console.ts'
import { sessionId } from './support/events.ts'
import { liveWith } from './support/live.ts'
import { sharedServices, unique } from './support/services.ts'

const NOW = Math.floor(Date.now() / 60_000) * 60_000
const RANGE = { from: new Date(NOW - 600_000).toISOString(), to: new Date(NOW).toISOString() }
const QUERY = `?${new URLSearchParams(RANGE)}`

const LIVE = sessionId(77)
const live = liveWith({
  session_id: LIVE,
  context: { isp: 'a' },
  rung: '1080p60-10m',
  as_of_ms: NOW - 1_500,
  figures: {
    ...{ samples: 10, completeness_pct: 100, bitrate_avg_kbps: 9_100, target_bitrate_kbps: 10_000, rtt_p50_us: 31_000 },
    ...{ available_last_kbps: 13_000, available_harmonic_mean_kbps: 13_000, available_ewma_3s_kbps: 13_000 },
    ...{ available_ewma_9s_kbps: 13_000, packet_loss_pct: 0, fps_avg: 59.9, stutter_time_pct: 0, freeze_time_pct: 0 },
    ...{ period_ms: 1_000, open_frame_us: 4_000 },
  },
})
const priors: Advisor['priors'] = {
  as_of_ms: NOW - 20_000,
  priorOf: () => ({
    ...{ p10_kbps: 4_000, p25_kbps: 7_000, p50_kbps: 12_000, p75_kbps: 16_000, p90_kbps: 21_000, rtt_p50_us: 24_000 },
    ...{
      packet_loss_pct: 0.01,
      start_bitrate_kbps: 7_000,
      cap_kbps: 21_000,
      level: 'isp',
      levels: [{ level: 'isp', n: 40 }],
    },
  }),
}

/** Nothing is stored meanwhile, so many may share an answer. */
const MORE = { abr: { sessions: live, priors }, share_ms: 600_000 }

let served: ServedConsole
let browser: Browser
let worst = ''
beforeAll(async () => {
  ;[served, browser] = await Promise.all([
    ServedConsole.start(sharedServices(), unique('pages'), NOW, MORE),
    launchBrowser(),
  ])
  await served.api.insert(fleetEvents({ sessions: 12, seconds: 600, end_ms: NOW }))
  const { data } = await served.api.get('/v1/sessions', { ...RANGE, order: 'frame_time_p99_us', limit: 1 })
  worst = String(data[0]?.session_id)
})
afterAll(async () => {
  await browser?.close()
  await served?.close()
})

const opened = async (path: string, looks = {}) => {
  const watched = await watchedPage(browser, looks)
  await watched.page.clock.install({ time: NOW + 5_000 })
  await watched.page.goto(served.at(path))
  await watched.page.locator('main#page').waitFor()
  await watched.quiet()
  expect(watched.faults).toEqual([])
  return watched
}

const PAGES = [
  ['Fleet', () => `/${QUERY}`, '.uplot'],
  ['Frames', () => `/frames${QUERY}`, 'canvas.drawing'],
  ['Sessions', () => `/sessions${QUERY}`, 'table.sessions'],
  ['Session', () => `/sessions/${worst}`, '.uplot'],
  ['ABR', () => `/abr?session=${worst}`, 'dl.figures'],
  ['Pipeline', () => '/pipeline', '.uplot'],
] as const

const require = createRequire(import.meta.url)
const axe = readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8')

/** What an expert would call a serious fault for somebody who does not see, hear or use a mouse; and how much was looked at. */
const LOOKED_AT = `axe.run(document, { resultTypes: ['violations'] }).then(({ violations, passes }) => ({
  rules: passes.length,
  serious: violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, nodes }) => id + ': ' + nodes.slice(0, 3).map(node => node.html.slice(0, 160)).join(' | ')) }))`

describe.each(PAGES)('%s', (_, path, shows) => {
  test('wide and light, narrow and dark: nothing fails, nothing sticks out, nobody is shut out', async () => {
    const { page, faults, context } = await opened(path(), { width: 1_440 })
    await page.evaluate(axe)
    for (const looks of [
      { width: 1_440, height: 900, dark: false },
      { width: 360, height: 740, dark: true },
    ]) {
      await page.setViewportSize(looks)
      await page.emulateMedia({ colorScheme: looks.dark ? 'dark' : 'light' })
      await page.locator(shows).first().waitFor()
      await expect.poll(() => page.evaluate('document.documentElement.scrollWidth - innerWidth')).toBeLessThanOrEqual(0)
      const { rules, serious } = (await page.evaluate(LOOKED_AT)) as { rules: number; serious: string[] }
      expect(serious).toEqual([])
      expect(rules).toBeGreaterThan(15)
    }
    expect(faults).toEqual([])
    await context.close()
  })
})

const apiValue = async (id: string): Promise<number | null> => {
  const { data } = await served.api.get(`/v1/metrics/${id}`, RANGE)
  return (data[0]?.value ?? null) as number | null
}

describe('what is shown', () => {
  test('are the API’s numbers, to the last digit and as they are said', async () => {
    for (const path of [`/${QUERY}`, `/frames${QUERY}`]) {
      const { page, context } = await opened(path)
      const shown = page.locator('[data-metric]:has(data)')
      const ids = await shown.evaluateAll(elements =>
        elements.map(element => element.getAttribute('data-metric') ?? ''),
      )
      expect(ids.length).toBeGreaterThanOrEqual(8)
      for (const id of ids) {
        const value = await apiValue(id)
        const element = page.locator(`[data-metric=${id}] data`)
        expect(await element.getAttribute('value'), id).toBe(value === null ? '' : String(value))
        expect(await element.textContent(), id).toBe(say(value, METRICS[id as MetricId].unit).number)
      }
      await context.close()
    }
  })

  test('is the list as the API has it, in its order', async () => {
    const { page, context } = await opened(`/sessions${QUERY}&order=freeze_time_pct&where=fps_avg>30`)
    const { data } = await served.api.get('/v1/sessions', {
      ...RANGE,
      order: 'freeze_time_pct',
      where: 'fps_avg>30',
      limit: 50,
    })
    const rows = await page.locator('table.sessions tbody th code').allTextContents()
    expect(rows).toEqual(data.map(({ session_id }) => String(session_id).slice(0, 8)))
    const first = await page.locator('table.sessions tbody tr').first().locator('td').nth(0).textContent()
    const metrics = (data[0]?.metrics ?? {}) as Record<string, number>
    expect(first).toBe(`${digits(metrics.freeze_time_pct ?? 0)}\u00a0%`)
    await context.close()
  })

  test('of a session are its frames: as many bad ones as the API lists, each reachable', async () => {
    const { page, context } = await opened(`/sessions/${worst}`)
    const { data } = await served.api.get<{ episodes: unknown[]; marks: unknown[] }>(`/v1/sessions/${worst}/timeline`)
    const listed = page.getByRole('region', { name: 'What happened' }).locator('tbody tr')
    const all = (data[0]?.episodes.length ?? 0) + (data[0]?.marks.length ?? 0)
    expect(await listed.count()).toBe(Math.min(100, all))
    await listed.first().getByRole('button').click()
    await page.clock.runFor(1_000)
    expect(new URL(page.url()).searchParams.get('view')).toMatch(/^\d+-\d+$/)
    await context.close()
  })
})

describe('what bitrate logic is told', () => {
  test('is shown as it is told, with its reason and its age, and again a moment later', async () => {
    const { page, faults, context } = await opened(`/abr?session=${LIVE}&like=isp:a`)
    const { app } = served.api
    const told = async (path: string) =>
      (await app.request(path, { headers: { authorization: served.api.authorization } })).json()
    const advice = (await told(`/v1/abr/sessions/${LIVE}`)) as Advice
    const panel = page.getByRole('region', { name: 'What bitrate logic is told of a session' })
    await panel.getByText(advice.recommendation.rung).first().waitFor()
    for (const [name, unit] of [
      ['rtt_p50_us', 'us'],
      ['bitrate_avg_kbps', 'kbps'],
      ['fps_avg', 'fps'],
      ['mos_avg', 'mos'],
    ] as const) {
      const shown = await panel.locator(`[data-figure=${name}] dd`).first().textContent()
      expect(shown, name).toBe(saying(advice.state?.[name], unit))
    }
    await panel.getByText('the step it is at fits').waitFor()
    await panel.getByText('heard of 1.5\u00a0s ago, valid for 3.5\u00a0s').waitFor()
    served.api.advance(5_000)
    await page.clock.runFor(2_000)
    await panel.getByText('what is known is too old: do what is safe').waitFor()
    const { prior } = (await told('/v1/abr/prior?isp=a')) as Pick<Advice, 'prior'>
    const like = page.getByRole('region', { name: 'Where a session like this begins' })
    expect(await like.locator('[data-figure=p50_kbps] .number').textContent()).toBe(saying(prior?.p50_kbps, 'kbps'))
    expect(faults).toEqual([])
    await context.close()
  })
})

describe('a link', () => {
  test('shows to another what one sees: metric, split, filter, range', async () => {
    const mine = await opened(`/${QUERY}`)
    await mine.page.getByLabel('Metric').selectOption('rtt_p95_us')
    await mine.page.getByLabel('Split by').selectOption('access')
    await mine.page.getByLabel('By', { exact: true }).selectOption('region')
    await mine.page.getByLabel('Only').selectOption('access:wifi')
    const url = new URL(mine.page.url())
    expect(url.href).not.toContain(served.key)
    const theirs = await opened(url.pathname + url.search)
    await theirs.page.getByRole('heading', { name: 'Round-trip time, 95th percentile by region' }).waitFor()
    expect(await theirs.page.getByLabel('Split by').inputValue()).toBe('access')
    expect(await theirs.page.getByRole('button', { name: 'Remove filter: access is wifi' }).count()).toBe(1)
    const said = (page: typeof mine.page) => page.locator('.tile data').evaluateAll(all => all.map(e => e.textContent))
    await mine.quiet()
    expect(await said(theirs.page)).toEqual(await said(mine.page))
    await mine.page.goBack()
    await mine.page.getByRole('button', { name: 'Remove filter: access is wifi' }).waitFor({ state: 'detached' })
    for (const { context } of [mine, theirs]) await context.close()
  })
})

describe('by keyboard alone', () => {
  test('one gets from the fleet to a moment of a session', async () => {
    const { page, faults, context } = await opened(`/${QUERY}`)
    const press = async (key: string, until: string): Promise<void> => {
      for (let i = 0; i < 120; i++) {
        await page.keyboard.press(key)
        if (await page.locator(`${until}:focus`).count()) return
      }
      throw new Error(`${until} is not reached with ${key}`)
    }
    await press('Tab', 'button.skip')
    await page.keyboard.press('Enter')
    expect(await page.locator('main#page:focus').count()).toBe(1)
    await press('Shift+Tab', 'a[href^="/sessions?"]')
    await page.keyboard.press('Enter')
    await page.locator('table.sessions').waitFor()
    await press('Tab', 'table.sessions tbody tr:first-child a')
    await page.keyboard.press('Enter')
    await page.locator('.uplot').first().waitFor()
    await press('Tab', '.plot')
    for (const key of ['+', '+', 'ArrowRight']) {
      await page.keyboard.press(key)
      await page.clock.runFor(400)
    }
    expect(new URL(page.url()).searchParams.get('view')).toMatch(/^\d+-\d+$/)
    await page.keyboard.press('0')
    await page.clock.runFor(400)
    expect(new URL(page.url()).searchParams.get('view')).toBeNull()
    expect(faults).toEqual([])
    await context.close()
  })
})
