/**
 * When a bucket is worth settling, and by whom. Pure decisions; `settler.ts` acts, `store/settle.ts` knows how.
 *
 * A bucket is settled when it has gone quiet, and before that only as often as is cheap: settling costs about 3 µs of CPU per event
 * of the bucket each time. Needs no leader: ingesters that settle the same bucket do the same work, harmlessly. They take turns by the
 * partitions they hold, to save that work.
 */
import { type CoarserTier, type DueBucket, TIERS } from '../store/settle.ts'
import type { Behind } from './loader.ts'

/** No new row for this long: quiet. Clients speak once a second. */
const QUIET_MS = 2_000
/** The same while a backlog is worked off and some partition has yet to pass the bucket. */
const QUIET_UNPASSED_MS = 15_000
/** In a backlog a bucket is passed by what Kafka had this long after its end. */
const PASSED_MS = 5_000
/** What is stored this soon after Kafka had it is live. */
const LIVE_WITHIN_MS = 5_000
/**
 * Buckets that are not quiet are settled at most this often, for at most this share of one core, and not while a backlog needs the
 * machine: each such settling is done again later.
 */
const EARLY_AT_MOST_EVERY_MS = 2_500
const EARLY_SHARE = 0.1
/** A bucket of a coarser tier is settled once it has ended and a little more. */
const GRACE_MS = 3_000
/** One in which something below keeps changing is settled all the same, at most this often. */
const CHANGING_EVERY_MS: Readonly<Record<CoarserTier, number>> = { minute: 60_000, hour: 300_000 }
/** An hour is sixty minutes to merge for every session, so that late events share its settling. */
const LATE_HOUR_EVERY_MS = 300_000
/** The sessions heard of in an hour, while that changes: each merges at most an hour of minutes, and the hours before. */
const SESSIONS_EVERY_MS = 300_000
/** A minute of the cube, while late events change it: until then cells stand in for it. */
const CUBE_EVERY_MS = 60_000
/** One group of so many rows' minutes a pass: a cube that is new, or a range settled again, is built beside the rest, the newest first. */
const CUBE_ROWS_AT_ONCE = 500_000
/** One settling holds the groups of this many rows in ClickHouse's memory. */
const ROWS_AT_ONCE = 1_500_000
/** What is another ingester's to settle is settled all the same when that has not happened for so long. */
const OTHERS_WITHIN_MS = 60_000

/** What the settler remembers of a due bucket: its rows, and since when that count has stood still. */
export interface Watch {
  readonly rows: number
  readonly since_ms: number
}

/**
 * Which due buckets of ten seconds have gone quiet, and when the next of the others will have if no row comes.
 * Pure but for `watched`, which is brought up to what is due.
 * @param passed_ms in a backlog: all that Kafka had before is stored
 */
export function quietOf(
  due: readonly DueBucket[],
  watched: Map<number, Watch>,
  now_ms: number,
  passed_ms?: number,
): { readonly quiet: readonly DueBucket[]; readonly next_ms: number } {
  const seen = new Set(due.map(bucket => bucket.t))
  for (const t of watched.keys()) if (!seen.has(t)) watched.delete(t)
  const quiet: DueBucket[] = []
  let next_ms = Number.POSITIVE_INFINITY
  for (const bucket of due) {
    const { t, rows } = bucket
    const before = watched.get(t)
    const since_ms = before?.rows === rows ? before.since_ms : now_ms
    watched.set(t, { rows, since_ms })
    const end_ms = (t + TIERS['10s'].seconds) * 1_000
    const quiet_ms =
      passed_ms === undefined
        ? Math.max(end_ms, since_ms + QUIET_MS)
        : since_ms + (end_ms + PASSED_MS <= passed_ms ? QUIET_MS : QUIET_UNPASSED_MS)
    if (quiet_ms <= now_ms) quiet.push(bucket)
    else next_ms = Math.min(next_ms, quiet_ms)
  }
  return { quiet, next_ms }
}

