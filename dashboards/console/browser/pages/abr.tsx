/** What adaptive-bitrate logic is told: of a session, as often as it asks itself; and of those who have nobody yet, what is known of their like. */
import { useEffect, useState } from 'preact/hooks'
import { useAsked } from '../asked.ts'
import { Menu } from '../controls.tsx'
import { useCatalogue, useDesk } from '../desk.ts'
import { count, plain, saying } from '../format.ts'
import { Answered, Empty, Panel } from '../panel.tsx'
import { isLive } from '../place.ts'
import { adviceQuestion, LIKE, priorQuestion } from '../questions.ts'
import { Advice } from './advice.tsx'
import { Prior } from './prior.tsx'
import { SessionField } from './session-field.tsx'

/** Answered from memory, and old after a few seconds. */
const EVERY_MS = 2_000

export function Abr() {
  return (
    <>
      <h1 class="visually-hidden">ABR</h1>
      <div class="grid">
        <OfSession />
        <OfLike />
      </div>
    </>
  )
}

function OfSession() {
  const { api, place, go } = useDesk()
  const tick = useTick(place.session !== '' && isLive(place))
  const question = place.session === '' ? undefined : adviceQuestion(api, place.session)
  const asked = useAsked(question, tick)
  return (
    <Panel
      title="What bitrate logic is told of a session"
      {...(question ? { url: question.url } : {})}
      tools={<SessionField value={place.session} onSession={session => go({ session })} />}
    >
      {question ? (
        <Answered asked={asked} height={320}>
          {advice => <Advice advice={advice} />}
        </Answered>
      ) : (
        <Empty>Give the id of a session; the page of a session has a link to here.</Empty>
      )}
    </Panel>
  )
}

function OfLike() {
  const { api, place, go } = useDesk()
  const { dimensions } = useCatalogue()
  const chosen = Object.fromEntries(
    LIKE.flatMap(name => {
      const given = place.like.find(one => one.startsWith(`${name}:`))
      return given === undefined ? [] : [[name, given.slice(name.length + 1)] as const]
    }),
  )
  const asked = useAsked(priorQuestion(api, chosen))
  const choose = (name: string, value: string) => {
    const others = place.like.filter(one => !one.startsWith(`${name}:`))
    go({ like: value === '' ? others : [...others, `${name}:${value}`] })
  }
  return (
    <Panel title="Where a session like this begins" url={asked.url}>
      <div class="conditions">
        {LIKE.map(name => (
          <Menu
            key={name}
            label={plain(name)}
            value={chosen[name] ?? ''}
            choices={[
              { value: '', label: 'any' },
              ...(dimensions.find(({ id }) => id === name)?.values ?? []).map(value => ({ value, label: value })),
            ]}
            onChoose={value => choose(name, value)}
          />
        ))}
      </div>
      <Answered asked={asked} height={280}>
        {({ prior, recommendation, age_ms, stale, samples }) => (
          <>
            <p class="big">
              {recommendation.rung} <small>{saying(recommendation.target_bitrate_kbps, 'kbps')}</small>
            </p>
            <p class={stale ? 'stale' : 'fresh'}>
              <span aria-hidden="true">{stale ? '■ ' : '✓ '}</span>
              {age_ms === null
                ? 'What sessions sustained has not been read yet: this is where anybody begins'
                : `read ${saying(age_ms, 'ms')} ago, from ${count(samples)} sessions`}
            </p>
            <Prior prior={prior} />
          </>
        )}
      </Answered>
    </Panel>
  )
}

/** Faster than the beat of the pages, and only as long as it is needed. */
function useTick(running: boolean): number {
  const [tick, setTick] = useState(0)
  useEffect(() => {
    if (!running) return
    const timer = setInterval(() => {
      if (document.visibilityState === 'visible') setTick(n => n + 1)
    }, EVERY_MS)
    return () => clearInterval(timer)
  }, [running])
  return tick
}
