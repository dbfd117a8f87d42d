/**
 * The console when things are not as they should be, and when they change: it says so plainly, keeps what it knows, and goes on by itself.
 */
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { launchBrowser, type Watched, watchedPage } from './support/browser.ts'
import { fleetEvents, ServedConsole } from './support/console.ts'
import { sharedServices, unique } from './support/services.ts'

const NOW = Math.floor(Date.now() / 60_000) * 60_000
const BEAT_MS = 10_000

let browser: Browser
let served: ServedConsole
beforeAll(async () => {
  ;[browser, served] = await Promise.all([
    launchBrowser(),
    ServedConsole.start(sharedServices(), unique('states'), NOW),
  ])
  await served.api.insert(fleetEvents({ sessions: 4, seconds: 120, end_ms: NOW }))
})
afterAll(async () => {
  await browser?.close()
  await served?.close()
})

const opened = async (path: string, time = NOW + 3_000): Promise<Watched> => {
  const watched = await watchedPage(browser)
  await watched.page.clock.install({ time })
  await watched.page.goto(path)
  return watched
}
const freshness = ({ page }: Watched) => page.locator('.freshness')

describe('what is new', () => {
  test('comes without a reload, within a beat, and the newest event is as old as it is', async () => {
    const watched = await opened(served.at('/?from=now-15m'))
    const { page, faults } = watched
    const sessions = page.locator('[data-metric=concurrent_sessions] data')
    const said = async () =>
      `, ${(await served.api.get('/v1/metrics/sessions', { from: 'now-15m' })).data[0]?.value} sessions`
    await page.getByText(/newest event \d+\ss old/).waitFor()
    await page.getByText(await said()).waitFor()
    await watched.quiet()
    const before = await sessions.getAttribute('value')
    await page.evaluate('window.stays = true')
    served.api.advance(BEAT_MS)
    await served.api.insert(fleetEvents({ sessions: 9, seconds: 20, end_ms: NOW + BEAT_MS, seed: 3 }))
    await page.clock.runFor(BEAT_MS)
    await page.getByText(await said()).waitFor()
    await expect.poll(() => sessions.getAttribute('value')).not.toBe(before)
    expect(await page.evaluate('window.stays')).toBe(true)
    expect(faults).toEqual([])
    await watched.context.close()
  })

  test('stands still where somebody wants it to', async () => {
    const watched = await opened(served.at('/?from=now-15m'))
    await watched.page.getByRole('button', { name: 'Live' }).click()
    await watched.quiet()
    const asked: string[] = []
    watched.page.on('request', request => asked.push(request.url()))
    await watched.page.clock.runFor(5 * BEAT_MS)
    expect(asked).toEqual([])
    expect(new URL(watched.page.url()).searchParams.get('live')).toBe('off')
    await watched.context.close()
  })
})

