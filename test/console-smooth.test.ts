/**
 * The console stays smooth with as much as it is given: an hour of a session frame by frame, and an hour of the fleet live. Measured by
 * the browser's own tracing, in processor time of the page's main thread: what else this machine does is not in it.
 */
import type { Browser } from 'playwright-core'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import type { BitrateEvent, FrameTimesEvent } from '../ingest/contract/events.ts'
import { launchBrowser, watchedPage } from './support/browser.ts'
import { ServedConsole } from './support/console.ts'
import { sessionId } from './support/events.ts'
import { sharedServices, unique } from './support/services.ts'
import { traced } from './support/trace.ts'

const HOUR_S = 3_600
const NOW = Math.floor(Date.now() / 60_000) * 60_000
const START = NOW - HOUR_S * 1_000
const SCRIPTING_MAX_MS = 200
const TASK_MAX_MS = 50

let browser: Browser
let served: ServedConsole
beforeAll(async () => {
  const limits = { requests_per_second: 10_000, concurrent_requests: 1_000 }
  const more = { limits, share_ms: 600_000 }
  ;[browser, served] = await Promise.all([
    launchBrowser(),
    ServedConsole.start(sharedServices(), unique('smooth'), NOW, more),
  ])
  await served.api.insert(hourOf(1))
})
afterAll(async () => {
  await browser?.close()
  await served?.close()
})

/** 216,000 frames, a bad one every ten seconds. */
function hourOf(n: number): (FrameTimesEvent | BitrateEvent)[] {
  return Array.from({ length: HOUR_S }, (_, s) => {
    const at_ms = START + s * 1_000
    const envelope = {
      v: 1,
      session_id: sessionId(n),
      source: 'client',
      sent_at_ms: at_ms + 1_000,
      context: {},
    } as const
    const frame_time_us = Array.from({ length: 60 }, (_, i) =>
      s % 10 === 0 && i === 30 ? 90_000 + ((s * 37) % 200) * 1_000 : 15_000 + ((s * 31 + i * 17) % 40) * 100,
    )
    const [seq, started_at_ms] = [2 * s, at_ms]
    const frames: FrameTimesEvent = {
      ...{ ...envelope, kind: 'frame_times', seq, started_at_ms, target_fps: 60, frame_time_us },
    }
    const rate: BitrateEvent = {
      ...{ ...envelope, kind: 'bitrate', seq: seq + 1, started_at_ms: at_ms + 5, interval_ms: 1_000 },
      ...{ bitrate_kbps: 8_000 + ((s * 13) % 900), target_bitrate_kbps: 9_000, available_kbps: 15_000 },
      ...{ rtt_us: 21_000, jitter_us: 900, packets_received: 1_000, packets_lost: s % 97 === 0 ? 3 : 0 },
    }
    return [frames, rate]
  }).flat()
}

const range = new URLSearchParams({ from: new Date(START).toISOString(), to: new Date(NOW).toISOString() })

describe('an hour of a session', () => {
  test('of 216,000 frames is drawn with little scripting once it is there, and moves without a long task', async ({
    annotate,
  }) => {
    const { page, faults, context, quiet } = await watchedPage(browser)
    // The chart is drawn by the task that follows the last piece of the answer.
    await page.addInitScript(`
      const read = ReadableStreamDefaultReader.prototype.read
      ReadableStreamDefaultReader.prototype.read = async function () {
        const piece = await read.call(this)
        if (piece.done) performance.mark('all-is-there')
        return piece
      }`)
    const plot = page.locator('.plot[aria-label*="216000 frames"]')
    const drawn = await traced(
      page,
      async () => {
        await page.goto(served.at(`/sessions/${sessionId(1)}?${range}`))
        await plot.waitFor()
        await quiet()
      },
      'all-is-there',
    )
    expect(drawn.tasks).toBeGreaterThan(0)
    expect(drawn.scripting_ms).toBeGreaterThan(0)
    expect(drawn.scripting_ms).toBeLessThanOrEqual(SCRIPTING_MAX_MS)
    expect(await plot.getAttribute('aria-label')).toContain('144 stutters, 216 freezes')

    const moved = await traced(page, async () => {
      await plot.focus()
      for (const key of ['+', ...Array(10).fill('ArrowLeft'), '-', '+', ...Array(10).fill('ArrowRight')]) {
        await page.keyboard.press(key)
        await page.evaluate('new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))')
      }
    })
    expect(moved.tasks).toBeGreaterThan(20)
    expect(moved.longest_task_ms).toBeLessThanOrEqual(TASK_MAX_MS)
    await annotate(JSON.stringify({ drawn, moved }))
    expect(faults).toEqual([])
    await context.close()
  })
})

/** Every beat of an hour is 360; fewer show whether anything is left behind. */
const BEATS = Number(process.env.CONSOLE_BEATS ?? 45)
const BEAT_MS = 10_000
/** Sixteen of the big numbers, their past aside, and four of the rest; fewer would be a page that does not live. */
const ANSWERS_A_BEAT = 18
const GROWTH_MAX_BYTES = 1_000_000

describe('the fleet, live', () => {
  test('leaves nothing behind from beat to beat', async ({ annotate }) => {
    const { page, faults, context, quiet } = await watchedPage(browser)
    await page.clock.install({ time: NOW })
    const session = await context.newCDPSession(page)
    const heap = async (): Promise<number> => {
      await session.send('HeapProfiler.collectGarbage')
      return (await session.send('Runtime.getHeapUsage')).usedSize
    }
    let answers = 0
    page.on('requestfinished', () => answers++)
    await page.goto(served.at('/'))
    const beats = async (n: number): Promise<void> => {
      for (let i = 0; i < n; i++) {
        await page.clock.runFor(BEAT_MS)
        await quiet()
      }
    }
    await page.locator('.uplot').waitFor()
    await beats(BEATS / 3)
    const [before, asked] = [await heap(), answers]
    await beats((2 * BEATS) / 3)
    const after = await heap()
    expect(answers - asked).toBeGreaterThan((ANSWERS_A_BEAT * 2 * BEATS) / 3)
    expect(after - before).toBeLessThan(GROWTH_MAX_BYTES)
    await annotate(JSON.stringify({ before, after, answers: answers - asked }))
    expect(faults).toEqual([])
    await context.close()
  })
})
