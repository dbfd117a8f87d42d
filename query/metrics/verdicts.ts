/**
 * What is said of a session as a whole: did it start, how did it end, was it good? Judged by its merged cell alone, so that the verdict
 * is the same from every tier. The thresholds are published in the definitions.
 */
import { mapCount, percentileOfHundredthsSql } from './percentile.ts'

const GOOD_SESSION = {
  /** Less frame time than this in the range is no session to judge. */
  judged_from_s: 60,
  freeze_time_below_pct: 0.1,
  /** Or at most so many freezes, however long. */
  freezes_at_most: 1,
  stutter_time_below_pct: 1,
  mos_p5_at_least: 3,
} as const

const { judged_from_s, freeze_time_below_pct, freezes_at_most, stutter_time_below_pct, mos_p5_at_least } = GOOD_SESSION
const pctOfTime = (time: string): string => `100 * ${time} / s_frame_time_sum_us`
const scored = `${mapCount('s_mos_hundredths')} > 0`
const judged = `s_frame_time_sum_us >= ${judged_from_s * 1_000_000}`

/** A picture was seen, whether or not the event that says so arrived. */
const STARTED = '(s_first_frames > 0 OR s_frames > 0)'
export const UNEXPECTED_ENDS = ['network', 'host_failure', 'client_crash', 'timeout'] as const

/** Over one session's merged cell (`s_…`), to be summed over sessions. */
export const SESSION_VERDICTS = {
  starts_decided: `s_connects > 0 AND (${STARTED} OR s_ends > 0)`,
  starts_failed: `s_connects > 0 AND NOT ${STARTED} AND s_ends > 0`,
  ends_known: "s_end_reason NOT IN ('', 'unknown')",
  ends_unexpected: `s_end_reason IN (${UNEXPECTED_ENDS.map(reason => `'${reason}'`).join(', ')})`,
  sessions_judged: judged,
  sessions_unscored: `${judged} AND NOT (${scored})`,
  sessions_good: [
    judged,
    `(${pctOfTime('s_freeze_time_us')} < ${freeze_time_below_pct} OR s_freezes <= ${freezes_at_most})`,
    `${pctOfTime('s_stutter_time_us')} < ${stutter_time_below_pct}`,
    `(NOT (${scored}) OR ${percentileOfHundredthsSql('s_mos_hundredths', 0.05)} >= ${mos_p5_at_least})`,
  ].join(' AND '),
} as const

export const GOOD_SESSION_WORDS = `of the sessions with at least ${judged_from_s} s of frame time in the range: less than ${freeze_time_below_pct} % of it in freezes or at most ${freezes_at_most} freeze, less than ${stutter_time_below_pct} % in stutters, and a 5th percentile of the opinion score of at least ${mos_p5_at_least} where cells of it were scored`
