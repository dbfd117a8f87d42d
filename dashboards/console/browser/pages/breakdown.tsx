/** Who has how much of it: groups of a dimension, those with most of what is bad first. A press looks at one group alone. */
import type { MetricId } from '../../../../query/metrics/catalogue.ts'
import { useAsked } from '../asked.ts'
import { Menu, useDimensionChoices } from '../controls.tsx'
import { useDesk, useNamedMetric } from '../desk.ts'
import { count, plain, saying, share } from '../format.ts'
import { Answered, Empty, Panel, Scroll } from '../panel.tsx'
import { breakdownQuestion } from '../questions.ts'

const FALLBACK_BY = 'isp'

export function Breakdown({ fallback }: { readonly fallback: MetricId }) {
  const { api, place, go } = useDesk()
  const metric = useNamedMetric(place.metric, fallback)
  const dimensions = useDimensionChoices()
  const by = dimensions.find(({ value }) => value === place.by)?.value ?? FALLBACK_BY
  const asked = useAsked(breakdownQuestion(api, metric.id, place, by))
  return (
    <Panel
      title={`${metric.title} by ${plain(by)}`}
      url={asked.url}
      tools={<Menu label="By" value={by} choices={dimensions} onChoose={chosen => go({ by: chosen })} />}
    >
      <Answered asked={asked} height={240}>
        {({ data, meta }) =>
          data.length === 0 ? (
            <Empty>Nothing in this range.</Empty>
          ) : (
            <>
              <Scroll label={`${metric.title} by ${plain(by)}`}>
                <table>
                  <thead>
                    <tr>
                      <th scope="col">{plain(by)}</th>
                      <th scope="col" class="number">
                        value
                      </th>
                      {metric.has_share_of_bad && (
                        <th scope="col" class="number">
                          of all that is bad
                        </th>
                      )}
                      <th scope="col" class="number">
                        sessions
                      </th>
                    </tr>
                  </thead>
                  <tbody>
                    {data.map(row => {
                      const name = row[by as keyof typeof row] ?? null
                      const filter = `${by}:${name ?? ''}`
                      return (
                        <tr key={filter}>
                          <th scope="row">
                            <button
                              type="button"
                              class="link"
                              onClick={() => go({ filter: [...place.filter.filter(one => one !== filter), filter] })}
                              title={`Only ${plain(by)} ${name ?? 'unknown'}`}
                            >
                              {name ?? <em>unknown</em>}
                            </button>
                          </th>
                          <td class="number">{saying(row.value, metric.unit)}</td>
                          {metric.has_share_of_bad && (
                            <td class="number">
                              <meter min={0} max={1} value={row.share_of_bad ?? 0} aria-hidden="true" />{' '}
                              <span class="part">{share(row.share_of_bad)}</span>
                            </td>
                          )}
                          <td class="number">{count(row.sessions)}</td>
                        </tr>
                      )
                    })}
                  </tbody>
                </table>
              </Scroll>
              {(meta.groups_total ?? 0) > data.length && (
                <p class="fine">
                  {data.length} of {count(meta.groups_total)} groups
                </p>
              )}
            </>
          )
        }
      </Answered>
    </Panel>
  )
}
