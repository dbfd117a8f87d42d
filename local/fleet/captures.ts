/**
 * How evenly a game produces frames: real captures, cut into blocks of one to three seconds and recombined per session, never the
 * same block twice in a row. So a session keeps what was measured within a block (hitches and their neighbours) and repeats nothing long.
 * Intervals are scaled by one factor per capture, its mean becoming the session's target interval: a hitch six times the mean stays one.
 * The captures are benchmark runs and hold ten hitches a minute, far more than somebody would go on playing with: blocks with one are
 * drawn a twenty-fifth as often as the others.
 */

import { readFileSync } from 'node:fs'
import { chance } from '../../query/statistics/weights.ts'
import { between, type Random } from './random.ts'

export interface Capture {
  readonly name: string
  /** Present to present, as measured. */
  readonly frame_time_us: readonly number[]
}

export interface Block {
  readonly capture: string
  /** In units of the capture's mean interval. */
  readonly pace: Float64Array
  readonly hitches: boolean
}

const BLOCK_MIN_US = 1_000_000
const BLOCK_MAX_US = 3_000_000
/** An interval of this many means is a hitch. */
const HITCH = 2.5
/** Chance of a block with a hitch to be used when drawn. */
const HITCH_KEPT = 0.04
/** On an overloaded host this share of the blocks is stretched. */
const LOADED_SHARE = 0.25

export const readCaptures = (): Capture[] =>
  JSON.parse(readFileSync(new URL('./data/captures.json', import.meta.url), 'utf8')) as Capture[]

/** Cuts a capture at seeded lengths. What is left at the end and shorter than a second is left out. */
export function cutBlocks(capture: Capture, random: Random = chance(1)): Block[] {
  const intervals = capture.frame_time_us
  const mean = intervals.reduce((sum, interval) => sum + interval, 0) / intervals.length
  const blocks: Block[] = []
  let pace: number[] = []
  let length = 0
  let wanted = between(random, BLOCK_MIN_US, BLOCK_MAX_US)
  for (const interval of intervals) {
    if (length + interval > BLOCK_MAX_US || length >= wanted) {
      blocks.push(toBlock(capture, pace))
      pace = []
      length = 0
      wanted = between(random, BLOCK_MIN_US, BLOCK_MAX_US)
    }
    pace.push(interval / mean)
    length += interval
  }
  if (length >= BLOCK_MIN_US) blocks.push(toBlock(capture, pace))
  return blocks
}

const toBlock = ({ name }: Capture, pace: readonly number[]): Block => ({
  capture: name,
  pace: Float64Array.from(pace),
  hitches: pace.some(one => one > HITCH),
})

/** Endless frame intervals for one session. */
export class Cadence {
  readonly #blocks: readonly Block[]
  readonly #random: Random
  readonly #target_us: number
  readonly #host_load: number
  #stretch = 1
  #index = -1
  #block: Float64Array = new Float64Array()
  #at = 0

  /**
   * @param host_load what an overloaded host stretches some blocks by; 1 is a healthy one
   * @throws RangeError for fewer than two blocks: one could only follow itself
   */
  constructor(blocks: readonly Block[], target_fps: number, random: Random, host_load = 1) {
    if (blocks.length < 2) throw new RangeError('a cadence needs two blocks at least')
    this.#blocks = blocks
    this.#random = random
    this.#target_us = 1_000_000 / target_fps
    this.#host_load = host_load
  }

  /** Which block the latest interval came from. */
  get block(): number {
    return this.#index
  }

  /** The next interval in microseconds, not rounded. */
  next(): number {
    if (this.#at >= this.#block.length) this.#nextBlock()
    const pace = this.#block[this.#at++] ?? 1
    return pace * this.#target_us * this.#stretch
  }

  #nextBlock(): void {
    const count = this.#blocks.length
    const from = this.#index
    let block: Block | undefined
    do {
      // Drawing from the others only, once there was a first.
      const step = from < 0 ? Math.floor(this.#random() * count) : 1 + Math.floor(this.#random() * (count - 1))
      this.#index = (Math.max(from, 0) + step) % count
      block = this.#blocks[this.#index]
    } while (block?.hitches && this.#random() >= HITCH_KEPT)
    this.#block = block?.pace ?? new Float64Array([1])
    this.#at = 0
    this.#stretch = this.#host_load > 1 && this.#random() < LOADED_SHARE ? this.#host_load : 1
  }
}
