/**
 * What one session says of how much its network carries, in one value: the median of its intervals' evidence.
 *
 * An interval is evidence of the ceiling where the network limits it: it delivers less than nine tenths of what the encoder was asked for,
 * loses more than 0.5 % of the packets, or takes half as long again as the session's fast round trips (their tenth percentile). It counts
 * with the congestion controller's estimate, else with what was received. Every other interval says only that so much is carried: a lower
 * bound. The median is the product-limit estimator's over both. Where that is not reached, the session is a lower bound itself: at the
 * rate that half of its intervals had.
 *
 * Said twice: for rows of the store, where it is computed, and for events at hand. A test holds the two to one answer. In integers, so that
 * they can.
 */
import { z } from 'zod'
import type { BitrateEvent } from '../../ingest/contract/events.ts'
import { TIERS } from '../../ingest/store/settle.ts'
import type { Question } from '../metrics/question.ts'
import { plainQuantile, survivalQuantiles } from '../statistics/survival.ts'

/**
 * Which ten seconds a session speaks by: a short one by all it has, a longer one by the first of each minute of its last half hour. Rows
 * stand in the order of their ten seconds, so the others are not read at all: a median needs no more, and what asking costs is bounded.
 */
export const SHORT_S = 300
export const SPAN_S = 1_800
const EVERY_S = 60
const CELL_S = TIERS['10s'].seconds

/** The ten seconds, in epoch seconds, that sessions of one kind were heard in which were heard of last between the two. */
export function spokenBy(short: boolean, least_last: number, most_last: number): number[] {
  const [every, span] = short ? [CELL_S, SHORT_S] : [EVERY_S, SPAN_S]
  const first = Math.ceil((least_last - span + CELL_S) / every) * every
  return Array.from({ length: Math.max(0, Math.floor((most_last - first) / every) + 1) }, (_, i) => first + i * every)
}

/** A session of fewer says too little. */
export const INTERVALS_MIN = 10
const AT_RISK_MIN = 3

export interface Sustained {
  readonly kbps: number
  /** It is a lower bound. */
  readonly censored: boolean
  readonly rtt_p50_us: number | null
  readonly packet_loss_pct: number | null
}

type Interval = Pick<
  BitrateEvent,
  'bitrate_kbps' | 'target_bitrate_kbps' | 'available_kbps' | 'rtt_us' | 'packets_received' | 'packets_lost'
>

/** Of a session's intervals, each once. Undefined: too few. */
export function sustainedBy(intervals: readonly Interval[]): Sustained | undefined {
  if (intervals.length < INTERVALS_MIN) return undefined
  const rtts = Float64Array.from(intervals.flatMap(({ rtt_us }) => rtt_us ?? [])).sort()
  const fast_us = interpolated(rtts, 0.1)
  const limits = (interval: Interval): boolean => isLimited(interval, fast_us)
  const ascending = (values: readonly number[]): Float64Array => Float64Array.from(values).sort()
  const observed = ascending(
    intervals.filter(limits).map(({ available_kbps, bitrate_kbps }) => available_kbps ?? bitrate_kbps),
  )
  const bounds = ascending(intervals.filter(interval => !limits(interval)).map(({ bitrate_kbps }) => bitrate_kbps))
  const [median] = survivalQuantiles(observed, bounds, [0.5], AT_RISK_MIN)
  const packets = intervals.flatMap(({ packets_lost: lost, packets_received: received }) =>
    lost === undefined || received === undefined ? [] : { lost, all: lost + received },
  )
  const all = packets.reduce((sum, one) => sum + one.all, 0)
  return {
    kbps: median ?? plainQuantile(ascending([...observed, ...bounds]), 0.5) ?? 0,
    censored: median == null,
    rtt_p50_us: interpolated(rtts, 0.5),
    packet_loss_pct: all > 0 ? (100 * packets.reduce((sum, { lost }) => sum + lost, 0)) / all : null,
  }
}

function isLimited(interval: Interval, fast_us: number | null): boolean {
  const { bitrate_kbps, target_bitrate_kbps: target, packets_lost: lost, packets_received: received, rtt_us } = interval
  if (target !== undefined && 10 * bitrate_kbps < 9 * target) return true
  if (lost !== undefined && received !== undefined && 200 * lost > lost + received) return true
  return rtt_us !== undefined && fast_us !== null && 2 * rtt_us > 3 * fast_us
}

