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

/** Session `n` from `start_ms` on: frames and rates each second, what it said of itself, and what its frames went through. */
function playing(n: number, start_ms: number, seconds: number): QualityEvent[] {
  const context = {
    client_version: n % 2 ? '5.3.0' : '5.2.0',
    codec: 'av1',
    experiment: n % 3 ? 'pacing-b' : 'pacing-a',
  } as const
  const told = Array.from({ length: seconds * 2 }, (_, seq) => {
    const event = eventOf(n, seq, start_ms)
    const all = { ...event.context, ...context, ...(n % 4 === 3 ? { isp: ODD.isp } : {}) }
    const stages = { stage_host_us: 4_000 + n, stage_encode_us: 3_000, stage_network_us: 9_000, stage_decode_us: 2_000 }
    return { ...event, context: all, ...(event.kind === 'frame_times' ? { ...stages, frames_generated: n % 5 } : {}) }
  })
  const envelope = (seq: number, at_ms: number) => ({
    v: 1 as const,
    session_id: sessionId(n),
    source: 'host' as const,
    seq,
    started_at_ms: at_ms,
    sent_at_ms: at_ms + SECOND_MS,
    context: told[0]?.context ?? {},
  })
  return [
    ...told,
    { ...envelope(0, start_ms), kind: 'session', state: 'connecting' },
    { ...envelope(1, start_ms + SECOND_MS), kind: 'session', state: 'first_frame', startup_ms: 700 + n },
    {
      ...envelope(2, start_ms + seconds * SECOND_MS),
      kind: 'session',
      state: 'ended',
      end_reason: n % 5 ? 'user_quit' : 'network',
    },
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

const SESSIONS = 12

/** A few sessions now, some five hours ago, some nineteen days ago. */
export async function startFleet(): Promise<Fleet> {
  const now_ms = Date.now()
  const { clickhouse } = sharedServices()
  const database = unique('drawn')
  const api = await AskedApi.start(clickhouse, database, now_ms)
  const to_ms = Math.floor(now_ms / MINUTE_MS) * MINUTE_MS - 2 * MINUTE_MS
  const from_ms = to_ms - 15 * MINUTE_MS
  const recent = Array.from({ length: SESSIONS }, (_, n) => playing(n, from_ms + (n % 4) * MINUTE_MS, 120)).flat()
  const hours = Array.from({ length: 4 }, (_, n) =>
    playing(100 + n, now_ms - 5 * HOUR_MS - (n % 7) * MINUTE_MS, 60),
  ).flat()
  const days = Array.from({ length: 4 }, (_, n) => playing(200 + n, now_ms - 19 * DAY_MS - n * HOUR_MS, 60)).flat()
  await api.insert([...recent, ...hours, ...days])
  return { api, run: runOn({ ...clickhouse, database }), now_ms, recent: { from_ms, to_ms } }
}

const read = (uid: string): DashboardFile =>
  dashboardShape.parse(
    JSON.parse(readFileSync(join(import.meta.dirname, '../..', OUT, 'dashboards', `${uid}.json`), 'utf8')),
  )

export const DESCRIBED = dashboards(RETENTION)
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
