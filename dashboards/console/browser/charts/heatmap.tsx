/**
 * How often which value, over time: darker (on dark ground lighter) is more often, by the logarithm, so that the few slow frames are seen
 * beside the many good ones. Values grow upwards, logarithmically, as the API's buckets do.
 */
import { useCallback, useState } from 'preact/hooks'
import { day, digits, moment, saying, timeOfDay, type Unit } from '../format.ts'
import { FONT } from './axes.ts'
import { Canvas, type Pen } from './canvas.tsx'
import { heat, ink } from './palette.ts'

export interface Bucket {
  readonly from: number
  readonly to: number
  readonly count: number
}
interface Column {
  readonly t: string
  readonly buckets: readonly Bucket[]
}

interface HeatmapProps {
  readonly title: string
  readonly columns: readonly Column[]
  readonly step_s: number
  readonly unit: Unit
  /** What a bucket counts. */
  readonly weight: string
}

const HEIGHT = 280
const LEFT = 74
const BOTTOM = 26
const TOP = 6

export function Heatmap({ title, columns, step_s, unit, weight }: HeatmapProps) {
  const [at, setAt] = useState<string>('')
  const frame = frameOf(columns, step_s)
  // The frame follows from the columns.
  const draw = useCallback((pen: Pen) => drawHeatmap(pen, columns, frame, unit), [columns, unit])
  return (
    <>
      <Canvas
        height={HEIGHT}
        draw={draw}
        label={`${title}, heatmap over time: from ${saying(frame.low, unit)} to ${saying(frame.high, unit)}, at most ${digits(frame.most)} ${weight} in one cell`}
        onPoint={point => setAt(point ? wordsAt(point, columns, frame, unit, weight) : '')}
      />
      <p class="reading">{at || 'Point at the picture to read it.'}</p>
      <p class="scale" aria-hidden="true">
        few{' '}
        {Array.from({ length: 6 }, (_, i) => i / 5).map(part => (
          <svg key={part} width="18" height="10" role="presentation">
            <rect width="18" height="10" fill={heat(part)} />
          </svg>
        ))}{' '}
        many {weight}
      </p>
    </>
  )
}

interface Frame {
  readonly from: number
  readonly to: number
  readonly low: number
  readonly high: number
  readonly most: number
}

function frameOf(columns: readonly Column[], step_s: number): Frame {
  const first = Date.parse(columns[0]?.t ?? '')
  const buckets = columns.flatMap(column => column.buckets)
  return {
    from: first,
    to: first + columns.length * step_s * 1_000,
    low: buckets.reduce((low, { from }) => Math.min(low, Math.max(1, from)), Number.POSITIVE_INFINITY),
    high: buckets.reduce((high, { to }) => Math.max(high, to), 1),
    most: buckets.reduce((most, { count }) => Math.max(most, count), 0),
  }
}

const heightOf = (value: number, { low, high }: Frame): number =>
  TOP + (HEIGHT - TOP - BOTTOM) * (1 - Math.log(Math.max(value, low) / low) / Math.log(high / low || 1))

function drawHeatmap({ ctx, width }: Pen, columns: readonly Column[], frame: Frame, unit: Unit): void {
  ctx.clearRect(0, 0, width, HEIGHT)
  const wide = (width - LEFT) / Math.max(1, columns.length)
  for (const [i, { buckets }] of columns.entries())
    for (const { from, to, count } of buckets) {
      ctx.fillStyle = heat(Math.log(1 + count) / Math.log(1 + frame.most))
      const [top, bottom] = [heightOf(to, frame), heightOf(from, frame)]
      // Rounded to whole pixels, or the edges of neighbours shine through.
      const left = Math.floor(LEFT + i * wide)
      const right = Math.ceil(LEFT + (i + 1) * wide)
      ctx.fillRect(left, Math.floor(top), right - left, Math.ceil(bottom) - Math.floor(top))
    }
  ctx.font = FONT
  ctx.fillStyle = ink().muted
  ctx.strokeStyle = ink().grid
  ctx.textBaseline = 'middle'
  ctx.textAlign = 'right'
  for (const tick of ticksOf(frame)) {
    const y = heightOf(tick, frame)
    ctx.fillText(saying(tick, unit), LEFT - 8, y)
    ctx.beginPath()
    ctx.moveTo(LEFT - 4, y)
    ctx.lineTo(LEFT, y)
    ctx.stroke()
  }
  drawTimes(ctx, width, frame)
}

const DECADE_MIN = 66

/** 1, 2 and 5 of each decade, or where there is less room each decade alone. */
function ticksOf({ low, high }: Frame): number[] {
  const firsts = (HEIGHT - TOP - BOTTOM) / Math.log10(high / low) >= DECADE_MIN ? [1, 2, 5] : [1]
  const ticks: number[] = []
  for (let decade = 10 ** Math.floor(Math.log10(low)); decade <= high; decade *= 10)
    for (const first of firsts) if (first * decade >= low && first * decade <= high) ticks.push(first * decade)
  return ticks
}

const STEPS_MIN = [1, 2, 5, 10, 15, 30, 60, 120, 180, 360, 720, 1_440, 2_880, 10_080]
const LABEL_ROOM = 84

function drawTimes(ctx: CanvasRenderingContext2D, width: number, { from, to }: Frame): void {
  const most = Math.max(1, (width - LEFT) / LABEL_ROOM)
  const step_ms = 60_000 * (STEPS_MIN.find(minutes => (to - from) / (60_000 * minutes) <= most) ?? 20_160)
  const offset_ms = new Date(from).getTimezoneOffset() * 60_000
  ctx.textBaseline = 'alphabetic'
  ctx.textAlign = 'center'
  for (let ms = Math.ceil((from - offset_ms) / step_ms) * step_ms + offset_ms; ms <= to; ms += step_ms) {
    const x = LEFT + ((width - LEFT) * (ms - from)) / (to - from)
    const text = step_ms >= 86_400_000 ? day(ms) : timeOfDay(ms, false)
    const half = ctx.measureText(text).width / 2
    if (x - half >= LEFT - 30 && x + half <= width) ctx.fillText(text, x, HEIGHT - 8)
  }
}

function wordsAt(
  { x, y, width }: { readonly x: number; readonly y: number; readonly width: number },
  columns: readonly Column[],
  frame: Frame,
  unit: Unit,
  weight: string,
): string {
  const column = columns[Math.floor(((x - LEFT) / (width - LEFT)) * columns.length)]
  if (!column || x < LEFT) return ''
  const found = column.buckets.find(({ from, to }) => y <= heightOf(from, frame) && y >= heightOf(to, frame))
  const when = moment(column.t)
  if (!found) return `${when}: none here`
  return `${when}: ${digits(found.count)} ${weight} from ${saying(found.from, unit)} to ${saying(found.to, unit)}`
}
