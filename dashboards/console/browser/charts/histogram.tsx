/** A distribution as bars over a logarithmic axis, with the percentiles that it is spoken of by. Bars are as wide as their bucket. */
import { useCallback } from 'preact/hooks'
import { digits, saying, type Unit } from '../format.ts'
import { FONT } from './axes.ts'
import { Canvas, type Pen } from './canvas.tsx'
import type { Bucket } from './heatmap.tsx'
import { ink, lineColour } from './palette.ts'

interface Percentile {
  readonly name: string
  readonly value: number
}
interface HistogramProps {
  readonly title: string
  readonly buckets: readonly Bucket[]
  readonly percentiles: readonly Percentile[]
  readonly unit: Unit
  readonly weight: string
}

const HEIGHT = 240
const SIDE = 10
const BOTTOM = 26
const TOP = 26

export function Histogram({ title, buckets, percentiles, unit, weight }: HistogramProps) {
  const draw = useCallback((pen: Pen) => drawHistogram(pen, buckets, percentiles, unit), [buckets, percentiles, unit])
  const said = percentiles.map(({ name, value }) => `${name} ${saying(value, unit)}`).join(', ')
  const most = buckets.reduce((n, { count }) => Math.max(n, count), 0)
  return (
    <>
      <Canvas height={HEIGHT} draw={draw} label={`${title}, distribution: ${said}`} />
      <p class="fine">
        The tallest is {digits(most)} {weight}; heights go by the root, so that the rare is seen beside the many.
      </p>
    </>
  )
}

/** Half of all lies within one bucket of a steady stream: by the root, the others are seen too. */
const heightPart = (count: number, most: number): number => Math.sqrt(count / (most || 1))

function drawHistogram(
  { ctx, width, height }: Pen,
  buckets: readonly Bucket[],
  percentiles: readonly Percentile[],
  unit: Unit,
): void {
  ctx.clearRect(0, 0, width, height)
  const low = Math.max(1, buckets[0]?.from ?? 1)
  const high = Math.max(low * 1.1, buckets.at(-1)?.to ?? 10)
  const most = buckets.reduce((n, { count }) => Math.max(n, count), 0)
  const x = (value: number): number =>
    SIDE + ((width - 2 * SIDE) * Math.log(Math.max(value, low) / low)) / Math.log(high / low)
  const floor = height - BOTTOM
  ctx.font = FONT
  ctx.fillStyle = lineColour(0)
  for (const { from, to, count } of buckets) {
    const tall = Math.max(1, heightPart(count, most) * (floor - TOP))
    ctx.fillRect(x(from), floor - tall, Math.max(1, x(to) - x(from) - 0.5), tall)
  }
  ctx.strokeStyle = ink().grid
  ctx.strokeRect(SIDE, floor, width - 2 * SIDE, 0)
  ctx.fillStyle = ink().muted
  ctx.textAlign = 'center'
  let written_to = Number.NEGATIVE_INFINITY
  for (let decade = 10 ** Math.floor(Math.log10(low)); decade <= high; decade *= 10)
    for (const first of [1, 2, 5]) {
      const tick = first * decade
      const half = ctx.measureText(saying(tick, unit)).width / 2
      if (tick < low || x(tick) - half < Math.max(0, written_to) || x(tick) + half > width) continue
      ctx.fillText(saying(tick, unit), x(tick), height - 8)
      written_to = x(tick) + half + 10
    }
  drawPercentiles(ctx, percentiles, x, floor, width)
}

function drawPercentiles(
  ctx: CanvasRenderingContext2D,
  percentiles: readonly Percentile[],
  x: (value: number) => number,
  floor: number,
  width: number,
): void {
  ctx.strokeStyle = ink().text
  ctx.fillStyle = ink().text
  ctx.setLineDash([4, 3])
  let written_to = 0
  for (const { name, value } of percentiles) {
    ctx.beginPath()
    ctx.moveTo(x(value), TOP - 8)
    ctx.lineTo(x(value), floor)
    ctx.stroke()
    const half = ctx.measureText(name).width / 2
    const at = Math.min(Math.max(x(value), written_to + half + 4), width - half)
    ctx.textAlign = 'center'
    ctx.fillText(name, at, TOP - 12)
    written_to = at + half
  }
  ctx.setLineDash([])
}
