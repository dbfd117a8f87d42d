/**
 * A uPlot in the page: made when its form changes, given data when only that changes, drawn again in other colours, as wide as it may be.
 * It can be reached and moved by keyboard. What it shows is also said in words, for those who do not see it.
 */
import { useEffect, useRef, useState } from 'preact/hooks'
import uPlot from 'uplot'
import { onTheme } from '../theme.ts'
import { type Zoom, zoomByKey } from './zoom.ts'

export interface PlotProps {
  /** What the plot is, apart from its data: it is made anew when this changes. */
  readonly form: string
  /** Called when it is made; colours are those of the moment. */
  readonly options: () => Omit<uPlot.Options, 'width' | 'height'>
  readonly data: uPlot.AlignedData
  readonly height: number
  /** In words. */
  readonly label: string
  readonly zoom?: Zoom | undefined
  /** Gives the data for a part of the time, where that depends on it. */
  readonly dataFor?: (min: number, max: number, pixels: number) => uPlot.AlignedData
}

export function Plot({ form, options, data, height, label, zoom, dataFor }: PlotProps) {
  const host = useRef<HTMLDivElement>(null)
  const plot = useRef<uPlot | undefined>(undefined)
  const [colours, setColours] = useState(0)
  const now = useRef({ options, data, dataFor })
  now.current = { options, data, dataFor }

  useEffect(() => onTheme(() => setColours(n => n + 1)), [])

  // `form` stands for the options, data come by themselves.
  useEffect(() => {
    const element = host.current
    if (!element) return
    const { options, data } = now.current
    const made = new uPlot({ ...options(), width: Math.max(200, element.clientWidth), height }, data, element)
    plot.current = made
    const adjust = (): void => {
      const span = zoom?.span
      if (span) made.batch(() => show(made, span.min, span.max, now.current.dataFor))
    }
    adjust()
    const sizes = new ResizeObserver(() => {
      const width = Math.max(200, element.clientWidth)
      if (width === made.width) return
      made.setSize({ width, height })
      adjust()
    })
    sizes.observe(element)
    const unfollow = zoom?.follow(adjust)
    return () => {
      unfollow?.()
      sizes.disconnect()
      made.destroy()
      plot.current = undefined
    }
  }, [form, colours, zoom, height])

  useEffect(() => {
    const made = plot.current
    if (!made || made.data === data) return
    const span = zoom?.span
    if (span && now.current.dataFor) made.batch(() => show(made, span.min, span.max, now.current.dataFor))
    else made.setData(data, span === undefined)
    if (span) made.setScale('x', span)
  }, [data, zoom])

  const onKey = (event: KeyboardEvent) => {
    if (zoom && !event.ctrlKey && !event.metaKey && !event.altKey && zoomByKey(zoom, event.key)) event.preventDefault()
  }
  const onWheel = (event: WheelEvent) => {
    const made = plot.current
    if (!zoom || !made) return
    // A page that is scrolled past stays as it is; the pinch of a touch pad comes as a wheel with ctrl.
    if (event.ctrlKey) zoom.scale(event.deltaY > 0 ? 1.2 : 1 / 1.2, made.posToVal(event.clientX - made.rect.left, 'x'))
    else if (event.shiftKey || Math.abs(event.deltaX) > Math.abs(event.deltaY))
      zoom.pan((event.deltaX || event.deltaY) / made.width)
    else return
    event.preventDefault()
  }
  const moves = zoom
    ? '. Arrow keys move along the time, plus and minus change how much of it is seen, 0 shows all'
    : ''
  return (
    // A drawing has no element of its own; its parts are not for reading.
    <div
      class="plot"
      ref={host}
      role="img"
      aria-label={label + moves}
      // It is moved by keys.
      tabIndex={zoom ? 0 : undefined}
      onKeyDown={onKey}
      onWheel={onWheel}
      style={{ minHeight: `${height}px` }}
    />
  )
}

function show(plot: uPlot, min: number, max: number, dataFor: PlotProps['dataFor']): void {
  if (dataFor) plot.setData(dataFor(min, max, plot.bbox.width / devicePixelRatio), false)
  plot.setScale('x', { min, max })
}
