/** The whole distribution, not a percentile of it: over time, as one, its lows, who is beyond a threshold, and where a frame's time goes. */

import type { ComponentChildren } from 'preact'
import type { MetricId } from '../../../../query/metrics/catalogue.ts'
import { useAsked } from '../asked.ts'
import { Heatmap } from '../charts/heatmap.tsx'
import { Histogram } from '../charts/histogram.tsx'
import { Menu } from '../controls.tsx'
import { useDesk, useMetric } from '../desk.ts'
import { Answered, Empty, Panel } from '../panel.tsx'
import { distributionQuestion, heatmapQuestion, overallQuestion } from '../questions.ts'
import { Budget } from './budget.tsx'
import { Figures } from './figures.tsx'
import { SlowerThan } from './slower-than.tsx'

/** A quantity is asked about by one of the metrics that are read from its distribution. */
const QUANTITIES = [
  { metric: 'frame_time_p99_us', label: 'Frame time', low: 'frame_time_p50_us' },
  { metric: 'rtt_p95_us', label: 'Round-trip time', low: 'rtt_p50_us' },
  { metric: 'jitter_p95_us', label: 'Network jitter', low: 'jitter_p50_us' },
  { metric: 'bitrate_p5_kbps', label: 'Bitrate', low: 'bitrate_p50_kbps' },
  { metric: 'available_p5_kbps', label: 'Bandwidth available', low: 'available_p50_kbps' },
] as const satisfies readonly { metric: MetricId; label: string; low: MetricId }[]

const LOWS: readonly MetricId[] = [
  'fps_avg',
  'fps_p1',
  'fps_low1',
  'frame_time_p50_us',
  'frame_time_p95_us',
  'frame_time_p99_us',
  'frame_time_p999_us',
  'frame_time_max_us',
  'late_frame_pct',
  'stutters_per_minute',
  'stutter_time_pct',
  'freezes_per_minute',
  'freeze_time_pct',
]

/** What a distribution counts, in words. */
const WEIGHTS = { frames: 'frames', intervals: 'intervals', ms: 'ms' } as const

export function FramesPage() {
  const { place, go } = useDesk()
  const quantity = QUANTITIES.find(({ metric }) => metric === place.metric) ?? QUANTITIES[0]
  return (
    <>
      <h1 class="visually-hidden">Frames</h1>
      <div class="grid">
        <OverTime
          quantity={quantity}
          tools={
            <Menu
              label="Of"
              value={quantity.metric}
              choices={QUANTITIES.map(({ metric, label }) => ({ value: metric, label }))}
              onChoose={metric => go({ metric })}
            />
          }
        />
        <AsOne quantity={quantity} />
        <SlowerThan />
        <Panel title="Frames in numbers">
          <Figures ids={LOWS} />
        </Panel>
        <Budget />
      </div>
    </>
  )
}

type Quantity = (typeof QUANTITIES)[number]

interface OverTimeProps {
  readonly quantity: Quantity
  readonly tools: ComponentChildren
}

function OverTime({ quantity, tools }: OverTimeProps) {
  const { api, place } = useDesk()
  const { unit } = useMetric(quantity.metric)
  const asked = useAsked(heatmapQuestion(api, quantity.metric, place))
  return (
    <Panel title={`${quantity.label} over time`} url={asked.url} wide tools={tools}>
      <Answered asked={asked} height={280}>
        {({ data, meta }) =>
          data.every(({ buckets }) => buckets.length === 0) ? (
            <Empty>Nothing in this range.</Empty>
          ) : (
            <Heatmap
              title={quantity.label}
              columns={data}
              step_s={meta.step_s ?? 60}
              unit={unit}
              weight={WEIGHTS[meta.weight]}
            />
          )
        }
      </Answered>
    </Panel>
  )
}

function AsOne({ quantity }: { readonly quantity: Quantity }) {
  const { api, place } = useDesk()
  const [high, low] = [useMetric(quantity.metric), useMetric(quantity.low)]
  const asked = useAsked(distributionQuestion(api, quantity.metric, place))
  const middle = useAsked(overallQuestion(api, quantity.low, place))
  const far = useAsked(overallQuestion(api, quantity.metric, place))
  const percentiles = [
    { name: nameOf(low.id), value: middle.data?.data[0]?.value ?? null },
    { name: nameOf(high.id), value: far.data?.data[0]?.value ?? null },
  ].flatMap(({ name, value }) => (value === null ? [] : [{ name, value }]))
  return (
    <Panel title={`${quantity.label}, all of the range`} url={asked.url}>
      <Answered asked={asked} height={240}>
        {({ data, meta }) =>
          data.length === 0 ? (
            <Empty>Nothing in this range.</Empty>
          ) : (
            <Histogram
              title={quantity.label}
              buckets={data}
              percentiles={percentiles.sort((a, b) => a.value - b.value)}
              unit={high.unit}
              weight={WEIGHTS[meta.weight]}
            />
          )
        }
      </Answered>
    </Panel>
  )
}

/** `frame_time_p99_us` → `p99`. */
const nameOf = (id: string): string => /_(p\d+)_/.exec(id)?.[1] ?? id
