/** Which sessions: the worst by a metric or the newest, those that meet conditions; or one, by its id. */
import { useEffect, useState } from 'preact/hooks'
import { type Asked, ONCE, useAsked } from '../asked.ts'
import { Go, Menu, metricChoices } from '../controls.tsx'
import { useCatalogue, useDesk } from '../desk.ts'
import { length, moment, plain, saying } from '../format.ts'
import { Answered, Empty, Panel, Scroll } from '../panel.tsx'
import { elsewhere } from '../place.ts'
import { sessionsQuestion } from '../questions.ts'
import { SessionField } from './session-field.tsx'

const WORST = 'stutter_time_pct'
const NEWEST = 'newest'

type Listed = Awaited<ReturnType<ReturnType<typeof sessionsQuestion>['load']>>

export function Sessions() {
  const { api, place, go, visit } = useDesk()
  const { data: metrics } = useCatalogue()
  const order = place.order === '' ? WORST : place.order
  const first = useAsked(sessionsQuestion(api, place, order, place.where))
  return (
    <>
      <h1 class="visually-hidden">Sessions</h1>
      <div class="grid">
        <Panel
          title={order === NEWEST ? 'Newest sessions' : 'Worst sessions'}
          url={first.url}
          wide
          tools={
            <>
              <SessionField value="" onSession={id => visit(elsewhere(place, 'session', id))} />
              <Menu
                label="Order"
                value={order}
                choices={[{ value: NEWEST, label: 'Newest first' }, ...metricChoices(metrics)]}
                onChoose={chosen => go({ order: chosen })}
              />
            </>
          }
        >
          <Conditions />
          <Answered asked={first} height={400}>
            {answer => <Pages key={first.url} first={answer} order={order} />}
          </Answered>
        </Panel>
      </div>
    </>
  )
}

/** The first page lives on; what was asked for beyond it stays as it was, over the range that it began with. */
function Pages({ first, order }: { readonly first: Listed; readonly order: string }) {
  const { api, place } = useDesk()
  const [cursors, setCursors] = useState<readonly string[]>([])
  const last = cursors.at(-1)
  const [rest, setRest] = useState<readonly Listed['data'][number][]>([])
  const [next, setNext] = useState<string | null>(null)
  const more: Asked<Listed> = useAsked(
    last === undefined ? undefined : sessionsQuestion(api, place, order, place.where, last),
    ONCE,
  )
  // Each page is added once, when it comes.
  useEffect(() => {
    if (!more.data) return
    setRest([...rest, ...more.data.data])
    setNext(more.data.meta.next_cursor)
  }, [more.data])
  if (first.data.length === 0) return <Empty>No session like this in the range.</Empty>
  const cursor = last === undefined ? first.meta.next_cursor : next
  return (
    <>
      <SessionTable sessions={[...first.data, ...rest]} order={order} />
      {more.failure && <p class="fine late">▲ {more.failure.said}</p>}
      {cursor !== null && (
        <button
          type="button"
          onClick={() => setCursors([...cursors, cursor])}
          disabled={last !== undefined && more.asking}
        >
          More
        </button>
      )}
    </>
  )
}

function SessionTable({ sessions, order }: { readonly sessions: Listed['data']; readonly order: string }) {
  const { data: metrics } = useCatalogue()
  const told = metrics.filter(({ id }) => sessions.some(session => session.metrics[id] !== undefined))
  const columns = [...told.filter(({ id }) => id === order), ...told.filter(({ id }) => id !== order)]
  return (
    <Scroll label="Sessions">
      <table class="sessions">
        <thead>
          <tr>
            <th scope="col">session</th>
            {columns.map(({ id, title }) => (
              <th key={id} scope="col" class="number" aria-sort={id === order ? 'descending' : undefined}>
                {title}
                {id === order ? ' ▾' : ''}
              </th>
            ))}
            <th scope="col">begun</th>
            <th scope="col" class="number">
              played
            </th>
            <th scope="col">whose</th>
          </tr>
        </thead>
        <tbody>
          {sessions.map(({ session_id, first_seen_at, played_s, metrics: values, context }) => (
            <tr key={session_id}>
              <th scope="row">
                <Go to="session" id={session_id}>
                  <code>{session_id.slice(0, 8)}</code>
                </Go>
              </th>
              {columns.map(({ id, unit }) => (
                <td key={id} class="number">
                  {saying(values[id], unit)}
                </td>
              ))}
              <td>{moment(first_seen_at)}</td>
              <td class="number">{length(played_s * 1_000)}</td>
              <td class="whose">
                {[context.game, context.isp, context.access, context.region, context.client_version]
                  .filter(value => value !== null)
                  .join(' · ')}
              </td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  )
}

const OPERATORS = ['>', '>=', '<', '<='] as const

/** A metric, an operator and a number, as the API takes them. */
function Conditions() {
  const { place, go } = useDesk()
  const { data: metrics } = useCatalogue()
  const [metric, setMetric] = useState(WORST)
  const [operator, setOperator] = useState<string>('>')
  const [limit, setLimit] = useState('')
  const unit = metrics.find(({ id }) => id === metric)?.unit ?? ''
  const add = (event: Event) => {
    event.preventDefault()
    const condition = `${metric}${operator}${limit}`
    if (limit.trim() === '' || !Number.isFinite(Number(limit)) || place.where.includes(condition)) return
    go({ where: [...place.where, condition] })
    setLimit('')
  }
  return (
    <form class="conditions" onSubmit={add}>
      <Menu label="Only where" value={metric} choices={metricChoices(metrics)} onChoose={setMetric} />
      <Menu
        label="is"
        value={operator}
        choices={OPERATORS.map(value => ({ value, label: value }))}
        onChoose={setOperator}
      />
      <input
        type="text"
        inputMode="decimal"
        size={7}
        aria-label={`Limit, in ${plain(unit)}`}
        placeholder={plain(unit)}
        value={limit}
        onInput={event => setLimit(event.currentTarget.value)}
      />
      <button type="submit">Add</button>
      {place.where.map(condition => (
        <button
          type="button"
          class="chip"
          key={condition}
          onClick={() => go({ where: place.where.filter(one => one !== condition) })}
          aria-label={`Remove condition: ${condition}`}
        >
          {condition} <span aria-hidden="true">×</span>
        </button>
      ))}
    </form>
  )
}
