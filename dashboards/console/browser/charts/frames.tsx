/**
 * Every frame of a session. Where there are more than pixels, a band from the shortest to the longest of each column; stutters are
 * triangles above, freezes squares with the time they stood shaded below. The axis is logarithmic: a good frame and a freeze fit into it.
 */
import { useMemo } from 'preact/hooks'
import type uPlot from 'uplot'
import { moment, saying } from '../format.ts'
import { logAxis, RIGHT, timeAxis } from './axes.ts'
import { columnsOf, type Frames } from './frame-data.ts'
import { selected, showLast } from './lines.tsx'
import { ink, lineColour } from './palette.ts'
import { Plot } from './plot.tsx'
import type { Zoom } from './zoom.ts'

interface FrameChartProps {
  readonly frames: Frames
  readonly zoom: Zoom
  readonly shared: string
}

const HEIGHT = 260
/** So much of the picture is for the marks of bad frames. */
const MARKS = 16

export function FrameChart({ frames, zoom, shared }: FrameChartProps) {
  const data = useMemo(() => {
    const { min, max } = zoom.span
    return columnsOf(frames, min, max, 1_000) as uPlot.AlignedData
  }, [frames, zoom])
  const options = (): Omit<uPlot.Options, 'width' | 'height'> => ({
    cursor: { drag: { x: true, y: false, setScale: false }, sync: { key: shared } },
    padding: [MARKS + 6, RIGHT, 0, 0],
    scales: { x: { time: true }, y: { distr: 3, log: 10, range: (_u, min, max) => decades(min, max) } },
    axes: [timeAxis(), logAxis('us')],
    series: [
      { label: 'Time', value: (_u, t) => (t === null ? '' : moment(t * 1_000)) },
      {
        label: 'Longest frame',
        stroke: lineColour(0),
        width: 1,
        points: { show: false },
        value: (_u, us) => saying(us, 'us'),
      },
      {
        label: 'Shortest',
        stroke: lineColour(0),
        width: 0.5,
        points: { show: false },
        value: (_u, us) => saying(us, 'us'),
      },
    ],
    bands: [{ series: [1, 2], fill: ink().band }],
    hooks: {
      draw: [plot => drawTarget(plot, frames.target_fps), plot => drawBad(plot, frames)],
      setCursor: [showLast],
      ready: [showLast],
      setData: [showLast],
      setSelect: [plot => selected(plot, zoom, undefined)],
    },
  })
  const stutters = frames.bad.filter(({ kind }) => kind === 'stutter').length
  const freezes = frames.bad.length - stutters
  return (
    <>
      <Plot
        form={`frames ${frames.count} ${zoom.whole.min}`}
        options={options}
        data={data}
        height={HEIGHT}
        zoom={zoom}
        dataFor={(min, max, pixels) => columnsOf(frames, min, max, pixels) as uPlot.AlignedData}
        label={`Frame times of ${frames.count} frames: ${stutters} stutters, ${freezes} freezes`}
      />
      <p class="key">
        <span class="stutter">▲ stutter</span> <span class="freeze">■ freeze</span>{' '}
        <span class="target">┄ one target interval</span>
      </p>
    </>
  )
}

/** Ticks are counted from where the axis begins: at 1, 2 or 5 of a decade they are round. */
function beginOf(value: number): number {
  const decade = 10 ** Math.floor(Math.log10(value))
  return decade * ([5, 2].find(first => first * decade <= value) ?? 1)
}

/** At least from 5 to 100 ms, so that a quiet session looks quiet. */
const decades = (min: number | null, max: number | null): [number, number] => [
  beginOf(Math.max(100, Math.min(5_000, min ?? 5_000))),
  Math.max(100_000, (max ?? 0) * 1.2),
]

function drawTarget(plot: uPlot, target_fps: number | undefined): void {
  if (target_fps === undefined) return
  const { ctx, bbox } = plot
  const y = plot.valToPos(1e6 / target_fps, 'y', true)
  ctx.save()
  ctx.strokeStyle = ink().muted
  ctx.setLineDash([2 * devicePixelRatio, 3 * devicePixelRatio])
  ctx.beginPath()
  ctx.moveTo(bbox.left, y)
  ctx.lineTo(bbox.left + bbox.width, y)
  ctx.stroke()
  ctx.restore()
}

/** Of marks that would lie over each other one is drawn; a freeze is never hidden by a stutter. */
function drawBad(plot: uPlot, { bad }: Frames): void {
  const { ctx, bbox } = plot
  const scale = devicePixelRatio
  const size = 8 * scale
  const { min = 0, max = 0 } = plot.scales.x ?? {}
  ctx.save()
  const colours = ink()
  for (const kind of ['stutter', 'freeze'] as const) {
    ctx.fillStyle = colours[kind]
    let drawn_to = Number.NEGATIVE_INFINITY
    for (const { from, to, kind: found } of bad) {
      if (found !== kind || to < min || from > max) continue
      const left = Math.max(bbox.left, plot.valToPos(from, 'x', true))
      const right = Math.min(bbox.left + bbox.width, plot.valToPos(to, 'x', true))
      if (kind === 'freeze') {
        ctx.globalAlpha = 0.18
        ctx.fillRect(left, bbox.top, Math.max(scale, right - left), bbox.height)
        ctx.globalAlpha = 1
      }
      const x = (left + right) / 2
      if (x - drawn_to < size * 0.75) continue
      drawn_to = x
      const top = bbox.top - (MARKS + 2) * scale + (kind === 'freeze' ? 0 : size)
      ctx.beginPath()
      if (kind === 'freeze') ctx.rect(x - size / 2, top, size * 0.9, size * 0.9)
      else {
        ctx.moveTo(x, top)
        ctx.lineTo(x + size / 2, top + size * 0.9)
        ctx.lineTo(x - size / 2, top + size * 0.9)
      }
      ctx.fill()
    }
  }
  ctx.restore()
}
