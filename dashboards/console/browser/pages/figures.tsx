/** Several metrics as a list of numbers, each with its definition at hand. */
import type { MetricId } from '../../../../query/metrics/catalogue.ts'
import { useAsked } from '../asked.ts'
import { useDesk, useMetric } from '../desk.ts'
import { say } from '../format.ts'
import { CopyCall } from '../panel.tsx'
import { overallQuestion } from '../questions.ts'

export const Figures = ({ ids }: { readonly ids: readonly MetricId[] }) => (
  <dl class="figures">
    {ids.map(id => (
      <Figure key={id} id={id} />
    ))}
  </dl>
)

function Figure({ id }: { readonly id: MetricId }) {
  const { api, place } = useDesk()
  const { title, unit, definition } = useMetric(id)
  const { data, failure, url } = useAsked(overallQuestion(api, id, place))
  const value = data?.data[0]?.value ?? null
  const said = say(value, unit)
  return (
    <div data-metric={id}>
      <dt title={definition}>{title}</dt>
      <dd>
        {data || failure ? <data value={value === null ? '' : String(value)}>{said.number}</data> : '…'}
        <small> {failure && !data ? failure.said : said.unit}</small>
        <CopyCall url={url} title={title} small />
      </dd>
    </div>
  )
}
