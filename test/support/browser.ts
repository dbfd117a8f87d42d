/**
 * A real Chromium, from a package that carries one or from CHROMIUM_PATH, and pages that note whatever goes wrong in them: errors on the
 * console, exceptions, requests that failed, scripts that the policy stopped.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import chromium from '@sparticuz/chromium'
import { type Browser, type BrowserContext, chromium as driver, type Page, type Request } from 'playwright-core'

/** No sandbox, as tests run as root in containers; one renderer thread of software for drawing. */
const ARGS = [
  '--no-sandbox',
  '--disable-dev-shm-usage',
  '--disable-gpu',
  '--font-render-hinting=none',
  '--hide-scrollbars',
]

const QUIET_WITHIN_MS = 45_000

export async function launchBrowser(): Promise<Browser> {
  const executablePath = process.env.CHROMIUM_PATH || (await chromium.executablePath())
  return driver.launch({ executablePath, args: ARGS, headless: true })
}

export interface Watched {
  readonly page: Page
  readonly context: BrowserContext
  /** What went wrong so far. */
  readonly faults: string[]
  /** Until every request is answered, and what was drawn of the answers asked for nothing more. */
  readonly quiet: () => Promise<void>
}

export interface Looks {
  readonly width?: number
  readonly height?: number
  readonly dark?: boolean
  readonly scale?: number
}

/** A page in a profile of its own. Answers of the API that are no 2xx are faults too, unless the test expects them. */
export async function watchedPage(browser: Browser, looks: Looks = {}): Promise<Watched> {
  const { width = 1440, height = 900, dark = false, scale = 1 } = looks
  const context = await browser.newContext({
    viewport: { width, height },
    colorScheme: dark ? 'dark' : 'light',
    deviceScaleFactor: scale,
    timezoneId: 'UTC',
    // That of a machine without any is none that a page may use.
    locale: 'en-US',
    permissions: ['clipboard-read', 'clipboard-write'],
  })
  const page = await context.newPage()
  page.setDefaultTimeout(30_000)
  const faults: string[] = []
  page.on('console', message => {
    if (message.type() === 'error' || message.type() === 'warning') faults.push(`console: ${message.text()}`)
  })
  page.on('pageerror', error => faults.push(`exception: ${error.stack ?? error.message}`))
  page.on('requestfailed', request => {
    // Nobody waits for an answer that a page left behind.
    const why = request.failure()?.errorText ?? ''
    if (why !== 'net::ERR_ABORTED') faults.push(`request: ${request.url()} ${why}`)
  })
  page.on('response', response => {
    if (response.status() >= 400) faults.push(`answer: ${response.status()} ${response.url()}`)
  })
  const waiting = new Set<Request>()
  page.on('request', request => waiting.add(request))
  const answered = (request: Request): void => {
    waiting.delete(request)
  }
  page.on('requestfinished', answered)
  page.on('requestfailed', answered)
  const quiet = async (): Promise<void> => {
    const deadline = Date.now() + QUIET_WITHIN_MS
    for (let still = 0; still < 2; ) {
      await page.evaluate(
        'new Promise(done => { const { port1, port2 } = new MessageChannel(); port1.onmessage = done; port2.postMessage(0) })',
      )
      still = waiting.size === 0 ? still + 1 : 0
      if (still === 0) await sleep(20)
      if (Date.now() > deadline) throw new Error(`not quiet: ${[...waiting].map(request => request.url())}`)
    }
  }
  return { page, context, faults, quiet }
}