/** Hyndman & Fan's type 7, as ClickHouse's quantileExactInclusive. */
function interpolated(sorted: Float64Array, p: number): number | null {
  const h = (sorted.length - 1) * p
  const below = sorted[Math.floor(h)]
  if (below === undefined) return null
  return below + (h - Math.floor(h)) * ((sorted[Math.ceil(h)] ?? below) - below)
}

const sustainedRow = z.object({
  id: z.string(),
  intervals: z.number(),
  kbps: z.number(),
  censored: z.number().transform(Boolean),
  rtt_p50_us: z.number().nullable(),
  packet_loss_pct: z.number().nullable(),
})
export type SustainedRow = z.infer<typeof sustainedRow>

/** `is`: received, target, available, rtt, packets received, packets lost, ten seconds. */
const LIMITED = `ifNull(10 * toInt64(i.1) < 9 * toInt64(i.2), 0) OR ifNull(200 * toInt64(i.6) > toInt64(i.5) + i.6, 0) OR ifNull(2 * toInt64(i.4) > 3 * fast_us, 0)`
const KNOWN_PACKETS = 'arrayFilter(i -> isNotNull(i.5 + i.6), is)'

const SUSTAINED = `SELECT toString(session_id) AS id, length(is) AS intervals,
  ifNull(values[reached].1, values[intDiv(intervals + 1, 2)].1) AS kbps,
  isNull(reached) AS censored, rtt_p50_us, packet_loss_pct
FROM (
  SELECT session_id, is, rtt_p50_us, packet_loss_pct,
    arraySort(arrayMap(i -> if(${LIMITED}, (toUInt32(ifNull(i.3, i.1)), 0), (i.1, 1)), is)) AS values,
    arrayCumSum(arrayMap((value, i) -> if(value.2 = 1, 0., log(toFloat64(length(values) - i) / (length(values) - i + 1))), values, arrayEnumerate(values))) AS surviving,
    arrayFirstIndex((s, i) -> exp(s) <= 0.5 + 1e-9 OR length(values) - i + 1 < ${AT_RISK_MIN}, surviving, arrayEnumerate(surviving)) AS stop,
    if(stop > 0 AND exp(surviving[stop]) <= 0.5 + 1e-9 AND length(values) - stop + 1 >= ${AT_RISK_MIN}, stop, NULL) AS reached
  FROM (
    SELECT session_id, is,
      arrayReduce('quantileExactInclusiveOrNull(0.1)', arrayMap(i -> i.4, is)) AS fast_us,
      arrayReduce('quantileExactInclusiveOrNull(0.5)', arrayMap(i -> i.4, is)) AS rtt_p50_us,
      100 * arraySum(i -> assumeNotNull(i.6), ${KNOWN_PACKETS}) / nullIf(arraySum(i -> assumeNotNull(i.5 + i.6), ${KNOWN_PACKETS}), 0) AS packet_loss_pct
    FROM (
      SELECT session_id, arrayFilter(i -> i.7 > toUnixTimestamp(max(t10)) - {span_s:UInt32},
        groupArray((bitrate_kbps, target_bitrate_kbps, available_kbps, rtt_us, packets_received, packets_lost, toUnixTimestamp(t10)))) AS is
      FROM (
        SELECT session_id, t10, bitrate_kbps, target_bitrate_kbps, available_kbps, rtt_us, packets_received, packets_lost
        FROM events_v1
        WHERE kind = 'bitrate' AND t10 IN (SELECT toDateTime(arrayJoin({buckets:Array(UInt32)}), 'UTC')) AND session_id IN {ids:Array(UUID)}
        -- Which of two that are one does not matter: a resend says the same.
        LIMIT 1 BY t10, session_id, source, seq
      )
      GROUP BY session_id
    )
  )
)
WHERE intervals >= ${INTERVALS_MIN}`

/** Sessions that are asked about at once: short ones or longer ones. */
export interface Batch {
  readonly ids: readonly string[]
  readonly short: boolean
  readonly buckets: readonly number[]
}

/** A row for each session that says enough. */
export const sustainedQuestion = ({ ids, short, buckets }: Batch): Question<SustainedRow> => ({
  id: 'prior_evidence',
  sql: SUSTAINED,
  params: { ids, buckets, span_s: short ? SHORT_S : SPAN_S },
  row: sustainedRow,
})
