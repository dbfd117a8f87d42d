/**
 * Hundreds of thousands of frames, kept as plain numbers in a row, and the part of them that a picture has room for: for each column of
 * pixels the shortest and the longest. Nothing is lost that could be seen. Pure.
 */
export interface BadFrame {
  /** Epoch seconds, begin and end. */
  readonly from: number
  readonly to: number
  readonly frame_us: number
  readonly kind: 'stutter' | 'freeze'
}

/** One line of the API's answer. */
interface FrameLine {
  readonly at: string
  readonly target_fps: number
  readonly frame_time_us: readonly number[]
  readonly stutters: readonly number[]
  readonly freezes: readonly number[]
}

/** A pause of more than this between two events is drawn as a gap. */
const GAP_S = 1.5
const FIRST_ROOM = 1 << 16

export class Frames {
  /** End of each frame, epoch seconds. */
  ends = new Float64Array(FIRST_ROOM)
  times_us = new Float32Array(FIRST_ROOM)
  count = 0
  readonly bad: BadFrame[] = []
  /** Begin of each stretch without frames before it, as places. */
  readonly gaps: number[] = []
  target_fps: number | undefined

  /** Takes lines of NDJSON, whole ones. */
  read(text: string): void {
    for (const line of text.split('\n')) if (line !== '') this.#take(JSON.parse(line) as FrameLine)
  }

  #take({ at, target_fps, frame_time_us, stutters, freezes }: FrameLine): void {
    this.#makeRoom(frame_time_us.length)
    const first = this.count
    let end = Date.parse(at) / 1_000
    if (first > 0 && end - (this.ends[first - 1] ?? 0) > GAP_S) this.gaps.push(first)
    for (const us of frame_time_us) {
      end += us / 1e6
      this.ends[this.count] = end
      this.times_us[this.count++] = us
    }
    this.target_fps = target_fps
    const kinds = [
      ['stutter', stutters],
      ['freeze', freezes],
    ] as const
    for (const [kind, places] of kinds)
      for (const place of places) {
        const frame_us = frame_time_us[place] ?? 0
        const to = this.ends[first + place] ?? end
        this.bad.push({ kind, frame_us, to, from: to - frame_us / 1e6 })
      }
  }

  #makeRoom(more: number): void {
    if (this.count + more <= this.ends.length) return
    const room = Math.max(2 * this.ends.length, this.count + more)
    const [ends, times] = [new Float64Array(room), new Float32Array(room)]
    ends.set(this.ends)
    times.set(this.times_us)
    this.ends = ends
    this.times_us = times
  }
}

export type Columns = [times: number[], longest: (number | null)[], shortest: (number | null)[]]

/** @param pixels how many columns there is room for */
export function columnsOf(frames: Frames, from: number, to: number, pixels: number): Columns {
  const { ends, times_us, count } = frames
  const begin = firstFrom(ends, count, from)
  const end = Math.min(count, firstFrom(ends, count, to) + 1)
  const columns = Math.max(1, Math.floor(pixels))
  const [times, longest, shortest]: Columns = [[], [], []]
  const gaps = new Set(frames.gaps.filter(place => place > begin && place < end))
  const few = end - begin <= columns
  const width = (to - from) / columns
  let edge = from + width
  let [low, high] = [Number.POSITIVE_INFINITY, 0]
  const close = (t: number): void => {
    if (high === 0) return
    times.push(t)
    longest.push(high)
    shortest.push(low)
    low = Number.POSITIVE_INFINITY
    high = 0
  }
  for (let i = Math.max(0, begin - 1); i < end; i++) {
    const t = ends[i] ?? 0
    const us = times_us[i] ?? 0
    if (gaps.has(i)) {
      close(edge - width / 2)
      const before = times.at(-1) ?? from
      times.push(before + (t - before) / 2)
      longest.push(null)
      shortest.push(null)
    }
    if (few) {
      high = us
      low = us
      close(t)
      continue
    }
    if (t >= edge) {
      close(edge - width / 2)
      edge += width * (Math.floor((t - edge) / width) + 1)
    }
    if (us > high) high = us
    if (us < low) low = us
  }
  if (!few) close(Math.min(to, edge - width / 2))
  return [times, longest, shortest]
}

/** The first place whose frame ends at `t` or later. */
function firstFrom(ends: Float64Array, count: number, t: number): number {
  let [low, high] = [0, count]
  while (low < high) {
    const middle = (low + high) >> 1
    if ((ends[middle] ?? 0) < t) low = middle + 1
    else high = middle
  }
  return low
}
