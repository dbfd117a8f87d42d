/** What Chromium's own tracing says of a page's main thread: how much processor time its tasks took, and how much of it was scripting. */
import { setTimeout as sleep } from 'node:timers/promises'
import type { CDPSession, Page } from 'playwright-core'

interface TraceEvent {
  readonly name: string
  readonly ph: string
  readonly pid: number
  readonly tid: number
  readonly ts: number
  readonly dur?: number
  /** Processor time of the thread, µs: what a busy machine does to others is not in it. */
  readonly tdur?: number
  readonly args?: { readonly name?: string; readonly data?: { readonly url?: string; readonly requestId?: string } }
}

const CATEGORIES = ['toplevel', 'devtools.timeline', 'v8', 'blink.user_timing', '__metadata']
/** Where the page's own scripts begin to run. */
const SCRIPTING = [
  'EvaluateScript',
  'FunctionCall',
  'RunMicrotasks',
  'EventDispatch',
  'TimerFire',
  'FireAnimationFrame',
  'v8.compile',
]

export interface Traced {
  /** The longest task of the main thread, ms of processor time. */
  readonly longest_task_ms: number
  readonly scripting_ms: number
  readonly tasks: number
}

/** Traces while `act` runs; of what followed the moment the page marked with `performance.mark(since)`, if that is given. */
export async function traced(page: Page, act: () => Promise<void>, since?: string): Promise<Traced> {
  const session = await page.context().newCDPSession(page)
  const events: TraceEvent[] = []
  session.on('Tracing.dataCollected', ({ value }) => events.push(...(value as unknown as TraceEvent[])))
  await session.send('Tracing.start', { traceConfig: { includedCategories: CATEGORIES }, transferMode: 'ReportEvents' })
  await act()
  await ended(session)
  await session.detach()
  return judged(events, since)
}

async function ended(session: CDPSession): Promise<void> {
  let complete = false
  session.once('Tracing.tracingComplete', () => {
    complete = true
  })
  await session.send('Tracing.end')
  const deadline = Date.now() + 30_000
  while (!complete) {
    if (Date.now() > deadline) throw new Error('the trace did not end')
    await sleep(20)
  }
}

function judged(events: readonly TraceEvent[], since: string | undefined): Traced {
  const mark = since === undefined ? undefined : events.find(({ name, ph }) => name === since && ph !== 'E')
  if (since !== undefined && !mark) throw new Error(`the page did not mark ${since}`)
  const mains = events.filter(({ name, args }) => name === 'thread_name' && args?.name === 'CrRendererMain')
  const isMain = ({ pid, tid }: TraceEvent): boolean => mains.some(main => main.pid === pid && main.tid === tid)
  const after = events.filter(event => event.ph === 'X' && isMain(event) && event.ts >= (mark?.ts ?? 0))
  const cpu_ms = ({ tdur = 0 }: TraceEvent): number => tdur / 1_000
  const tasks = after.filter(({ name }) => name.endsWith('RunTask'))
  const scripts = outermost(after.filter(({ name }) => SCRIPTING.includes(name)))
  return {
    longest_task_ms: Math.max(0, ...tasks.map(cpu_ms)),
    scripting_ms: scripts.reduce((sum, event) => sum + cpu_ms(event), 0),
    tasks: tasks.length,
  }
}

/** Scripts call scripts: what lies within another is counted with it. */
function outermost(events: readonly TraceEvent[]): TraceEvent[] {
  const found: TraceEvent[] = []
  let end = Number.NEGATIVE_INFINITY
  for (const event of [...events].sort((a, b) => a.ts - b.ts || (b.dur ?? 0) - (a.dur ?? 0))) {
    if (event.ts < end) continue
    found.push(event)
    end = event.ts + (event.dur ?? 0)
  }
  return found
}
