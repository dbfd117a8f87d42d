/**
 * Panels of Grafana from what is to be drawn. Title, unit and description are the catalogue's; of several metrics in one panel what their
 * titles have in common. What the SDK's builders leave out or get wrong is set here: ids, legends, the datasource, fixed positions.
 */
import type { Builder } from '@grafana/grafana-foundation-sdk/cog'
import {
  BigValueColorMode,
  BigValueGraphMode,
  BigValueTextMode,
  type GraphDrawStyle,
  HeatmapCellLayout,
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  SortOrder,
  StackingConfigBuilder,
  StackingMode,
  TooltipDisplayMode,
  VizLegendOptionsBuilder,
  VizTooltipOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common'
import type { DynamicConfigValue, Panel } from '@grafana/grafana-foundation-sdk/dashboard'
import { DashboardLinkBuilder, FieldColorBuilder, FieldColorModeId } from '@grafana/grafana-foundation-sdk/dashboard'
import * as heatmap from '@grafana/grafana-foundation-sdk/heatmap'
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat'
import { PanelBuilder as TableBuilder } from '@grafana/grafana-foundation-sdk/table'
import { PanelBuilder as TimeseriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries'
import { METRICS } from '../../query/metrics/catalogue.ts'
import { type Column, metricsOf, type Target } from './model.ts'
import { DATASOURCE, queryOf } from './query.ts'
import { grafanaUnit } from './units.ts'

export interface Drawn {
  readonly target: Target
  readonly title: string
  readonly description: string
  readonly kind: 'stat' | 'timeseries' | 'table' | 'heatmap'
  readonly width: number
  readonly height: number
  readonly build: (id: number) => Builder<Panel>
}

/** What a panel of no metric, or of several, has to say for itself. */
export interface Words {
  readonly title?: string
  readonly description?: string
}

interface Size {
  readonly width: number
  readonly height?: number
}

/** "Frame time, median" and "Frame time, 99th percentile" are "Frame time: median, 99th percentile". */
export function titleOf(target: Target): string {
  const titles = [...new Set(metricsOf(target))].map(id => METRICS[id].title)
  const [first = ''] = titles
  const before = first.split(', ')[0]
  if (titles.length > 1 && titles.every(title => title.startsWith(`${before}, `)))
    return `${before}: ${titles.map(title => title.slice(`${before}, `.length)).join(', ')}`
  return titles.join(' · ')
}

function descriptionOf(target: Target, more = ''): string {
  const ids = [...new Set(metricsOf(target))]
  const definitions = ids.map(id =>
    ids.length === 1 ? METRICS[id].definition : `**${METRICS[id].title}**: ${METRICS[id].definition}`,
  )
  return [more, ...definitions].filter(text => text !== '').join('\n\n')
}

const unitOf = ({ metric, unit }: Column): string => grafanaUnit(metric ? METRICS[metric].unit : (unit ?? 'none'))
const numbers = ({ columns }: Target): Column[] => columns.filter(({ kind }) => kind === 'number')

/** Per column its title and unit. */
const overrides = (target: Target): { name: string; properties: DynamicConfigValue[] }[] =>
  target.columns
    .filter(({ kind }) => kind !== 'label')
    .filter(({ metric, title, unit }) => metric !== undefined || title !== undefined || unit !== undefined)
    .map(column => ({
      name: column.name,
      properties: [
        { id: 'displayName', value: column.metric ? METRICS[column.metric].title : (column.title ?? column.name) },
        ...(column.kind === 'number' ? [{ id: 'unit', value: unitOf(column) }] : []),
      ],
    }))

type AnyBuilder = StatBuilder | TableBuilder | TimeseriesBuilder | heatmap.PanelBuilder
const withCommon = <B extends AnyBuilder>(
  builder: B,
  drawn: Pick<Drawn, 'title' | 'description' | 'target'>,
  id: number,
): B => {
  builder
    .id(id)
    .title(drawn.title)
    .description(drawn.description)
    .datasource(DATASOURCE)
    .unit(unitOf(numbers(drawn.target)[0] ?? { name: '', kind: 'number' }))
    .noValue('no data')
    .withTarget({ build: () => queryOf('A', drawn.target) })
  return builder
}

function drawn(
  kind: Drawn['kind'],
  target: Target,
  { width, height = 8 }: Size,
  words: Words,
  build: (what: Pick<Drawn, 'title' | 'description' | 'target'>, id: number) => Builder<Panel>,
): Drawn {
  const what = {
    target,
    title: words.title ?? titleOf(target),
    description: descriptionOf(target, words.description),
  }
  return { ...what, kind, width, height, build: id => build(what, id) }
}

/** One number of the range. */
export const stat = (target: Target, size: Size, words: Words = {}): Drawn =>
  drawn('stat', target, { height: 4, ...size }, words, (what, id) =>
    withCommon(new StatBuilder(), what, id)
      .graphMode(BigValueGraphMode.None)
      .colorMode(BigValueColorMode.None)
      .textMode(numbers(target).length > 1 ? BigValueTextMode.ValueAndName : BigValueTextMode.Value)
      .reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']).fields('').values(false))
      .overrides(overrides(target).map(matchedByName)),
  )

const matchedByName = ({ name, properties }: { name: string; properties: DynamicConfigValue[] }) => ({
  matcher: { id: 'byName', options: name },
  properties,
})

interface Lines {
  readonly stacked?: boolean
  readonly style?: GraphDrawStyle
}

/** Lines over time: a metric each, or a group each. */
export const timeseries = (target: Target, size: Size, words: Words = {}, { stacked, style }: Lines = {}): Drawn =>
  drawn('timeseries', target, size, words, (what, id) => {
    const label = target.columns.find(({ kind }) => kind === 'label')
    const builder = withCommon(new TimeseriesBuilder(), what, id)
      .legend(
        new VizLegendOptionsBuilder()
          .showLegend(true)
          .displayMode(LegendDisplayMode.List)
          .placement(LegendPlacement.Bottom),
      )
      .tooltip(new VizTooltipOptionsBuilder().mode(TooltipDisplayMode.Multi).sort(SortOrder.Descending))
      .colorScheme(new FieldColorBuilder().mode(FieldColorModeId.PaletteClassic))
      .lineWidth(1)
      .fillOpacity(stacked ? 40 : 0)
      .spanNulls(false)
      .axisSoftMin(0)
    if (style) builder.drawStyle(style)
    if (stacked) builder.stacking(new StackingConfigBuilder().mode(StackingMode.Normal))
    if (label) return builder.displayName(`\${__field.labels.${label.name}}`)
    return builder.overrides(overrides(target).map(matchedByName))
  })

export interface TableLink {
  readonly column: string
  readonly title: string
  readonly url: string
}

/** Rows as they come; those named are not shown but may be linked with. */
export const table = (
  target: Target,
  size: Size,
  words: Words = {},
  links: readonly TableLink[] = [],
  hidden: readonly string[] = [],
): Drawn =>
  drawn('table', target, size, words, (what, id) => {
    const columns = overrides(target).map(({ name, properties }) => {
      const linked = links.filter(({ column }) => column === name)
      return {
        name,
        properties: [
          ...properties,
          ...(linked.length > 0
            ? [
                {
                  id: 'links',
                  value: linked
                    .map(({ title, url }) => new DashboardLinkBuilder(title).url(url).build())
                    .map(({ title, url }) => ({ title, url })),
                },
              ]
            : []),
          ...(hidden.includes(name) ? [{ id: 'custom.hidden', value: true }] : []),
        ],
      }
    })
    return withCommon(new TableBuilder(), what, id).overrides(columns.map(matchedByName))
  })

/** A column of the target per bucket, named by its upper bound. */
export const buckets = (target: Target, unit: string, size: Size, words: Words): Drawn =>
  drawn('heatmap', target, size, words, (what, id) =>
    withCommon(new heatmap.PanelBuilder(), what, id)
      .calculate(false)
      .yAxis(new heatmap.YAxisConfigBuilder().unit(grafanaUnit(unit)))
      .rowsFrame(new heatmap.RowsHeatmapOptionsBuilder().layout(HeatmapCellLayout.Le))
      .cellValues(new heatmap.CellValuesBuilder().unit('short'))
      .color(new heatmap.HeatmapColorOptionsBuilder().mode(heatmap.HeatmapColorMode.Scheme).scheme('Oranges').steps(64))
      .filterValues(new heatmap.FilterValueRangeBuilder().le(0.5))
      .showLegend(),
  )