describe('what is not as it should be', () => {
  test.each([
    ['late', 60_000, /late: newest event/],
    ['stale', 600_000, /stale: newest event 1\d\smin/],
  ])('%s data say so, in a word and a sign', async (state, age_ms, words) => {
    const watched = await opened(served.at('/'), NOW + BEAT_MS + age_ms)
    await watched.page.getByText(words).waitFor()
    expect(await freshness(watched).getAttribute('class')).toContain(state)
    expect(await freshness(watched).locator('[aria-hidden]').textContent()).toMatch(/[▲■]/)
    await watched.context.close()
  })

  test('a range without events is empty, not zero', async () => {
    const watched = await opened(served.at('/?from=2024-01-01T00:00:00Z&to=2024-01-01T01:00:00Z'))
    await watched.page.getByText('no events in this range').waitFor()
    await watched.quiet()
    expect(await watched.page.locator('.tile data').evaluateAll(all => all.map(e => e.textContent))).toEqual(
      Array(8).fill('–'),
    )
    expect(await watched.page.locator('.tile', { hasText: 'not known in this range' }).count()).toBe(8)
    await expect.poll(() => watched.page.getByText('Nothing in this range.').count()).toBe(2)
    expect(watched.faults).toEqual([])
    await watched.context.close()
  })

  test('a key that the API does not know is asked for again, and forgotten', async () => {
    const watched = await opened(`${served.url}/#key=wrong`)
    await watched.page.getByText('The API does not know this key.').waitFor()
    expect(watched.page.url()).not.toContain('wrong')
    await watched.page.getByLabel('Key').fill(served.key)
    await watched.page.getByRole('button', { name: 'Look' }).click()
    await watched.page.locator('.tile').first().waitFor()
    await watched.page.reload()
    await watched.page.locator('.tile').first().waitFor()
    expect(watched.faults.every(fault => fault.includes('401'))).toBe(true)
    expect(await watched.page.evaluate('JSON.stringify(localStorage) + location.href + document.cookie')).not.toContain(
      served.key,
    )
    await watched.context.close()
  })

  test('no key at all is asked for before anything else', async () => {
    const watched = await opened(`${served.url}/frames?from=now-6h`)
    await watched.page.getByLabel('Key').fill(served.key)
    await watched.page.keyboard.press('Enter')
    await watched.page.getByRole('heading', { name: 'Frame time over time' }).waitFor()
    expect(new URL(watched.page.url()).search).toBe('?from=now-6h')
    expect(watched.faults).toEqual([])
    await watched.context.close()
  })

  test('a session nobody knows, and a question the API refuses, are said in its words', async () => {
    const unknown = await opened(served.at('/sessions/00000000-0000-4000-8000-00000000dead'))
    await unknown.page.getByText('no event of such a session is known').first().waitFor()
    const refused = await opened(served.at('/sessions?where=nonsense'))
    await refused.page.getByText('The API cannot answer this as it was put').waitFor()
    await refused.page.getByText(/^Request [0-9a-f-]{36}$/).waitFor()
    for (const { context } of [unknown, refused]) await context.close()
  })

  test('an API that is gone leaves what was known, says since it is old, and is asked again', async () => {
    const other = await ServedConsole.start(sharedServices(), unique('gone'), NOW)
    const watched = await opened(other.at('/'))
    const { page } = watched
    await page.getByText('no events in this range').waitFor()
    await watched.quiet()
    await other.stopAnswering()
    await page.clock.runFor(BEAT_MS)
    await page.getByText('the API does not answer; what you see is from before').waitFor()
    expect(await page.locator('.tile').count()).toBe(8)
    const late = await watchedPage(browser)
    await late.page.clock.install({ time: NOW })
    await late.page.route('**/v1/**', route => route.abort('connectionrefused'))
    await late.page.goto(served.at('/'))
    await late.page.getByText('the API does not answer.').waitFor()
    await late.page.unroute('**/v1/**')
    await late.page.clock.runFor(BEAT_MS)
    await late.page.locator('.tile').first().waitFor()
    for (const { context } of [watched, late]) await context.close()
    await other.api.close()
  })
})

describe('a chart', () => {
  test('gives its question away as a call that answers what it shows, without the key', async () => {
    const watched = await opened(served.at('/frames?from=now-15m&filter=access:wifi'))
    const { page } = watched
    await page.getByRole('button', { name: 'Copy as API call: Frame time over time' }).click()
    await page.getByText('Copied as a call of the API').waitFor()
    const call = String(await page.evaluate('navigator.clipboard.readText()'))
    expect(call).not.toContain(served.key)
    const [, url = ''] = /^curl -s -H "Authorization: Bearer \$KEY" '([^']+)'$/.exec(call) ?? []
    const { pathname, search } = new URL(url)
    const answer = await served.api.app.request(pathname + search, {
      headers: { authorization: `Bearer ${served.key}` },
    })
    expect(answer.status).toBe(200)
    expect([pathname, new URL(url).searchParams.get('filter')]).toEqual([
      '/v1/metrics/frame_time_p99_us/heatmap',
      'access:wifi',
    ])
    await watched.context.close()
  })

  test('is drawn in the colours that were chosen, also after a reload', async () => {
    const watched = await opened(served.at('/'))
    const { page } = watched
    await page.getByLabel('Colours').selectOption('dark')
    const ground = () => page.evaluate('getComputedStyle(document.body).backgroundColor')
    const dark = await ground()
    await page.reload()
    await page.locator('.tile').first().waitFor()
    expect(await ground()).toBe(dark)
    await page.getByLabel('Colours').selectOption('light')
    expect(await ground()).not.toBe(dark)
    await watched.context.close()
  })
})
