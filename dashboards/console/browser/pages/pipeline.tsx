/** Can the numbers be trusted now? How new they are, what was refused and why, whether every offset is accounted for, what waits. */
import { useMemo } from 'preact/hooks'
import { useAsked } from '../asked.ts'
import { Lines } from '../charts/lines.tsx'
import { type Meta, useDesk } from '../desk.ts'
import { count, digits, moment, plain, saying, share } from '../format.ts'
import { Freshness } from '../freshness.tsx'
import { Answered, Empty, Panel, Scroll } from '../panel.tsx'
import { pipelineQuestion, rejectsQuestion } from '../questions.ts'

type Health = Awaited<ReturnType<ReturnType<typeof pipelineQuestion>['load']>>['data'][number]

export function Pipeline() {
  const { api } = useDesk()
  const asked = useAsked(pipelineQuestion(api))
  return (
    <>
      <h1 class="visually-hidden">Pipeline</h1>
      <p class="bar">
        <Freshness meta={asked.data?.meta} failure={asked.failure} moving />
        <span class="fine">of the last 15 minutes</span>
      </p>
      <div class="grid">
        <Panel title="Trust" url={asked.url}>
          <Answered asked={asked} height={220}>
            {({ data }) => data[0] && <Trust health={data[0]} />}
          </Answered>
        </Panel>
        <Panel title="Rows a minute" url={asked.url}>
          <Answered asked={asked} height={220}>
            {({ data, meta }) => data[0] && <PerMinute health={data[0]} meta={meta} />}
          </Answered>
        </Panel>
        <Rejects />
        <Panel title="Kafka’s partitions" url={asked.url} wide>
          <Answered asked={asked} height={160}>
            {({ data }) => data[0] && <Partitions health={data[0]} />}
          </Answered>
        </Panel>
      </div>
    </>
  )
}

interface Check {
  readonly name: string
  readonly ok: boolean | undefined
  readonly words: string
}

const TIERS = { '10s': 'ten seconds', minute: 'minutes', hour: 'hours' } as const

/** Pure. What must be so, in a sign and in words. */
function checksOf(health: Health): Check[] {
  const zero = (name: string, n: number): Check => ({ name, ok: n === 0, words: n === 0 ? 'none' : count(n) })
  const { completeness_pct, rejected_pct, resent_pct, settling } = health
  return [
    zero('Offsets missing', health.offsets_missing),
    zero('Offsets stored twice', health.offsets_doubled),
    zero('Offsets expired unread', health.offsets_expired),
    {
      name: 'Events that arrived',
      ok: completeness_pct === null ? undefined : completeness_pct >= 99,
      words: saying(completeness_pct, 'pct'),
    },
    {
      name: 'Messages refused',
      ok: rejected_pct === null ? undefined : rejected_pct < 1,
      words: rejected_pct === null ? 'nothing arrived' : `${saying(rejected_pct, 'pct')}, ${count(health.rejected)}`,
    },
    { name: 'Events sent again', ok: undefined, words: saying(resent_pct, 'pct') },
    ...(['10s', 'minute', 'hour'] as const).map(tier => {
      const { due_buckets, oldest_due_at } = settling[tier]
      const since = oldest_due_at === null ? '' : `, the oldest of ${moment(oldest_due_at)}`
      return { name: `Waiting to be settled: ${TIERS[tier]}`, ok: undefined, words: `${count(due_buckets)}${since}` }
    }),
  ]
}

const Trust = ({ health }: { readonly health: Health }) => (
  <dl class="figures">
    {checksOf(health).map(({ name, ok, words }) => (
      <div key={name} class={ok === false ? 'bad' : ''}>
        <dt>{name}</dt>
        <dd>
          {ok !== undefined && (
            <span class={ok ? 'sign ok' : 'sign wrong'}>
              <span aria-hidden="true">{ok ? '✓' : '■'}</span>
              <span class="visually-hidden">{ok ? 'good:' : 'wrong:'}</span>
            </span>
          )}{' '}
          {words}
        </dd>
      </div>
    ))}
  </dl>
)

