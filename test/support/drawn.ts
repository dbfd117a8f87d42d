/** A fleet for dashboards to draw, in a database of its own, and the dashboards as they are committed. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { dashboards } from '../../dashboards/grafana/dashboards/all.ts'
import { OUT } from '../../dashboards/grafana/files.ts'
import { placed } from '../../dashboards/grafana/layout.ts'
import { type DashboardFile, dashboardShape } from '../../dashboards/grafana/lint.ts'
import type { Drawn } from '../../dashboards/grafana/panels.ts'
import type { QualityEvent } from '../../ingest/contract/events.ts'
import { DIMENSIONS } from '../../query/metrics/filter.ts'
import { AskedApi } from './ask.ts'
import { eventOf, sessionId } from './events.ts'
import { type Run, runOn, type Values } from './grafana.ts'
import { RETENTION } from './seed.ts'
import { sharedServices, unique } from './services.ts'

const [SECOND_MS, MINUTE_MS, HOUR_MS, DAY_MS] = [1_000, 60_000, 3_600_000, 86_400_000]

/** Values that mean something to whatever they pass through: quotes, backslashes, Grafana's own signs. */
export const ODD = { isp: `o'brien $isp $__all "x"`, region: `us-'east\\` } as const

const PICTURE = { width: 1_280, height: 720, encoded_fps: 60, available_kbps: 24_000, jitter_us: 1_500 } as const

/** Session `n` from `start_ms` on: frames and rates each second, and what its frames went through. */
function playing(n: number, start_ms: number, seconds: number): QualityEvent[] {
  const more = {
    client_version: n % 2 ? '5.3.0' : '5.2.0',
    experiment: n % 3 ? 'pacing-b' : 'pacing-a',
    ...(n % 4 === 3 ? { isp: ODD.isp } : {}),
  }
  return Array.from({ length: seconds * 2 }, (_, seq): QualityEvent => {
    const event = eventOf(n, seq, start_ms)
    const context = { ...event.context, ...more }
    if (event.kind === 'bitrate') return { ...event, ...PICTURE, context, rung_switches: seq % 7 === 1 ? 1 : 0 }
    const stage_us = { host: 4_000 + n, encode: 3_000, network: 9_000, jitter_buffer: 500, decode: 2_000, present: 800 }
    return event.kind === 'frame_times'
      ? { ...event, context, stage_us, input_latency_us: 60_000, frames_generated: n % 5 }
      : { ...event, context }
  })
}

/** What a session says of itself. */
function saying(n: number, start_ms: number, seconds: number): QualityEvent[] {
  const envelope = (seq: number, at_ms: number) => ({
    ...{ v: 1 as const, session_id: sessionId(n), source: 'host' as const, seq },
    ...{ started_at_ms: at_ms, sent_at_ms: at_ms + SECOND_MS, context: eventOf(n, 0, start_ms).context },
  })
  const end_reason = n % 5 ? 'user_quit' : 'network'
  return [
    { ...envelope(0, start_ms), kind: 'session', state: 'connecting' },
    { ...envelope(1, start_ms), kind: 'session', state: 'first_frame', startup_ms: 700 + n },
    { ...envelope(2, start_ms + seconds * SECOND_MS), kind: 'session', state: 'ended', end_reason },
  ]
}

export interface DrawnPanel {
  readonly dashboard: DashboardFile
  readonly id: number
  readonly drawn: Drawn
  /** As it is committed. */
  readonly sql: string
}

export interface Fleet {
  readonly api: AskedApi
  readonly run: Run
  readonly now_ms: number
  /** The last quarter of an hour, in which everybody played. */
  readonly recent: { readonly from_ms: number; readonly to_ms: number }
}

/** Enough for a fifth percentile of opinion scores and for an interval over sessions, and for a 95th of startups. */
const [SESSIONS, STARTS] = [32, 220]
const HALF_STEP_MS = HOUR_MS

/** A few sessions now, some five hours ago, some nineteen days ago. Now is in the middle of a step of two hours, which no test then divides. */
export async function startFleet(): Promise<Fleet> {
  const now_ms = Math.floor((Date.now() - HALF_STEP_MS) / (2 * HALF_STEP_MS)) * 2 * HALF_STEP_MS + HALF_STEP_MS
  const { clickhouse } = sharedServices()
  const database = unique('drawn')
  const api = await AskedApi.start(clickhouse, database, now_ms)
  const to_ms = now_ms - 2 * MINUTE_MS
  const from_ms = to_ms - 15 * MINUTE_MS
  const played = (count: number, first: number, seconds: number, startOf: (n: number) => number) =>
    Array.from({ length: count }, (_, i) => {
      const n = first + i
      return [...playing(n, startOf(i), seconds), ...saying(n, startOf(i), seconds)]
    }).flat()
  await api.insert([
    ...played(SESSIONS, 0, 120, i => from_ms + (i % 4) * MINUTE_MS),
    ...played(4, 100, 60, i => now_ms - 5 * HOUR_MS - i * MINUTE_MS),
    ...played(4, 200, 60, i => now_ms - 19 * DAY_MS - i * HOUR_MS),
    ...Array.from({ length: STARTS }, (_, i) => saying(1_000 + i, from_ms + 6 * MINUTE_MS, 0)).flat(),
  ])
  return { api, run: runOn({ ...clickhouse, database }), now_ms, recent: { from_ms, to_ms } }
}

const read = (uid: string): DashboardFile =>
  dashboardShape.parse(
    JSON.parse(readFileSync(join(import.meta.dirname, '../..', OUT, 'dashboards', `${uid}.json`), 'utf8')),
  )

const DESCRIBED = dashboards(RETENTION)
export const COMMITTED: readonly DashboardFile[] = DESCRIBED.map(({ uid }) => read(uid))

/** Every panel with what it is meant to draw. */
export const PANELS: readonly DrawnPanel[] = DESCRIBED.flatMap((described, i) => {
  const dashboard = COMMITTED[i]
  if (!dashboard) throw new Error(`${described.uid} is not committed`)
  return placed(described).map(({ drawn, id }) => {
    const sql = dashboard.panels.find(panel => panel.id === id)?.targets?.[0]?.rawSql
    if (sql === undefined) throw new Error(`panel ${id} of ${described.uid} is not committed`)
    return { dashboard, id, drawn, sql }
  })
})

/** Everybody, on every dashboard; a session that played. */
export const EVERYBODY: Values = {
  ...Object.fromEntries(DIMENSIONS.map(name => [name, ['$__all']])),
  by: 'isp',
  session: sessionId(1),
  datasource: 'stream-quality-clickhouse',
}
