/**
 * The opinion score of a cell: what G.1072 is given of it, what keeps it from being scored, and where it lies outside the model.
 * In SQL for settling, over what is aggregated of a cell's events, and in TypeScript for single values; a test holds them equal.
 */
import { classSql } from './classes.ts'
import { type Classes, RANGE, scoreOf, scoreSql } from './g1072.ts'

/** Less frame time than this says too little of how many frames were lost. */
const SCORED_FROM_US = 5_000_000

/** What a cell knows of each input; null is unknown. */
export interface Measured {
  readonly frames: number
  readonly frame_time_sum_us: number
  readonly kbps: number | null
  /** What the encoder made, else what it was asked for. */
  readonly fps: number | null
  readonly pixels: number | null
  readonly rtt_us: number | null
}

export interface CellScore {
  readonly mos: number | null
  /** Why there is no score, or why it lies outside the model. In the order they are told. */
  readonly flags: readonly string[]
}

const clamped = (x: number, { low, high }: { low: number; high: number }): number => Math.min(Math.max(x, low), high)

export function scoreCell(measured: Measured, classes: Classes): CellScore {
  const { frames, frame_time_sum_us, kbps, fps, pixels, rtt_us } = measured
  const known = { bitrate: kbps, fps, resolution: pixels, rtt: rtt_us }
  const missing = Object.entries(known).flatMap(([input, value]) => (value === null ? [`missing:${input}`] : []))
  const unscored = [...(frame_time_sum_us < SCORED_FROM_US ? ['too_short'] : []), ...missing]
  if (unscored.length > 0 || kbps === null || fps === null || pixels === null || rtt_us === null)
    return { mos: null, flags: unscored }
  const given = { bitrate: kbps / 1_000, fps, resolution: pixels, rtt: rtt_us / 1_000 }
  // A stream of 60 fps is measured as 60.1 every other time.
  const held = { ...given, fps: Math.floor(fps + 0.5) }
  const outside = (Object.keys(given) as (keyof typeof given)[]).filter(
    input => held[input] < RANGE[input].low || held[input] > RANGE[input].high,
  )
  const presented = (1e6 * frames) / frame_time_sum_us
  const { mos } = scoreOf(
    {
      bitrate_mbps: clamped(given.bitrate, RANGE.bitrate),
      fps: clamped(fps, RANGE.fps),
      pixels: clamped(pixels, RANGE.resolution),
      delay_ms: clamped(given.rtt, RANGE.rtt),
      // Before the rate is clamped: 60 of 120 frames are half of them lost.
      flr_pct: 100 * Math.max(0, 1 - presented / fps),
    },
    classes,
  )
  return { mos, flags: outside.map(input => `out_of_range:${input}`) }
}

/** What is aggregated of a cell's events beside its columns: name → SQL over events. NULL or NaN is unknown. */
export const SCORE_AGGREGATES = {
  encoded_fps: 'avg(encoded_fps)',
  target_fps: 'sum(target_fps) / countIf(target_fps > 0)',
  pixels: 'sum(toUInt64(width) * height * interval_ms) / sum(if(isNull(width) OR isNull(height), 0, interval_ms))',
  rtt_us: 'avg(rtt_us)',
} as const

const clampSql = (x: string, { low, high }: { low: number; high: number }): string =>
  `least(greatest(${x}, ${low}), ${high})`
const outsideSql = (input: string, x: string, { low, high }: { low: number; high: number }): string =>
  `if(${x} < ${low} OR ${x} > ${high}, 'out_of_range:${input}', '')`
const flagsSql = (flags: readonly string[]): string => `arrayFilter(flag -> flag != '', [${flags.join(', ')}])`

const UNSCORED_SQL = flagsSql([
  `if(cell_frame_time_sum_us < ${SCORED_FROM_US}, 'too_short', '')`,
  "if(isNaN(mbps), 'missing:bitrate', '')",
  "if(isNaN(fps), 'missing:fps', '')",
  "if(isNaN(pixels), 'missing:resolution', '')",
  "if(isNaN(delay_ms), 'missing:rtt', '')",
])
const OUTSIDE_SQL = flagsSql([
  outsideSql('bitrate', 'mbps', RANGE.bitrate),
  outsideSql('fps', 'floor(fps + 0.5)', RANGE.fps),
  outsideSql('resolution', 'pixels', RANGE.resolution),
  outsideSql('rtt', 'delay_ms', RANGE.rtt),
])
const MOS_SQL = scoreSql(
  {
    bitrate_mbps: clampSql('mbps', RANGE.bitrate),
    fps: clampSql('fps', RANGE.fps),
    pixels: clampSql('pixels', RANGE.resolution),
    delay_ms: clampSql('delay_ms', RANGE.rtt),
    flr: '100 * greatest(0, 1 - 1000000 * cell_frames / cell_frame_time_sum_us / fps)',
  },
  { video: classSql('video', 'cell_game'), interaction: classSql('interaction', 'cell_game') },
)

/**
 * The same as `scoreCell`, given the columns of a cell as `cell_…` and the aggregates above as `of_…`: a tuple of the flags that keep it
 * from being scored, the flags of what lies outside the model, and the score in millionths, 0 where there is none.
 */
export const SCORE_SQL = `arrayMap((mbps, fps, pixels, delay_ms) -> arrayMap((unscored, beyond, mos) ->
  (unscored, if(empty(unscored), beyond, []), if(empty(unscored), toUInt32(floor(mos * 1000000 + 0.5)), 0)),
  [${UNSCORED_SQL}], [${OUTSIDE_SQL}], [${MOS_SQL}])[1],
  [cell_received_bits / cell_interval_ms / 1000], [ifNull(of_encoded_fps, of_target_fps)], [if(of_pixels > 0, assumeNotNull(of_pixels), nan)], [ifNull(of_rtt_us, nan) / 1000])[1]`
