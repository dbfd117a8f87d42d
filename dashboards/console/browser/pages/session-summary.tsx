/** What a session adds up to: whose it was, how it ended, what deserves a look, its numbers, and what its opinion score stands on. */
import type { MetricId } from '../../../../query/metrics/catalogue.ts'
import { ONCE, useAsked } from '../asked.ts'
import { Go } from '../controls.tsx'
import { type Meta, useCatalogue, useDesk } from '../desk.ts'
import { count, length, moment, plain, say, saying } from '../format.ts'
import { Freshness } from '../freshness.tsx'
import { CopyCall } from '../panel.tsx'
import { overallQuestion, type sessionQuestion } from '../questions.ts'

type Told = Awaited<ReturnType<ReturnType<typeof sessionQuestion>['load']>>['data'][number]

/** In words what raised them. */
const FLAGS: Readonly<Record<Told['flags'][number], string>> = {
  no_frames: 'nothing was ever shown',
  no_bitrate: 'nobody reported its bitrate',
  incomplete: 'events of it are missing',
  clock_shifted: 'its clock was wrong',
  silent: 'not heard of for a minute, and no end',
  unexpected_end: 'ended as nobody wanted',
}

/** How far it said it got. */
const STATES = { connecting: 'connecting', first_frame: 'plays', ended: 'ended', unknown: 'state unknown' } as const

const FIRST: readonly MetricId[] = [
  'mos_avg',
  'fps_avg',
  'frame_time_p99_us',
  'stutter_time_pct',
  'freeze_time_pct',
  'bitrate_avg_kbps',
  'rtt_p95_us',
  'packet_loss_pct',
]

interface SummaryProps {
  readonly session: Told
  readonly meta: Meta
  readonly url: string
}

export function Summary({ session, meta, url }: SummaryProps) {
  const { data: metrics } = useCatalogue()
  const ended = session.state === 'ended'
  const lived_ms = Date.parse(session.last_seen_at) - Date.parse(session.started_at)
  const context = Object.entries(session.context).filter(([, value]) => value !== null)
  return (
    <section class="panel summary" aria-label="Summary">
      <header>
        <p class="facts">
          {moment(session.started_at)}, {length(lived_ms)}, {STATES[session.state ?? 'unknown']}
          {session.end_reason && `: ${plain(session.end_reason)}`}
          {session.startup_ms !== null && `, first picture after ${saying(session.startup_ms, 'ms')}`}
        </p>
        <div class="tools">
          <Freshness meta={meta} failure={undefined} moving={!ended} />
          <Go to="abr" set={{ session: session.session_id }}>
            What bitrate logic is told
          </Go>
          <CopyCall url={url} title="Session" />
        </div>
      </header>
      {session.flags.length > 0 && (
        <ul class="flags">
          {session.flags.map(flag => (
            <li key={flag}>
              <span aria-hidden="true">▲ </span>
              {FLAGS[flag]}
            </li>
          ))}
        </ul>
      )}
      <dl class="numbers">
        {FIRST.map(id => {
          const metric = metrics.find(entry => entry.id === id)
          if (!metric) return null
          const { number, unit } = say(session.metrics[id], metric.unit)
          return (
            <div key={id} data-metric={id}>
              <dt title={metric.definition}>{metric.title}</dt>
              <dd>
                <data value={String(session.metrics[id] ?? '')}>{number}</data>
                <small> {unit}</small>
              </dd>
            </div>
          )
        })}
      </dl>
      <Score id={session.session_id} from={session.started_at} to={session.last_seen_at} />
      <dl class="context">
        {context.map(([name, value]) => (
          <div key={name}>
            <dt>{plain(name)}</dt>
            <dd>{value}</dd>
          </div>
        ))}
      </dl>
      <details>
        <summary>Every metric</summary>
        <dl class="figures">
          {metrics.map(({ id, title, unit, definition }) => (
            <div key={id}>
              <dt title={definition}>{title}</dt>
              <dd>{saying(session.metrics[id], unit)}</dd>
            </div>
          ))}
        </dl>
      </details>
    </section>
  )
}

const TAIL_MS = 10_000

/** What the opinion score stands on: how much of the session was scored, and what kept the rest from it. */
function Score({ id, from, to }: { readonly id: string; readonly from: string; readonly to: string }) {
  const { api } = useDesk()
  const until = new Date(Date.parse(to) + TAIL_MS).toISOString()
  const { data } = useAsked(overallQuestion(api, 'mos_avg', { from, to: until, filter: [`session_id:${id}`] }), ONCE)
  const model = data?.meta.model
  if (!model) return null
  const flags = Object.entries(model.flags).map(([flag, n]) => `${plain(flag).replace(':', ' ')} (${count(n)})`)
  return (
    <p class="fine score">
      Opinion score from {count(model.scored)} times ten seconds; {count(model.outside)} lie outside of the model,{' '}
      {count(model.unscored)} have no score{flags.length > 0 ? `: ${flags.join(', ')}` : ''}.
    </p>
  )
}
