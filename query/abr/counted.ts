/** What an event of frame times is counted as in a window: its frames by bucket, and the per-frame rules of `ingest/store/cells.ts` applied. */
import type { FrameTimesEvent } from '../../ingest/contract/events.ts'
import { BUCKET_GROWTH } from '../../ingest/store/cells.ts'

const LN_GROWTH = Math.log(BUCKET_GROWTH)
/** As `bucketSql` has it. */
export const bucketOf = (us: number): number => (us === 0 ? 0 : 1 + Math.floor(Math.log(us) / LN_GROWTH))
export const BUCKETS = bucketOf(2 ** 32) + 1

export interface Frames {
  readonly target_fps: number
  readonly buckets: Uint16Array
  readonly sum_us: number
  readonly min_us: number
  readonly max_us: number
  readonly late: number
  readonly stutter_us: number
  readonly freeze_us: number
  readonly open_us: number | undefined
}

export function framesOf(event: FrameTimesEvent): Frames {
  const { target_fps: fps, frame_time_us, open_frame_us, paused, final } = event
  const late_over = Math.floor((3_000_000 + 2_000 * fps) / (2 * fps))
  const stutter_over = Math.floor((5_000_000 + 2_000 * fps) / (2 * fps))
  const freeze_from = paused
    ? Number.POSITIVE_INFINITY
    : Math.max(Math.ceil(3_000_000 / fps), Math.ceil(1_000_000 / fps) + 150_000)
  const all = final && open_frame_us ? [...frame_time_us, open_frame_us] : frame_time_us
  const buckets = new Uint16Array(all.length)
  const counted = { sum_us: 0, min_us: Number.POSITIVE_INFINITY, max_us: 0, late: 0, stutter_us: 0, freeze_us: 0 }
  for (const [i, us] of all.entries()) {
    buckets[i] = bucketOf(us)
    counted.sum_us += us
    if (us < counted.min_us) counted.min_us = us
    if (us > counted.max_us) counted.max_us = us
    if (us <= late_over) continue
    counted.late++
    if (us >= freeze_from) counted.freeze_us += us
    else if (us > stutter_over) counted.stutter_us += us
  }
  return { ...counted, target_fps: fps, buckets, open_us: open_frame_us }
}