/**
 * Whether a backlog is being worked off. It begins where Kafka has more for us than one batch holds, and ends only when all of it is
 * stored, or what is stored is live again: a bucket that is settled just before the end of a backlog is settled twice.
 */
export const inBacklog = (before: boolean, { beyond_a_batch, unstored, stored_age_ms }: Behind): boolean =>
  beyond_a_batch || (before && unstored > 0 && stored_age_ms > LIVE_WITHIN_MS)

/** When buckets that are not quiet may be settled next, after that took `cost_ms`. */
export const nextEarly = (now_ms: number, cost_ms: number): number =>
  now_ms + Math.max(EARLY_AT_MOST_EVERY_MS, cost_ms / EARLY_SHARE)

/**
 * Which of the chosen buckets are ours to settle: it is our turn, or whoever's turn it was has let it go by.
 * Pure but for `waiting`, which is brought up to what is chosen: since when a bucket is somebody else's.
 */
export function oursOf(
  chosen: readonly DueBucket[],
  waiting: Map<number, number>,
  now_ms: number,
  isOurTurn: (bucket: DueBucket) => boolean,
): DueBucket[] {
  const others = chosen.filter(bucket => !isOurTurn(bucket))
  const seen = new Set(others.map(({ t }) => t))
  for (const t of waiting.keys()) if (!seen.has(t)) waiting.delete(t)
  for (const { t } of others) if (!waiting.has(t)) waiting.set(t, now_ms)
  return chosen.filter(({ t }) => now_ms - (waiting.get(t) ?? Number.NEGATIVE_INFINITY) >= OTHERS_WITHIN_MS)
}

/**
 * Buckets that have ended and in which all below is settled, or that have been due for too long.
 * @param backlog_at_ms when a backlog was last being worked off: what is due since then has not been due for long, however old it is
 */
export function chooseEnded(
  tier: CoarserTier,
  due: readonly DueBucket[],
  unsettledBelow: ReadonlySet<number>,
  now_ms: number,
  backlog_at_ms = 0,
): DueBucket[] {
  const { seconds } = TIERS[tier]
  const starts = [...unsettledBelow].map(t => Math.floor(t / seconds) * seconds)
  const changing = new Set(starts)
  return due.filter(({ t, settled_at_ms }) => {
    const ended_ms = (t + seconds) * 1_000
    if (ended_ms + GRACE_MS > now_ms) return false
    if (changing.has(t)) return now_ms - Math.max(settled_at_ms, ended_ms, backlog_at_ms) >= CHANGING_EVERY_MS[tier]
    return tier === 'minute' || now_ms - settled_at_ms >= LATE_HOUR_EVERY_MS
  })
}

/** Hours whose sessions are settled now; also of one that has not ended, since sessions end at any time. */
export const chooseSessions = (due: readonly DueBucket[], now_ms: number): DueBucket[] =>
  due.filter(({ settled_at_ms }) => now_ms - settled_at_ms >= SESSIONS_EVERY_MS)

/** Minutes that are settled into the cube now: the newest ones. */
export function chooseCube(due: readonly DueBucket[], now_ms: number): DueBucket[] {
  const [newest = []] = grouped(
    due.filter(({ settled_at_ms }) => now_ms - settled_at_ms >= CUBE_EVERY_MS),
    CUBE_ROWS_AT_ONCE,
  )
  return newest
}

/** Newest first, in groups of bounded work. */
export function grouped(buckets: readonly DueBucket[], most = ROWS_AT_ONCE): DueBucket[][] {
  const groups: DueBucket[][] = []
  let rows = Number.POSITIVE_INFINITY
  for (const bucket of [...buckets].sort((a, b) => b.t - a.t)) {
    if (rows + bucket.rows > most) {
      groups.push([])
      rows = 0
    }
    groups.at(-1)?.push(bucket)
    rows += bucket.rows
  }
  return groups
}
