/**
 * Quality by region and by access network, asked of the API as any client would.
 */

export interface Api {
  readonly url: string
  readonly key: string
}

interface Group {
  readonly [dimension: string]: unknown
  readonly value: number | null
  readonly sessions: number
}

const COLUMNS = [
  { metric: 'fps_avg', title: 'fps', digits: 1 },
  { metric: 'stutters_per_minute', title: 'stutters/min', digits: 2 },
  { metric: 'freeze_time_pct', title: 'freeze %', digits: 2 },
  { metric: 'bitrate_avg_kbps', title: 'kbit/s', digits: 0 },
  { metric: 'rtt_p50_us', title: 'rtt p50 ms', digits: 1, divide: 1000 },
  { metric: 'packet_loss_pct', title: 'loss %', digits: 3 },
] as const

const TIMEOUT_MS = 10_000

export async function ask(api: Api, path: string, query: Record<string, string>): Promise<readonly Group[]> {
  const response = await fetch(`${api.url}${path}?${new URLSearchParams(query)}`, {
    headers: { authorization: `Bearer ${api.key}` },
    signal: AbortSignal.timeout(TIMEOUT_MS),
  })
  if (!response.ok) throw new Error(`the API answers ${path} with ${response.status}`)
  const { data } = (await response.json()) as { readonly data: readonly Group[] }
  return data
}

/** A table with a line per value of the dimension; a figure that the API does not have is a dash. */
export async function summaryBy(api: Api, dimension: string, from_ms: number): Promise<string> {
  const query = { from: String(from_ms), to: 'now', by: dimension }
  const answers = await Promise.all(COLUMNS.map(({ metric }) => ask(api, `/v1/metrics/${metric}/breakdown`, query)))
  const sessions = new Map(answers.flat().map(group => [String(group[dimension] ?? '(unknown)'), group.sessions]))
  const lines = [...sessions]
    .sort(([a], [b]) => a.localeCompare(b))
    .map(([name, count]) => {
      const figures = COLUMNS.map((column, index) => {
        const value = answers[index]?.find(group => String(group[dimension] ?? '(unknown)') === name)?.value ?? null
        return value === null ? '–' : (value / ('divide' in column ? column.divide : 1)).toFixed(column.digits)
      })
      return [name, String(count), ...figures]
    })
  return table([[dimension, 'sessions', ...COLUMNS.map(({ title }) => title)], ...lines])
}

/** First column to the left, the others to the right. */
export function table(lines: readonly (readonly string[])[]): string {
  const widths = (lines[0] ?? []).map((_, column) => Math.max(...lines.map(line => line[column]?.length ?? 0)))
  const pad = (text: string, column: number) =>
    column === 0 ? text.padEnd(widths[column] ?? 0) : text.padStart(widths[column] ?? 0)
  return lines.map(line => `  ${line.map(pad).join('  ')}`).join('\n')
}
