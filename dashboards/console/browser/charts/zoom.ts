/**
 * The part of the time that several charts show together. They follow it a frame at a time, however fast it is moved.
 * It never leaves what was loaded, and never gets so narrow that there is nothing in it.
 */
export interface Span {
  readonly min: number
  readonly max: number
}

const NARROWEST_S = 0.5

export class Zoom {
  #whole: Span
  #span: Span
  #listeners = new Set<(span: Span) => void>()
  #waiting = false

  constructor(whole: Span, span: Span = whole) {
    this.#whole = whole
    this.#span = within(span, whole)
  }

  get span(): Span {
    return this.#span
  }
  get whole(): Span {
    return this.#whole
  }
  get isWhole(): boolean {
    return this.#span.min <= this.#whole.min && this.#span.max >= this.#whole.max
  }

  /** @returns what ends the listening */
  follow(listener: (span: Span) => void): () => void {
    this.#listeners.add(listener)
    return () => this.#listeners.delete(listener)
  }

  set(span: Span): void {
    const next = within(span, this.#whole)
    if (next.min === this.#span.min && next.max === this.#span.max) return
    this.#span = next
    if (this.#waiting) return
    this.#waiting = true
    requestAnimationFrame(() => {
      this.#waiting = false
      for (const listener of this.#listeners) listener(this.#span)
    })
  }

  /** @param part of what is seen; negative: to the left */
  pan(part: number): void {
    const { min, max } = this.#span
    const by = (max - min) * part
    this.set({ min: min + by, max: max + by })
  }

  /** @param factor under 1: closer @param at the moment that stays where it is */
  scale(factor: number, at = (this.#span.min + this.#span.max) / 2): void {
    const { min, max } = this.#span
    this.set({ min: at - (at - min) * factor, max: at + (max - at) * factor })
  }

  reset(): void {
    this.set(this.#whole)
  }
}

function within({ min, max }: Span, whole: Span): Span {
  const width = Math.min(whole.max - whole.min, Math.max(NARROWEST_S, max - min))
  const from = Math.min(Math.max(min, whole.min), whole.max - width)
  return { min: from, max: from + width }
}

const PAN = 0.2
const CLOSER = 0.5

/** What keys do to a chart that has the focus. @returns whether it was one of them */
export function zoomByKey(zoom: Zoom, key: string): boolean {
  const acts: Readonly<Record<string, () => void>> = {
    ArrowLeft: () => zoom.pan(-PAN),
    ArrowRight: () => zoom.pan(PAN),
    '+': () => zoom.scale(CLOSER),
    '=': () => zoom.scale(CLOSER),
    '-': () => zoom.scale(1 / CLOSER),
    '0': () => zoom.reset(),
    Escape: () => zoom.reset(),
  }
  const act = acts[key]
  act?.()
  return act !== undefined
}