const MINUTE_S = 60

/** Every minute of the range: where the API lists none, none was stored. */
function PerMinute({ health, meta }: { readonly health: Health; readonly meta: Meta }) {
  const { times, lines } = useMemo(() => {
    const known = new Map(health.per_minute.map(minute => [Date.parse(minute.t) / 1_000, minute]))
    const [from, to] = [meta.from, meta.to].map(at => Math.floor(Date.parse(at ?? '') / 1_000 / MINUTE_S) * MINUTE_S)
    const times: number[] = []
    for (let t = from ?? 0; t <= (to ?? 0); t += MINUTE_S) times.push(t)
    return {
      times,
      lines: [
        { label: 'Rows', values: times.map(t => known.get(t)?.rows ?? 0), steps: true },
        { label: 'Refused', values: times.map(t => known.get(t)?.rejected ?? 0), steps: true, colour: 7 },
      ],
    }
  }, [health, meta])
  if (health.rows === 0) return <Empty>Nothing was stored in the last 15 minutes. Is anybody sending?</Empty>
  return (
    <>
      <p class="big">
        {digits(health.rows_per_minute)} <small>on average; the first and the last minute are not whole</small>
      </p>
      <Lines title="Rows a minute" times={times} lines={lines} unit="sessions" height={200} />
    </>
  )
}

function Rejects() {
  const { api } = useDesk()
  const asked = useAsked(rejectsQuestion(api, { from: 'now-1h', to: 'now', filter: [] }))
  return (
    <Panel title="Refused in the last hour" url={asked.url} wide>
      <Answered asked={asked}>
        {({ data }) =>
          data.length === 0 ? (
            <Empty>
              <span aria-hidden="true">✓ </span>Nothing was refused.
            </Empty>
          ) : (
            <ul class="findings">
              {data.map(({ reason, count: n, first_at, last_at, samples }) => (
                <li key={reason}>
                  <strong>{plain(reason)}</strong> {count(n)},{' '}
                  {share(n / data.reduce((all, one) => all + one.count, 0))} of all
                  <p class="fine">
                    {moment(first_at)} to {moment(last_at)}
                  </p>
                  {samples[0] && (
                    <details>
                      <summary>The newest one</summary>
                      <p>{samples[0].detail}</p>
                      <p class="fine">
                        Partition {samples[0].kafka_partition}, offset {samples[0].kafka_offset},{' '}
                        {count(samples[0].bytes_total)} bytes
                      </p>
                      <Scroll label="The first bytes of the message">
                        <pre>{samples[0].bytes}</pre>
                      </Scroll>
                    </details>
                  )}
                </li>
              ))}
            </ul>
          )
        }
      </Answered>
    </Panel>
  )
}

function Partitions({ health }: { readonly health: Health }) {
  if (health.partitions.length === 0) return <Empty>No partition has been read yet.</Empty>
  return (
    <Scroll label="Kafka’s partitions">
      <table>
        <thead>
          <tr>
            {['log', 'partition', 'next offset', 'rows', 'missing', 'twice', 'expired', 'newest record'].map(
              (name, i) => (
                <th key={name} scope="col" class={i > 0 && i < 7 ? 'number' : ''}>
                  {name}
                </th>
              ),
            )}
          </tr>
        </thead>
        <tbody>
          {health.partitions.map(one => (
            <tr key={`${one.log_id}/${one.kafka_partition}`}>
              <th scope="row">{one.log_id}</th>
              <td class="number">{one.kafka_partition}</td>
              <td class="number">{count(one.next_offset)}</td>
              <td class="number">{count(one.rows)}</td>
              {[one.offsets_missing, one.offsets_doubled, one.offsets_expired].map((n, i) => (
                <td key={['missing', 'twice', 'expired'][i]} class={n === 0 ? 'number' : 'number bad'}>
                  {n === 0 ? '0' : `■ ${count(n)}`}
                </td>
              ))}
              <td>{one.last_appended_at === null ? 'unknown' : moment(one.last_appended_at)}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </Scroll>
  )
}
