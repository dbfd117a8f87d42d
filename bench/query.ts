/**
 * `npm run bench:query`: how long a dashboard's questions take over hours of a fleet, against the naive query over raw frames, and how
 * that grows with frames and with sessions. Asked over HTTP, one after the other, each of another range: nothing is answered from memory.
 */

import { readFileSync } from 'node:fs'
import { Command } from 'commander'
import { readConfig } from '../ingest/runtime/config.ts'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { migrate, retentionOf } from '../ingest/store/migrate.ts'
import { wholeFrom } from '../local/number.ts'
import { apiPart, apiUrl } from '../local/parts.ts'
import { freePort } from '../local/ports.ts'
import { devKeyFile } from '../query/http/keys.ts'
import { type History, writeHistory } from './history.ts'
import { cpuSeconds, onStage, percentile, type Stage } from './stage.ts'

interface Flags {
  readonly sessions: number
  readonly hours: number
  readonly rounds: number
  readonly growth: boolean
  readonly growthSessions: number
  readonly growthMinutes: number
}

/** Rounds before those that count. */
const WARM_UP = 2

new Command('npm run bench:query --')
  .description(
    'p50 and p95 of dashboard questions over a fleet’s history, and how many times faster than over raw frames',
  )
  .option('--sessions <number>', 'sessions at a time', wholeFrom(1), 1_000)
  .option('--hours <number>', 'hours of history', wholeFrom(1), 6)
  .option('--rounds <number>', 'how often each question is asked', wholeFrom(1), 40)
  .option('--no-growth', 'leave out how it grows with frames and sessions')
  .option('--growth-sessions <number>', 'sessions of the fleet from which growth is measured', wholeFrom(1), 200)
  .option('--growth-minutes <number>', 'minutes of its history', wholeFrom(1), 60)
  .allowExcessArguments(false)
  .action((flags: Flags, command: Command) => {
    const shortest = Math.min(flags.hours * 60, flags.growth ? flags.growthMinutes : Number.POSITIVE_INFINITY)
    if (shortest <= flags.rounds + WARM_UP)
      command.error(
        `${flags.rounds} rounds and ${WARM_UP} before them each begin a minute later: ${shortest} minutes of history are too few`,
      )
    return onStage({}, stage => measure(flags, stage))
  })
  .parseAsync()

const FPS = 60
const METRICS = ['fps_avg', 'frame_time_p99_us'] as const
type Metric = (typeof METRICS)[number]
/** What a user without us would ask: of the raw frames, by name of the question. */
const NAIVE_VALUE: Readonly<Record<Metric, string>> = {
  fps_avg: '1e6 * count() / sum(frame)',
  frame_time_p99_us: 'quantile(0.99)(frame)',
}
/** Growth is measured on a smaller fleet, and on one with so many times its frames or its sessions. */
const GROWTH = { frames: 4, more_sessions: 10 }

interface Ask {
  readonly question: string
  /** Without the range, where it has one. */
  readonly path: (session_id: string) => string
  readonly naive?: string
}

const SESSION = 'session_id = {session_id:UUID}'
const ASKS: readonly Ask[] = [
  ...METRICS.flatMap(metric => {
    const naive = (keys: string): string =>
      `SELECT ${keys}${keys && ','} ${NAIVE_VALUE[metric]} FROM events_v1 ARRAY JOIN frame_time_us AS frame
       WHERE at >= toDateTime({from:UInt32}, 'UTC') AND at < toDateTime({to:UInt32}, 'UTC')${keys && ` GROUP BY ${keys}`}`
    return [
      { question: `${metric} overall`, path: () => `/v1/metrics/${metric}?`, naive: naive('') },
      {
        question: `${metric} by minute`,
        path: () => `/v1/metrics/${metric}/timeseries?step=1m&`,
        naive: naive('toStartOfMinute(at)'),
      },
      {
        question: `${metric} by minute and region`,
        path: () => `/v1/metrics/${metric}/timeseries?step=1m&group_by=region&`,
        naive: naive('toStartOfMinute(at), region'),
      },
      { question: `${metric} by isp`, path: () => `/v1/metrics/${metric}/breakdown?by=isp&`, naive: naive('isp') },
    ]
  }),
  {
    question: 'one session by minute',
    path: id => `/v1/metrics/frame_time_p99_us/timeseries?step=1m&filter=session_id:${id}&`,
    naive: `SELECT toStartOfMinute(at), quantile(0.99)(frame) FROM events_v1 ARRAY JOIN frame_time_us AS frame
      WHERE ${SESSION} GROUP BY 1`,
  },
  { question: 'one session, everything', path: id => `/v1/sessions/${id}` },
]

interface Place {
  readonly store: Store
  readonly history: History
  readonly session_ids: readonly string[]
  /** Asks the API. @throws if it refuses */
  readonly get: (path: string) => Promise<void>
  /** Seconds of the processor that the API and ClickHouse have used. */
  readonly cpu_s: () => number
}

