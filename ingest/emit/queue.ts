/**
 * Events that wait, oldest first, and how many bytes they are.
 */

export interface Waiting {
  readonly seq: number
  /** Undefined: that of the outbox. */
  readonly key?: string | undefined
  /** The event's text up to the value of `sent_at_ms`, its last field. */
  readonly text: string
  readonly bytes: number
}

export class Queue {
  /** Waiting from `#head` on; what lies before is gone, and cut off once it is the greater part. */
  #items: Waiting[] = []
  #head = 0
  #bytes = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  get bytes(): number {
    return this.#bytes
  }

  push(item: Waiting): void {
    this.#items.push(item)
    this.#bytes += item.bytes
  }

  /** Puts back at the head what was taken from it. */
  putBack(items: readonly Waiting[]): void {
    this.#items = [...items, ...this.#items.slice(this.#head)]
    this.#head = 0
    this.#bytes += sumBytes(items)
  }

  shift(): Waiting | undefined {
    const first = this.#items[this.#head]
    if (!first) return undefined
    this.#head++
    this.#bytes -= first.bytes
    if (this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return first
  }

  /** Takes from the head what fits into both bounds. An item too big for any batch goes alone. */
  take(max_items: number, max_bytes: number): Waiting[] {
    const taken: Waiting[] = []
    let bytes = 0
    for (let next = this.#items[this.#head]; next && taken.length < max_items; next = this.#items[this.#head]) {
      if (taken.length > 0 && bytes + next.bytes > max_bytes) break
      bytes += next.bytes
      taken.push(next)
      this.shift()
    }
    return taken
  }
}

export const sumBytes = (items: readonly Waiting[]): number => items.reduce((sum, { bytes }) => sum + bytes, 0)
