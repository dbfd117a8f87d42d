/** Above every page: where one can go, which range and whom it is about, how old the newest of it is, light or dark. */
import { useEffect, useState } from 'preact/hooks'
import { useAsked } from './asked.ts'
import { Filters, Go, Menu } from './controls.tsx'
import { useDesk } from './desk.ts'
import { zone } from './format.ts'
import { Freshness } from './freshness.tsx'
import type { Page } from './paths.ts'
import { isMoving, lengthOf, momentOf } from './place.ts'
import { overallQuestion } from './questions.ts'
import { choose, onTheme, THEMES, theme } from './theme.ts'

const LINKS = [
  ['fleet', 'Fleet'],
  ['frames', 'Frames'],
  ['sessions', 'Sessions'],
  ['abr', 'ABR'],
  ['pipeline', 'Pipeline'],
] as const satisfies readonly (readonly [Page, string])[]

const RANGES = [
  ['now-15m', 'last 15 minutes'],
  ['now-1h', 'last hour'],
  ['now-6h', 'last 6 hours'],
  ['now-24h', 'last day'],
  ['now-7d', 'last 7 days'],
  ['now-30d', 'last 30 days'],
] as const

export function Header() {
  const { place } = useDesk()
  const ranged = place.page === 'fleet' || place.page === 'frames' || place.page === 'sessions'
  return (
    <header class="top">
      <div class="bar">
        <span class="brand">Stream quality</span>
        <nav aria-label="Pages">
          {LINKS.map(([page, label]) => (
            <Go key={page} to={page} current={place.page === page || (page === 'sessions' && place.page === 'session')}>
              {label}
            </Go>
          ))}
        </nav>
        <span class="far">
          <span class="fine">Times in {zone()}</span>
          <ThemeMenu />
        </span>
      </div>
      {ranged && (
        <div class="bar settings">
          <RangeMenu />
          <LiveSwitch />
          <Filters />
          <Pulse />
        </div>
      )}
    </header>
  )
}

function ThemeMenu() {
  const [chosen, setChosen] = useState(theme)
  useEffect(() => onTheme(() => setChosen(theme())), [])
  return (
    <Menu
      label="Colours"
      value={chosen}
      choices={THEMES.map(value => ({ value, label: value }))}
      onChoose={value => choose(THEMES.find(one => one === value) ?? 'system')}
    />
  )
}

const CUSTOM = 'custom'

function RangeMenu() {
  const { place, go } = useDesk()
  const moving = place.to === 'now' && place.from.startsWith('now-')
  const known: readonly (readonly [string, string])[] = RANGES
  const listed = known.some(([from]) => from === place.from) || !moving
  const choices = [...known, ...(listed ? [] : [[place.from, `last ${place.from.slice(4)}`] as const])].map(
    ([value, label]) => ({ value, label }),
  )
  const pick = (value: string) => {
    if (value !== CUSTOM) return go({ from: value, to: 'now', view: '' })
    // From what is seen now, as moments that stay.
    const now = Date.now()
    const length_ms = (lengthOf(place, now) ?? 3_600) * 1_000
    go({ from: new Date(now - length_ms).toISOString(), to: new Date(now).toISOString(), view: '' })
  }
  return (
    <>
      <Menu
        label="Range"
        value={moving ? place.from : CUSTOM}
        choices={[...choices, { value: CUSTOM, label: 'from … to …' }]}
        onChoose={pick}
      />
      {!moving && (
        <>
          <MomentInput label="From" value={place.from} onMoment={from => go({ from, view: '' })} />
          <MomentInput label="To" value={place.to} onMoment={to => go({ to, view: '' })} />
        </>
      )}
    </>
  )
}

interface MomentInputProps {
  readonly label: string
  readonly value: string
  readonly onMoment: (text: string) => void
}

/** As the browser lets moments be picked: without a zone, in the time of whoever looks. */
function MomentInput({ label, value, onMoment }: MomentInputProps) {
  const ms = momentOf(value, Date.now()) ?? Number.NaN
  const local = Number.isFinite(ms)
    ? new Date(ms - new Date(ms).getTimezoneOffset() * 60_000).toISOString().slice(0, 19)
    : ''
  return (
    <label class="menu">
      <span>{label}</span>
      <input
        type="datetime-local"
        step="1"
        value={local}
        onChange={event => {
          const at = new Date(event.currentTarget.value)
          if (Number.isFinite(at.getTime())) onMoment(at.toISOString())
        }}
      />
    </label>
  )
}

function LiveSwitch() {
  const { place, go } = useDesk()
  if (!isMoving(place)) return null
  const on = place.live !== 'off'
  return (
    <button
      type="button"
      class="switch"
      aria-pressed={on}
      onClick={() => go({ live: on ? 'off' : '' }, 'replace')}
      title={on ? 'Asks again every ten seconds' : 'Stands still'}
    >
      <span aria-hidden="true">{on ? '●' : '○'}</span> Live
    </button>
  )
}

/** How old the newest is, of what the page is about. */
function Pulse() {
  const { api, place } = useDesk()
  const { data, failure } = useAsked(overallQuestion(api, 'sessions', place))
  return <Freshness meta={data?.meta} failure={failure} moving={isMoving(place)} />
}
