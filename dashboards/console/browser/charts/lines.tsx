/** Lines over time: a gap where nothing is known, an axis with its unit, what happened as dashed uprights, a cursor shared with others. */
import { useMemo } from 'preact/hooks'
import uPlot from 'uplot'
import { moment, saying, type Unit } from '../format.ts'
import { RIGHT, timeAxis, valueAxis } from './axes.ts'
import { ink, lineColour, lineDash } from './palette.ts'
import { Plot } from './plot.tsx'
import type { Zoom } from './zoom.ts'

export interface Line {
  readonly label: string
  readonly values: readonly (number | null)[]
  /** Drawn as steps: a value that holds until the next one. */
  readonly steps?: boolean
  readonly colour?: number
}
export interface Upright {
  /** Epoch seconds. */
  readonly t: number
  readonly label: string
}

interface LinesProps {
  readonly title: string
  /** Epoch seconds, ascending. */
  readonly times: readonly number[]
  readonly lines: readonly Line[]
  readonly unit: Unit
  readonly height?: number
  readonly uprights?: readonly Upright[]
  readonly zoom?: Zoom | undefined
  /** Charts of the same name share the cursor. */
  readonly shared?: string
  /** A part of the time was chosen by dragging; epoch seconds. */
  readonly onSelect?: (from: number, to: number) => void
}

const NOTHING: readonly Upright[] = []

export function Lines(props: LinesProps) {
  const { title, times, lines, unit, height = 240, uprights = NOTHING, zoom, shared, onSelect } = props
  const data = useMemo(
    () => [times as number[], ...lines.map(line => line.values as (number | null)[])] as uPlot.AlignedData,
    [times, lines],
  )
  const form = JSON.stringify([
    lines.map(({ label, steps }) => [label, steps]),
    unit,
    uprights,
    shared,
    onSelect === undefined,
  ])
  const options = (): Omit<uPlot.Options, 'width' | 'height'> => ({
    cursor: {
      drag: { x: zoom !== undefined || onSelect !== undefined, y: false, setScale: false },
      ...(shared ? { sync: { key: shared } } : {}),
      focus: { prox: 24 },
    },
    legend: { live: true },
    padding: [10, RIGHT, 0, 0],
    scales: { x: { time: true }, y: { range: (_u, min, max) => roomy(min, max) } },
    axes: [timeAxis(), valueAxis(unit)],
    series: [
      { label: 'Time', value: (_u, t) => (t === null ? '' : moment(t * 1_000)) },
      ...lines.map((line, i): uPlot.Series => {
        const colour = line.colour ?? i
        return {
          label: line.label,
          stroke: lineColour(colour),
          width: 1.75,
          dash: line.colour === undefined ? lineDash(i) : [],
          points: { size: 4, show: lonely },
          value: (_u, value) => saying(value, unit),
          ...(line.steps && uPlot.paths.stepped ? { paths: uPlot.paths.stepped({ align: 1 }) } : {}),
        }
      }),
    ],
    hooks: {
      draw: [plot => drawUprights(plot, uprights)],
      setCursor: [showLast],
      ready: [showLast],
      setData: [showLast],
      setSelect: [plot => selected(plot, zoom, onSelect)],
    },
  })
  return (
    <Plot form={form} options={options} data={data} height={height} zoom={zoom} label={inWords(title, lines, unit)} />
  )
}

/** From zero, with room above: half of a height is half of a value. */
function roomy(min: number | null, max: number | null): [number, number] {
  if (min === null || max === null) return [0, 1]
  const top = max > 0 ? max * 1.08 : 1
  return [Math.min(0, min), top]
}

/** Where nobody points the legend says what is known last. */
export function showLast(plot: uPlot): void {
  if ((plot.cursor.left ?? -1) >= 0) return
  const [, ...values] = plot.data
  const last = plot.data[0].findLastIndex((_, i) => values.some(line => line[i] !== null && line[i] !== undefined))
  if (last >= 0) plot.setLegend({ idx: last }, false)
}

/** A value between two gaps has no line: it is shown as a point. */
const lonely: uPlot.Series.Points.Show = (plot, i, from, to) => {
  const values = plot.data[i]
  if (!values) return false
  let known = 0
  for (let at = from; at <= to; at++) if (values[at] !== null && values[at] !== undefined) known++
  return known > 0 && known <= 2
}

export function selected(plot: uPlot, zoom: Zoom | undefined, onSelect: LinesProps['onSelect']): void {
  const { left, width } = plot.select
  if (width < 4) return
  const [from, to] = [plot.posToVal(left, 'x'), plot.posToVal(left + width, 'x')]
  plot.setSelect({ left: 0, top: 0, width: 0, height: 0 }, false)
  if (zoom) zoom.set({ min: from, max: to })
  else onSelect?.(from, to)
}

const LABEL_MAX = 22

function drawUprights(plot: uPlot, uprights: readonly Upright[]): void {
  const { ctx, bbox } = plot
  const scale = devicePixelRatio
  ctx.save()
  ctx.strokeStyle = ink().muted
  ctx.fillStyle = ink().text
  ctx.font = `${11 * scale}px system-ui, sans-serif`
  ctx.setLineDash([4 * scale, 3 * scale])
  let written_to = Number.NEGATIVE_INFINITY
  for (const { t, label } of uprights) {
    const x = plot.valToPos(t, 'x', true)
    if (x < bbox.left || x > bbox.left + bbox.width) continue
    ctx.beginPath()
    ctx.moveTo(x, bbox.top)
    ctx.lineTo(x, bbox.top + bbox.height)
    ctx.stroke()
    const text = label.length > LABEL_MAX ? `${label.slice(0, LABEL_MAX - 1)}…` : label
    const width = ctx.measureText(text).width
    // Where names would lie over each other the later ones are left to the legend below.
    const left = Math.min(x + 4 * scale, bbox.left + bbox.width - width)
    if (left < written_to) continue
    ctx.fillText(text, left, bbox.top + 12 * scale)
    written_to = left + width + 8 * scale
  }
  ctx.restore()
}

/** The last known value of each line. */
function inWords(title: string, lines: readonly Line[], unit: Unit): string {
  const said = lines.map(({ label, values }) => {
    const last = values.findLast(value => value !== null)
    return `${label} ${last === undefined ? 'unknown' : saying(last, unit)}`
  })
  return `${title}, chart over time. Last: ${said.join(', ') || 'nothing'}`
}
