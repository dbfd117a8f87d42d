/** Where the time of a frame goes on its way from the game to the screen: the mean of each stage, beside each other. */
import type { MetricId } from '../../../../query/metrics/catalogue.ts'
import { useAsked } from '../asked.ts'
import { useDesk, useMetric } from '../desk.ts'
import { saying } from '../format.ts'
import { Panel } from '../panel.tsx'
import { overallQuestion } from '../questions.ts'

const STAGES = [
  ['stage_host_us', 'host'],
  ['stage_encode_us', 'encoder'],
  ['stage_network_us', 'network'],
  ['stage_jitter_buffer_us', 'jitter buffer'],
  ['stage_decode_us', 'decoder'],
  ['stage_present_us', 'to the screen'],
] as const satisfies readonly (readonly [MetricId, string])[]

export function Budget() {
  const values = STAGES.map(([id]) => useStage(id))
  const most = Math.max(1, ...values.map(({ value }) => value ?? 0))
  return (
    <Panel title="Where a frame’s time goes" unit="mean" url={values[0]?.url ?? ''}>
      <dl class="budget">
        {STAGES.map(([id, label], i) => {
          const value = values[i]?.value ?? null
          return (
            <div key={id} data-metric={id}>
              <dt>{label}</dt>
              <dd>
                <meter min={0} max={most} value={value ?? 0} aria-hidden="true" />
                <span class="number">{value === null ? 'not reported' : saying(value, 'us')}</span>
              </dd>
            </div>
          )
        })}
      </dl>
    </Panel>
  )
}

function useStage(id: MetricId): { readonly value: number | null; readonly url: string } {
  const { api, place } = useDesk()
  useMetric(id)
  const { data, url } = useAsked(overallQuestion(api, id, place))
  return { value: data?.data[0]?.value ?? null, url }
}
