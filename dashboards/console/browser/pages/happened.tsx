/** What happened, one after the other: stutters and freezes as the player lived through them, changes of rung and of state. */
import { useMemo, useState } from 'preact/hooks'
import type { Zoom } from '../charts/zoom.ts'
import { length, plain, saying, timeOfDay } from '../format.ts'
import { Empty, Panel, Scroll } from '../panel.tsx'
import type { timelineQuestion } from '../questions.ts'

type Timeline = Awaited<ReturnType<ReturnType<typeof timelineQuestion>['load']>>['data'][number]

interface HappenedProps {
  readonly timeline: Timeline
  readonly zoom: Zoom
  readonly url: string
}

interface Event {
  readonly key: string
  readonly at: number
  readonly kind: 'stutter' | 'freeze' | 'rung' | 'state'
  readonly words: string
}

const SIGNS = { stutter: '▲', freeze: '■', rung: '⇅', state: '●' } as const
/** More than this are more than anybody reads at once. */
const SHOWN = 100
const AROUND_S = 5

export function Happened({ timeline, zoom, url }: HappenedProps) {
  const events = useMemo(() => eventsOf(timeline), [timeline])
  const [all, setAll] = useState(false)
  const shown = all ? events : events.slice(0, SHOWN)
  return (
    <Panel title="What happened" url={url} wide>
      {timeline.episodes === null ? (
        <Empty>Over more than half an hour single stutters and freezes are not listed: choose a shorter part.</Empty>
      ) : events.length === 0 ? (
        <Empty>
          <span aria-hidden="true">✓ </span>No stutter, no freeze, no change in this part.
        </Empty>
      ) : (
        <Scroll label="What happened" tall>
          <table>
            <thead>
              <tr>
                <th scope="col">when</th>
                <th scope="col">what</th>
              </tr>
            </thead>
            <tbody>
              {shown.map(({ key, at, kind, words }) => (
                <tr key={key}>
                  <th scope="row">
                    <button
                      type="button"
                      class="link"
                      onClick={() => zoom.set({ min: at / 1_000 - AROUND_S, max: at / 1_000 + AROUND_S })}
                      title="Look closer"
                    >
                      {timeOfDay(at)}
                    </button>
                  </th>
                  <td class={kind === 'stutter' || kind === 'freeze' ? kind : ''}>
                    <span aria-hidden="true">{SIGNS[kind]} </span>
                    {words}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
          {events.length > shown.length && (
            <button type="button" onClick={() => setAll(true)}>
              All {events.length}
            </button>
          )}
        </Scroll>
      )}
    </Panel>
  )
}

function eventsOf({ episodes, marks }: Timeline): Event[] {
  const bad = (episodes ?? []).map(({ kind, from, to, longest_frame_us, frames }, i): Event => {
    const lasted = to === null ? 'not over yet' : `over after ${length_ms(Date.parse(to) - Date.parse(from))}`
    const worst =
      frames === 1 ? saying(longest_frame_us, 'us') : `${frames} frames, the longest ${saying(longest_frame_us, 'us')}`
    return { key: `${kind} ${from} ${i}`, at: Date.parse(from), kind, words: `${kind}, ${worst}, ${lasted}` }
  })
  const changes = (marks ?? []).map((mark, i): Event => {
    const [key, at] = [`${mark.kind} ${mark.at} ${i}`, Date.parse(mark.at)]
    if (mark.kind === 'rung') return { key, at, kind: 'rung', words: `rung ${mark.before} → ${mark.rung}` }
    const startup = mark.startup_ms === null ? '' : ` after ${saying(mark.startup_ms, 'ms')}`
    const reason = mark.end_reason === null ? '' : `: ${plain(mark.end_reason)}`
    return { key, at, kind: 'state', words: `${plain(mark.state)}${startup}${reason}` }
  })
  return [...bad, ...changes].sort((a, b) => a.at - b.at)
}

const length_ms = (ms: number): string => (ms < 10_000 ? saying(ms, 'ms') : length(ms))
