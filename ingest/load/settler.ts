/**
 * The loop that keeps cells equal to raw. It decides when a bucket is worth settling; `store/settle.ts` knows how.
 *
 * A bucket is settled when it has gone quiet, and before that only as often as is cheap: settling costs about 3 µs of CPU per event
 * of the bucket each time. Needs no leader: ingesters that settle the same bucket do the same work, harmlessly.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { Log } from '../runtime/log.ts'
import type { IngestVitals } from '../runtime/vitals.ts'
import { auditRecent } from '../store/audit.ts'
import type { Store } from '../store/clickhouse.ts'
import { CUBE, settleCube } from '../store/cube.ts'
import type { Retention } from '../store/migrate.ts'
import { settleSessions } from '../store/sessions.ts'
import {
  COARSER_TIERS,
  type CoarserTier,
  type DueBucket,
  due10s,
  dueCoarser,
  settle,
  TIERS,
  type Tier,
} from '../store/settle.ts'
import type { Behind } from './loader.ts'

/** No new row for this long: quiet. Clients speak once a second. */
const QUIET_MS = 3_000
/** The same while a backlog is worked off, where partitions run ahead of each other. */
const QUIET_CATCHING_UP_MS = 15_000
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
/** How far back each pass looks, without a hint that older buckets changed; and how often it looks at all of them. */
const NEAR_MS = 15 * 60_000
const FULL_PASS_EVERY_MS = 10 * 60_000
/** One settling holds the groups of this many rows in ClickHouse's memory. */
const ROWS_AT_ONCE = 1_500_000
const AUDIT_EVERY_MS = 60_000
const AUDIT_WINDOW_MS = 15 * 60_000

/** What the settler remembers of a due bucket: its rows, and since when that count has stood still. */
export interface Watch {
  readonly rows: number
  readonly since_ms: number
}

