/**
 * `npm run bench:priors`: what it costs to know what sessions sustained: reading a fleet's evidence once, reading on a minute later, and
 * computing all cohorts of as many sessions as are kept; and for how long other requests wait meanwhile.
 */
import { Command } from 'commander'
import { openStore } from '../ingest/store/clickhouse.ts'
import { wholeFrom } from '../local/number.ts'
import { type PriorSession, priorsOf } from '../query/abr/priors.ts'
import { PriorReader, SLICE_MS } from '../query/abr/priors-refresh.ts'
import { type Ask, createAsk } from '../query/metrics/question.ts'
import { inSlices } from '../query/statistics/slices.ts'
import { chance } from '../query/statistics/weights.ts'
import { writeHistory } from './history.ts'
import { onStage } from './stage.ts'

interface Flags {
  readonly sessions: number
  readonly minutes: number
  readonly kept: number
}

new Command('npm run bench:priors --')
  .description('what reading and computing priors costs, and for how long requests wait meanwhile')
  .option('--sessions <number>', 'sessions that play at once', wholeFrom(1), 5_000)
  .option('--minutes <number>', 'minutes they play', wholeFrom(1), 15)
  .option('--kept <number>', 'sessions of a day whose cohorts are computed', wholeFrom(1), 10_000)
  .allowExcessArguments(false)
  .action((flags: Flags) => bench(flags))
  .parseAsync()

/** Frames are stored and not read. */
const FPS = 2

async function bench({ sessions, minutes, kept }: Flags): Promise<void> {
  await computing(kept)
  await onStage({}, async ({ config }) => {
    const store = openStore(config.clickhouse, { timeout_ms: 900_000 })
    const seconds = minutes * 60
    const from = Math.floor(Date.now() / 3_600_000) * 3_600 - 7_200
    const say = (line: string) => process.stdout.write(`\r  ${line}   `)
    await writeHistory(store, { sessions, seconds, fps: FPS, from }, say)
    process.stdout.write('\n')

    const took = new Map<string, number[]>()
    const ask: Ask = createAsk(store, (id, s) => void took.set(id, [...(took.get(id) ?? []), s * 1_000]))
    const reader = new PriorReader(ask)
    for (const which of ['all of them', 'again, a minute later']) {
      took.clear()
      const { pauses, value, ms } = await beside(() => reader.refresh(Date.now()))
      console.log(`read ${which}: ${value.sessions} sessions without stutter in ${ms.toFixed(0)} ms; ${waits(pauses)}`)
      for (const [id, each] of took)
        console.log(
          `  ${id}: ${each.length} × ${(sum(each) / each.length).toFixed(0)} ms, at most ${Math.max(...each).toFixed(0)}`,
        )
    }
    await store.close()
  })
}

async function computing(kept: number): Promise<void> {
  const uniform = chance(1)
  const one = (name: string, of: number): string => `${name}-${Math.floor(of * uniform())}`
  const sessions = Array.from(
    { length: kept },
    (): PriorSession => ({
      context: {
        ...{ isp: one('isp', 40), region: one('region', 8), access: one('access', 3) as 'wifi' },
        ...{ device: one('device', 20), game: one('game', 10) },
      },
      ...{ kbps: Math.floor(40_000 * uniform()), censored: uniform() < 0.5 },
      ...{ rtt_p50_us: Math.floor(50_000 * uniform()), packet_loss_pct: uniform() },
    }),
  )
  for (let i = 0; i < 3; i++) {
    const { pauses, value, ms } = await beside(() => inSlices(priorsOf(sessions), SLICE_MS))
    const begun = performance.now()
    for (let i = 0; i < 10_000; i++) value.of(sessions[i % kept]?.context ?? {})
    const each_us = ((performance.now() - begun) / 10_000) * 1_000
    console.log(
      `cohorts of ${kept} sessions: ${ms.toFixed(0)} ms; ${waits(pauses)}; looked up in ${each_us.toFixed(1)} µs`,
    )
  }
}

/** Runs it beside a request that comes back as soon as it gets its turn. What it waits is counted in the process's CPU time: others use the machine too. */
async function beside<T>(run: () => Promise<T>): Promise<{ pauses: number[]; value: T; ms: number }> {
  const pauses: number[] = []
  let last = process.cpuUsage()
  let running = true
  const turn = (): void => {
    const { user, system } = process.cpuUsage(last)
    pauses.push((user + system) / 1_000)
    last = process.cpuUsage()
    if (running) setImmediate(turn)
  }
  setImmediate(turn)
  const begun = performance.now()
  const value = await run()
  const ms = performance.now() - begun
  running = false
  return { pauses, value, ms }
}

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0)
function waits(pauses: readonly number[]): string {
  const sorted = [...pauses].sort((a, b) => b - a)
  return `others waited for ${[0, 1, 4, 19].map(i => (sorted[i] ?? 0).toFixed(1)).join(', ')} ms of CPU (the longest, 2nd, 5th, 20th)`
}
