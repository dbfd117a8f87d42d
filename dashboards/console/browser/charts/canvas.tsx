/** A drawing of our own, sharp on every screen, drawn again when its place or the colours change. */
import { useEffect, useRef } from 'preact/hooks'
import { onTheme } from '../theme.ts'

export interface Pen {
  readonly ctx: CanvasRenderingContext2D
  /** In CSS pixels. */
  readonly width: number
  readonly height: number
}

interface CanvasProps {
  readonly height: number
  /** In words. */
  readonly label: string
  readonly draw: (pen: Pen) => void
  /** Where the pointer is, in CSS pixels; undefined: it left. */
  readonly onPoint?: (at: { readonly x: number; readonly y: number; readonly width: number } | undefined) => void
}

export function Canvas({ height, label, draw, onPoint }: CanvasProps) {
  const canvas = useRef<HTMLCanvasElement>(null)
  const latest = useRef(draw)
  latest.current = draw

  const redraw = () => {
    const element = canvas.current
    const ctx = element?.getContext('2d')
    if (!element || !ctx) return
    const width = element.clientWidth
    element.width = Math.round(width * devicePixelRatio)
    element.height = Math.round(height * devicePixelRatio)
    ctx.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0)
    latest.current({ ctx, width, height })
  }

  // Whenever it is given something else to draw.
  useEffect(redraw, [draw, height])
  // What is drawn comes by the reference.
  useEffect(() => {
    const element = canvas.current
    if (!element) return
    const sizes = new ResizeObserver(redraw)
    sizes.observe(element)
    const unfollow = onTheme(redraw)
    return () => {
      sizes.disconnect()
      unfollow()
    }
  }, [])

  return (
    <canvas
      ref={canvas}
      class="drawing"
      style={{ height: `${height}px` }}
      role="img"
      aria-label={label}
      onPointerMove={event => onPoint?.({ x: event.offsetX, y: event.offsetY, width: event.currentTarget.clientWidth })}
      onPointerLeave={() => onPoint?.(undefined)}
    />
  )
}
