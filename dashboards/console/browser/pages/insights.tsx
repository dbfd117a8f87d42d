/** Who got worse, beyond their own past and beyond everybody else: a search that takes the API a second, so it is asked for. */
import { useState } from 'preact/hooks'
import { ONCE, useAsked } from '../asked.ts'
import { useDesk } from '../desk.ts'
import { count, plain } from '../format.ts'
import { Answered, Empty, Panel } from '../panel.tsx'
import { insightsQuestion } from '../questions.ts'

export function Insights() {
  const { api, place, go } = useDesk()
  const [wanted, setWanted] = useState(false)
  const question = insightsQuestion(api, place)
  const asked = useAsked(wanted ? question : undefined, ONCE)
  return (
    <Panel title="Who got worse" url={question.url}>
      {!wanted ? (
        <>
          <p>Compares every segment with its own past and with everybody else, and says which stand out.</p>
          <button type="button" onClick={() => setWanted(true)}>
            Search
          </button>
        </>
      ) : (
        <Answered asked={asked}>
          {({ data, search }) =>
            data.length === 0 ? (
              <Empty>
                Nobody stands out: {count(search.tested)} tests over {count(search.sessions_now)} sessions now and{' '}
                {count(search.sessions_before)} before.
              </Empty>
            ) : (
              <ul class="findings">
                {data.map(({ sentence, segment, metric }) => {
                  const filters = Object.entries(segment).map(([name, value]) => `${name}:${value}`)
                  return (
                    <li key={`${metric} ${filters.join(' ')}`}>
                      <button type="button" class="link" onClick={() => go({ metric, filter: filters })}>
                        {Object.entries(segment)
                          .map(([name, value]) => `${plain(name)} ${value}`)
                          .join(', ')}
                      </button>
                      <p>{sentence}</p>
                    </li>
                  )
                })}
              </ul>
            )
          }
        </Answered>
      )}
    </Panel>
  )
}