/** Which due buckets have gone quiet. Pure but for `watched`, which is brought up to what is due. */
export function quietOf(
  due: readonly DueBucket[],
  watched: Map<number, Watch>,
  now_ms: number,
  catchingUp: boolean,
): DueBucket[] {
  const seen = new Set(due.map(bucket => bucket.t))
  for (const t of watched.keys()) if (!seen.has(t)) watched.delete(t)
  return due.filter(({ t, rows }) => {
    const before = watched.get(t)
    if (before?.rows === rows) return now_ms - before.since_ms >= (catchingUp ? QUIET_CATCHING_UP_MS : QUIET_MS)
    watched.set(t, { rows, since_ms: now_ms })
    return false
  })
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

/** Buckets that have ended and in which all below is settled, or that have been due for too long. */
export function chooseEnded(
  tier: CoarserTier,
  due: readonly DueBucket[],
  unsettledBelow: ReadonlySet<number>,
  now_ms: number,
): DueBucket[] {
  const { seconds } = TIERS[tier]
  const starts = [...unsettledBelow].map(t => Math.floor(t / seconds) * seconds)
  const changing = new Set(starts)
  return due.filter(({ t, settled_at_ms }) => {
    const ended_ms = (t + seconds) * 1_000
    if (ended_ms + GRACE_MS > now_ms) return false
    if (changing.has(t)) return now_ms - Math.max(settled_at_ms, ended_ms) >= CHANGING_EVERY_MS[tier]
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

export interface SettlerOptions {
  readonly store: Store
  readonly every_ms: number
  /** Buckets of which something below may have gone by retention are left as they are. */
  readonly retention: Retention
  /** Start of the oldest event loaded since this was last asked. */
  readonly oldestChange_ms: () => number
  /** How far the loader is behind. */
  readonly behind: () => Behind
  readonly vitals: IngestVitals
  readonly log: Log
}

type Settled = Tier | 'session' | typeof CUBE
const NEVER = Number.POSITIVE_INFINITY
const oldestOf = (left: readonly DueBucket[]): number => Math.min(NEVER, ...left.map(bucket => bucket.t * 1_000))

const DAY_MS = 86_400_000
/** How far back everything that a bucket is settled from is wholly there. */
const horizonMs = (tier: Settled, { raw_days, cell_days, minute_days }: Retention): number => {
  const days = { '10s': raw_days, minute: cell_days, hour: minute_days, session: cell_days, [CUBE]: cell_days }[tier]
  return (days - 1) * DAY_MS
}

/** Runs passes until `signal` aborts. Never throws: raw rows are safe, and cells can wait. */
export async function runSettler(options: SettlerOptions, signal: AbortSignal): Promise<void> {
  const { store, vitals, log } = options
  const watched = new Map<number, Watch>()
  let early_at_ms = 0
  let backlog = false
  /** Start of the oldest bucket that had ended and was not settled yet: to be looked at again, however old. */
  const oldestLeft_ms: Record<Settled, number> = {
    ...{ '10s': NEVER, minute: NEVER, hour: NEVER, session: NEVER },
    [CUBE]: NEVER,
  }
  let lastFull_ms = Number.NEGATIVE_INFINITY
  let lastAudit_ms = Number.NEGATIVE_INFINITY
  let failures = 0

  /** Returns what it cost, in milliseconds. */
  const settleAll = async (tier: Settled, buckets: DueBucket[]): Promise<number> => {
    let total_ms = 0
    for (const group of grouped(buckets)) {
      if (signal.aborted) break
      const begun = performance.now()
      if (tier === 'session') await settleSessions(store, group)
      else if (tier === CUBE) await settleCube(store, group)
      else await settle(store, tier, group)
      const took_ms = performance.now() - begun
      total_ms += took_ms
      vitals.settleSeconds.observe({ tier }, took_ms / 1_000)
      vitals.settledBuckets.inc({ tier }, group.length)
    }
    return total_ms
  }

  const pass = async (): Promise<void> => {
    const now = Date.now()
    const full = now - lastFull_ms >= FULL_PASS_EVERY_MS
    let near_ms = Math.min(now - NEAR_MS, options.oldestChange_ms() - 60_000)
    /** What changed below may have changed this one as well. */
    const sinceOf = (tier: Settled): number => {
      const horizon_ms = now - horizonMs(tier, options.retention)
      near_ms = Math.min(near_ms, oldestLeft_ms[tier] - 60_000)
      return Math.floor((full ? horizon_ms : Math.max(horizon_ms, near_ms)) / 60_000) * 60
    }
    const due = await due10s(store, sinceOf('10s'))
    backlog = inBacklog(backlog, options.behind())
    const quiet = quietOf(due, watched, now, backlog)
    await settleAll('10s', quiet)
    const settledNow = new Set(quiet.map(bucket => bucket.t))
    const unquiet = due.filter(bucket => !settledNow.has(bucket.t))
    const early = now >= early_at_ms && !backlog
    if (early) early_at_ms = nextEarly(now, await settleAll('10s', unquiet))
    vitals.settleDue.set({ tier: '10s' }, early ? 0 : unquiet.length)
    oldestLeft_ms['10s'] = oldestOf(early ? [] : unquiet)
    let unsettled = new Set(unquiet.map(bucket => bucket.t))
    for (const tier of COARSER_TIERS) {
      const coarser = await dueCoarser(store, tier, sinceOf(tier))
      const chosen = chooseEnded(tier, coarser, unsettled, Date.now())
      const left = coarser.filter(bucket => !chosen.includes(bucket))
      vitals.settleDue.set({ tier }, left.length)
      await settleAll(tier, chosen)
      oldestLeft_ms[tier] = oldestOf(left)
      unsettled = new Set(left.map(bucket => bucket.t))
    }
    const hours = await dueCoarser(store, 'session', sinceOf('session'))
    const chosenHours = chooseSessions(hours, Date.now())
    vitals.settleDue.set({ tier: 'session' }, hours.length - chosenHours.length)
    await settleAll('session', chosenHours)
    oldestLeft_ms.session = oldestOf(hours.filter(bucket => !chosenHours.includes(bucket)))
    // Last, since a cube that is new has minutes due from long ago.
    const minutes = await dueCoarser(store, CUBE, sinceOf(CUBE))
    const chosenMinutes = chooseCube(minutes, Date.now())
    vitals.settleDue.set({ tier: CUBE }, minutes.length - chosenMinutes.length)
    await settleAll(CUBE, chosenMinutes)
    oldestLeft_ms[CUBE] = oldestOf(minutes.filter(bucket => !chosenMinutes.includes(bucket)))
    if (full) lastFull_ms = now
    if (now - lastAudit_ms >= AUDIT_EVERY_MS) {
      const off = await auditRecent(store, now - AUDIT_WINDOW_MS)
      vitals.missing.set(off)
      if (off !== 0) log.error({ offsets: off }, 'offsets_missing')
      lastAudit_ms = now
    }
  }

  while (!signal.aborted) {
    try {
      await pass()
      if (failures > 0) log.info({ failures }, 'settling_recovered')
      failures = 0
    } catch (error) {
      lastFull_ms = Number.NEGATIVE_INFINITY
      vitals.settleFailures.inc()
      if (failures++ === 0)
        log.warn({ error: error instanceof Error ? error.message.slice(0, 300) : String(error) }, 'settling_failed')
    }
    const wait = options.every_ms * (0.75 + Math.random() / 2) * Math.min(10, 1 + failures)
    await sleep(wait, undefined, { signal }).catch(() => {})
  }
}

/** Newest first, in groups of bounded work. */
function grouped(buckets: readonly DueBucket[], most = ROWS_AT_ONCE): DueBucket[][] {
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