async function measure(
  { sessions, hours, rounds, growth, growthSessions, growthMinutes }: Flags,
  { environment, clickhouse, start }: Stage,
): Promise<void> {
  const fleet = async (name: string, history: Omit<History, 'from'>): Promise<Place> => {
    const own = { ...environment, CLICKHOUSE_DATABASE: name, HTTP_PORT: String(await freePort()) }
    const config = readConfig(own)
    await migrate(config.clickhouse, retentionOf(config))
    const store = openStore(config.clickhouse, { timeout_ms: 900_000 })
    const whole = { ...history, from: Math.floor(Date.now() / 3_600_000 - history.seconds / 3_600 - 1) * 3_600 }
    console.log(`${name}: ${history.sessions} sessions × ${history.seconds / 3_600} h at ${history.fps} fps`)
    await writeHistory(store, whole, line => process.stdout.write(`\r  ${line}   `))
    process.stdout.write('\n')
    const api = await start({ ...apiPart({ config, environment: own }), name: `api-${name}` })
    const cpu_s = (): number => cpuSeconds(clickhouse.pid) + cpuSeconds(api.pid)
    const key = readFileSync(devKeyFile(config.DATA_DIR), 'utf8').trim()
    const get = async (path: string): Promise<void> => {
      const response = await fetch(`${apiUrl(config)}${path}`, { headers: { authorization: `Bearer ${key}` } })
      const body = await response.text()
      if (!response.ok) throw new Error(`${path}: ${body}`)
    }
    const ids = await store.query<{ id: string }>('SELECT DISTINCT toString(session_id) AS id FROM quality_per_hour_v1')
    return { store, get, cpu_s, history: whole, session_ids: ids.map(({ id }) => id) }
  }

  const main = await fleet('main', { sessions, seconds: hours * 3_600, fps: FPS })
  const rows: Record<string, Record<string, string | number>> = {}
  for (const ask of ASKS) {
    const { took, cpu_ms } = await timed(main, ask, rounds)
    const naive_ms = ask.naive === undefined ? undefined : await timedNaive(main, ask.naive)
    const row = {
      'p50 ms': Math.round(percentile(took, 0.5)),
      'p95 ms': Math.round(percentile(took, 0.95)),
      'CPU ms': Math.round(cpu_ms),
      'raw frames ms': naive_ms === undefined ? '' : Math.round(naive_ms),
      'times faster': naive_ms === undefined ? '' : rounded(naive_ms / percentile(took, 0.5)),
    }
    rows[ask.question] = row
    console.log(`  ${ask.question}: ${JSON.stringify(row)}`)
  }
  console.table(rows)

  if (growth) {
    const small = { sessions: growthSessions, seconds: growthMinutes * 60, fps: FPS }
    const base = await fleet('base', small)
    const frames = await fleet('frames', { ...small, fps: FPS * GROWTH.frames })
    const more = await fleet('more_sessions', { ...small, sessions: small.sessions * GROWTH.more_sessions })
    const table: typeof rows = {}
    for (const ask of ASKS) {
      const one = await timed(base, ask, rounds)
      const times = (name: string, many: Timed) => ({
        [`${name}: p50 ×`]: rounded(percentile(many.took, 0.5) / percentile(one.took, 0.5)),
        [`${name}: CPU ×`]: rounded(many.cpu_ms / one.cpu_ms),
      })
      const row = {
        'p50 ms': rounded(percentile(one.took, 0.5)),
        'CPU ms': rounded(one.cpu_ms),
        ...times(`${GROWTH.frames}× frames`, await timed(frames, ask, rounds)),
        ...times(`${GROWTH.more_sessions}× sessions`, await timed(more, ask, rounds)),
      }
      table[ask.question] = row
      console.log(`  ${ask.question}: ${JSON.stringify(row)}`)
    }
    console.table(table)
  }
}

const rounded = (x: number): number => Number(x.toFixed(2))

interface Timed {
  /** Milliseconds of each round. */
  readonly took: readonly number[]
  /** Of the processor, per round. */
  readonly cpu_ms: number
}

/** Every round begins a minute later than the one before, or is of another session. */
async function timed({ get, cpu_s, history, session_ids }: Place, ask: Ask, rounds: number): Promise<Timed> {
  const took: number[] = []
  let before_s = cpu_s()
  for (let round = -WARM_UP; round < rounds; round++) {
    const path = ask.path(session_ids[(round + WARM_UP) % session_ids.length] ?? '')
    const range = `from=${(history.from + (round + WARM_UP) * 60) * 1_000}&to=${(history.from + history.seconds) * 1_000}`
    if (round === 0) before_s = cpu_s()
    const begun = performance.now()
    await get(path.includes('?') ? `${path}${range}` : path)
    if (round >= 0) took.push(performance.now() - begun)
  }
  return { took, cpu_ms: ((cpu_s() - before_s) * 1_000) / rounds }
}

async function timedNaive({ store, history, session_ids }: Place, sql: string): Promise<number> {
  const begun = performance.now()
  await store.query(
    sql,
    { from: history.from, to: history.from + history.seconds, session_id: session_ids[0] },
    { max_execution_time: 900 },
  )
  return performance.now() - begun
}
