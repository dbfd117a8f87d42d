/**
 * `npm run pictures`: the pictures of the README, taken of a demo that runs: of its console, in a real browser, with what its fleet does
 * at that moment. Small: few, of one size, and without what is below the fold.
 */
import { mkdirSync, readFileSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { Command } from 'commander'
import { answer, type Client, createClient } from '../../query/client.ts'
import { launchBrowser, watchedPage } from '../support/browser.ts'

const OUT = join(import.meta.dirname, '../../docs/pictures')
/** Of a session that is worth a picture. */
const PLAYED_S_MIN = 240

interface Flags {
  readonly url: string
  readonly keyFile: string
}

new Command('npm run pictures --')
  .description('Take the pictures of the README of a demo that runs (npm run demo), best after ten minutes.')
  .option('--url <url>', 'of its API', 'http://127.0.0.1:18080')
  .option('--key-file <file>', 'with the key of its API', '.data/dev-key')
  .allowExcessArguments(false)
  .action(take)
  .parseAsync()

async function take({ url, keyFile }: Flags): Promise<void> {
  const key = readFileSync(keyFile, 'utf8').trim()
  const api = createClient({ url, key })
  const worst = await worstSession(api)
  const pictures = [
    { name: 'fleet', path: '/?from=now-15m', dark: false, ready: '.uplot' },
    { name: 'frames', path: '/frames?from=now-15m', dark: true, ready: 'canvas.drawing' },
    { name: 'session', path: `/sessions/${worst}`, dark: false, ready: '.plot[aria-label^="Frame times of"]' },
    { name: 'abr', path: `/abr?session=${worst}`, dark: true, ready: 'dl.figures' },
  ] as const
  mkdirSync(OUT, { recursive: true })
  const browser = await launchBrowser()
  try {
    for (const { name, path, dark, ready } of pictures) {
      const { page, context, faults, quiet } = await watchedPage(browser, { width: 1_240, height: 780, dark })
      await page.goto(`${url}${path}#key=${key}`)
      await page.locator(ready).first().waitFor()
      await quiet()
      await page.locator('.state.waiting').first().waitFor({ state: 'detached' })
      const file = join(OUT, `${name}.png`)
      await page.screenshot({ path: file })
      console.log(`${name}  ${Math.round(statSync(file).size / 1_000)} kB${faults.length > 0 ? `  ${faults}` : ''}`)
      await context.close()
    }
  } finally {
    await browser.close()
  }
}

/** That still plays, and has something to show. */
async function worstSession(api: Client): Promise<string> {
  const query = { order: 'freeze_time_pct', from: 'now-10m', limit: '200' } as const
  const { data } = await answer(api.v1.sessions.$get({ query }))
  const recent = Date.now() - 30_000
  const playing = data.filter(
    ({ last_seen_at, played_s }) => Date.parse(last_seen_at) > recent && played_s > PLAYED_S_MIN,
  )
  const [worst] = playing.length > 0 ? playing : data
  if (!worst) throw new Error('nobody has played: npm run demo')
  return worst.session_id
}
