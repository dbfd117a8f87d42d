/** What an event of frame times is counted as: the per-frame rules of `ingest/store/cells.ts`, said once more in TypeScript. */
import type { FrameTimesEvent } from '../../ingest/contract/events.ts'
import { BUCKET_GROWTH } from '../../ingest/store/cells.ts'

const LN_GROWTH = Math.log(BUCKET_GROWTH)
const computed = (us: number): number => (us === 0 ? 0 : 1 + Math.floor(Math.log(us) / LN_GROWTH))
/** Nearly all frames are shorter: looked up, a logarithm costs a tenth. */
const KNOWN = Uint16Array.from({ length: 2 ** 16 }, (_, us) => computed(us))
/** As `bucketSql` has it. */
export const bucketOf = (us: number): number => KNOWN[us] ?? computed(us)
export const BUCKETS = bucketOf(2 ** 32) + 1

/** With the one that was still open when the session ended. */
export const framesOf = ({ frame_time_us, open_frame_us, final }: FrameTimesEvent): readonly number[] =>
  final && open_frame_us ? [...frame_time_us, open_frame_us] : frame_time_us

export interface Counts {
  readonly sum_us: number
  readonly min_us: number
  readonly max_us: number
  readonly late: number
  readonly stutter_us: number
  readonly freeze_us: number
}

/** @param frames of the event: `framesOf` it */
export function countsOf(frames: readonly number[], { target_fps: fps, paused }: FrameTimesEvent): Counts {
  const late_over = Math.floor((3_000_000 + 2_000 * fps) / (2 * fps))
  const stutter_over = Math.floor((5_000_000 + 2_000 * fps) / (2 * fps))
  const freeze_from = paused
    ? Number.POSITIVE_INFINITY
    : Math.max(Math.ceil(3_000_000 / fps), Math.ceil(1_000_000 / fps) + 150_000)
  const counts = { sum_us: 0, min_us: Number.POSITIVE_INFINITY, max_us: 0, late: 0, stutter_us: 0, freeze_us: 0 }
  for (const us of frames) {
    counts.sum_us += us
    if (us < counts.min_us) counts.min_us = us
    if (us > counts.max_us) counts.max_us = us
    if (us <= late_over) continue
    counts.late++
    if (us >= freeze_from) counts.freeze_us += us
    else if (us > stutter_over) counts.stutter_us += us
  }
  return counts
}
