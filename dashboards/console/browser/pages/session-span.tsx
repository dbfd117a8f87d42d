/** Which part of a session is looked at: its last minutes, its last hour, or all of it. */
import { Menu } from '../controls.tsx'
import { useDesk } from '../desk.ts'
import { length } from '../format.ts'
import { DEFAULTS } from '../place.ts'

interface SpanMenuProps {
  readonly started_at: string
  readonly last_seen_at: string
}

const MINUTE_MS = 60_000
const LAST = [30 * MINUTE_MS, 60 * MINUTE_MS] as const
/** The last event covers a while behind its begin. */
const TAIL_MS = 10_000

export function SpanMenu({ started_at, last_seen_at }: SpanMenuProps) {
  const { place, go } = useDesk()
  const [begin, end] = [Date.parse(started_at), Date.parse(last_seen_at) + TAIL_MS]
  const choices = [
    { value: '', label: 'last 10 minutes' },
    ...LAST.filter(ms => end - begin > ms).map(ms => ({ value: String(ms), label: `last ${length(ms)}` })),
    { value: 'all', label: `all ${length(end - begin)}` },
  ]
  const from = Date.parse(place.from)
  const value = Number.isNaN(from)
    ? ''
    : from === begin
      ? 'all'
      : (choices.find(choice => Number(choice.value) === end - from)?.value ?? 'other')
  const choose = (chosen: string) => {
    if (chosen === '') return go({ from: DEFAULTS.from, to: DEFAULTS.to, view: '' })
    const since = chosen === 'all' ? begin : end - Number(chosen)
    go({ from: new Date(since).toISOString(), to: new Date(end).toISOString(), view: '' })
  }
  const other = value === 'other' ? [{ value, label: 'a part of it' }] : []
  return <Menu label="Shown" value={value} choices={[...choices, ...other]} onChoose={choose} />
}
