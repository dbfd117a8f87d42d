/** Is it smooth now, and for whom not? Big numbers with what they were before, one metric over time, and who has most of what is bad. */
import { useMemo } from 'preact/hooks'
import type { MetricId } from '../../../../query/metrics/catalogue.ts'
import { useAsked } from '../asked.ts'
import { type Line, Lines, type Upright } from '../charts/lines.tsx'
import { Menu, metricChoices, useDimensionChoices } from '../controls.tsx'
import { useCatalogue, useDesk, useNamedMetric } from '../desk.ts'
import { plain } from '../format.ts'
import { Answered, Empty, Panel } from '../panel.tsx'
import { annotationsQuestion, timeseriesQuestion } from '../questions.ts'
import { Breakdown } from './breakdown.tsx'
import { Insights } from './insights.tsx'
import { Tile } from './tile.tsx'

const TILES: readonly MetricId[] = [
  'concurrent_sessions',
  'fps_avg',
  'frame_time_p99_us',
  'stutter_time_pct',
  'freeze_time_pct',
  'mos_avg',
  'bitrate_avg_kbps',
  'rtt_p95_us',
]
const FALLBACK: MetricId = 'stutter_time_pct'
const SERIES_MAX = '6'
const POINTS = 360
/** Fewer, as each holds less. */
const GROUPED_POINTS = 60

export function Fleet() {
  return (
    <>
      <h1 class="visually-hidden">Fleet</h1>
      <div class="tiles">
        {TILES.map(id => (
          <Tile key={id} id={id} />
        ))}
      </div>
      <div class="grid">
        <OverTime />
        <Breakdown fallback={FALLBACK} />
        <Insights />
      </div>
    </>
  )
}

function OverTime() {
  const { api, place, go } = useDesk()
  const { data: metrics } = useCatalogue()
  const metric = useNamedMetric(place.metric, FALLBACK)
  const dimensions = useDimensionChoices()
  const asked = useAsked(
    place.group === ''
      ? timeseriesQuestion(api, metric.id, place, POINTS)
      : timeseriesQuestion(api, metric.id, place, GROUPED_POINTS, place.group, SERIES_MAX),
  )
  const happened = useAsked(annotationsQuestion(api, place))
  const uprights = useMemo<Upright[]>(
    () => (happened.data?.data ?? []).map(({ at, title }) => ({ t: Date.parse(at) / 1_000, label: title })).reverse(),
    [happened.data],
  )
  const select = (from: number, to: number) =>
    go({ from: new Date(from * 1_000).toISOString(), to: new Date(to * 1_000).toISOString() })
  return (
    <Panel
      title={metric.title}
      definition={metric.definition}
      url={asked.url}
      wide
      tools={
        <>
          <Menu label="Metric" value={metric.id} choices={metricChoices(metrics)} onChoose={id => go({ metric: id })} />
          <Menu
            label="Split by"
            value={place.group}
            choices={[{ value: '', label: 'nothing' }, ...dimensions]}
            onChoose={group => go({ group })}
          />
        </>
      }
    >
      <Answered asked={asked} height={300}>
        {answer => (
          <Series
            answer={answer}
            group={place.group}
            title={metric.title}
            unit={metric.unit}
            uprights={uprights}
            onSelect={select}
          />
        )}
      </Answered>
    </Panel>
  )
}

type Points = Awaited<ReturnType<ReturnType<typeof timeseriesQuestion>['load']>>

interface SeriesProps {
  readonly answer: Points
  readonly group: string
  readonly title: string
  readonly unit: Parameters<typeof Lines>[0]['unit']
  readonly uprights: readonly Upright[]
  readonly onSelect: (from: number, to: number) => void
}

function Series({ answer, group, title, unit, uprights, onSelect }: SeriesProps) {
  const { times, lines } = useMemo(() => seriesOf(answer.data, group, title), [answer, group, title])
  if (lines.every(({ values }) => values.every(value => value === null))) return <Empty>{emptyWords(answer)}</Empty>
  return (
    <>
      <Lines {...{ title, times, lines, unit, uprights, onSelect }} height={300} />
      <p class="fine">Drag over the chart to look closer.</p>
    </>
  )
}

const REASONS = {
  no_data: 'Nothing in this range.',
  too_few_values: 'Too few values in each step: a longer range or no split may have enough.',
  not_reported: 'Nobody reports what this is made of.',
} as const

function emptyWords({
  data,
}: {
  readonly data: readonly { readonly reason?: keyof typeof REASONS | undefined }[]
}): string {
  const reason = data.find(({ reason }) => reason !== undefined && reason !== 'no_data')?.reason ?? 'no_data'
  return REASONS[reason]
}

/** Points come group by group, each with every step. */
function seriesOf(data: Points['data'], group: string, title: string): { times: number[]; lines: Line[] } {
  const lines = new Map<string, { label: string; values: (number | null)[] }>()
  const times: number[] = []
  const known = new Set<string>()
  for (const point of data) {
    const label = group === '' ? title : (labelOf(point, group) ?? `${plain(group)} unknown`)
    const line = lines.get(label) ?? { label, values: [] }
    lines.set(label, line)
    line.values.push(point.value)
    if (!known.has(point.t)) {
      known.add(point.t)
      times.push(Date.parse(point.t) / 1_000)
    }
  }
  return { times, lines: [...lines.values()] }
}

function labelOf(point: Points['data'][number], group: string): string | null {
  const value = Object.entries(point).find(([name]) => name === group)?.[1]
  return typeof value === 'string' ? value : null
}
