/**
 * The loop that keeps cells equal to raw. It decides when a bucket is worth settling; `store/settle.ts` knows how.
 *
 * A bucket is settled when it has gone quiet, and before that only as often as is cheap: settling costs about 3 µs of CPU per event
 * of the bucket each time. Needs no leader: ingesters that settle the same bucket do the same work, harmlessly. They take turns by the
 * partitions they hold, to save that work.
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
  BUCKET_SECONDS,
  COARSER_TIERS,
  type CoarserTier,
  type Counted,
  type DueBucket,
  due10s,
  dueCoarser,
  type Settled,
  settle,
  TIERS,
} from '../store/settle.ts'
import type { Behind } from './loader.ts'

/** No new row for this long: quiet. Clients speak once a second. */
const QUIET_MS = 2_000
/** The same while a backlog is worked off and some partition has yet to pass the bucket. */
const QUIET_UNPASSED_MS = 15_000
/** A bucket is passed by what Kafka had this long after its end. */
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
/** How far back each pass looks, without a hint that older buckets changed; and how often it looks at all of them. */
const NEAR_MS = 15 * 60_000
const FULL_PASS_EVERY_MS = 10 * 60_000
/** One settling holds the groups of this many rows in ClickHouse's memory. */
const ROWS_AT_ONCE = 1_500_000
/** What is another ingester's to settle is settled all the same when that has not happened for so long. */
const OTHERS_WITHIN_MS = 60_000
const AUDIT_EVERY_MS = 60_000
const AUDIT_WINDOW_MS = 15 * 60_000

/** What the settler remembers of a due bucket: its rows, and since when that count has stood still. */
export interface Watch {
  readonly rows: number
  readonly since_ms: number
}

/**
 * Which due buckets of ten seconds have gone quiet. Pure but for `watched`, which is brought up to what is due.
 * @param passed_ms all that Kafka had before is stored
 */
export function quietOf(
  due: readonly DueBucket[],
  watched: Map<number, Watch>,
  now_ms: number,
  passed_ms: number,
): DueBucket[] {
  const seen = new Set(due.map(bucket => bucket.t))
  for (const t of watched.keys()) if (!seen.has(t)) watched.delete(t)
  return due.filter(({ t, rows }) => {
    const before = watched.get(t)
    const isPassed = (t + TIERS['10s'].seconds) * 1_000 + PASSED_MS <= passed_ms
    if (before?.rows === rows) return now_ms - before.since_ms >= (isPassed ? QUIET_MS : QUIET_UNPASSED_MS)
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

/**
 * Which of the chosen buckets are ours to settle: it is our turn, or whoever's turn it was has let it go by.
 * Pure but for `passed`, which is brought up to what is chosen: since when a bucket is somebody else's.
 */
export function oursOf(
  chosen: readonly DueBucket[],
  passed: Map<number, number>,
  now_ms: number,
  isOurTurn: (bucket: DueBucket) => boolean,
): DueBucket[] {
  const others = chosen.filter(bucket => !isOurTurn(bucket))
  const seen = new Set(others.map(({ t }) => t))
  for (const t of passed.keys()) if (!seen.has(t)) passed.delete(t)
  for (const { t } of others) if (!passed.has(t)) passed.set(t, now_ms)
  return chosen.filter(({ t }) => now_ms - (passed.get(t) ?? Number.NEGATIVE_INFINITY) >= OTHERS_WITHIN_MS)
}

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
  /** Whether the `n`th bucket of a tier is ours to settle, of those that several ingesters share. */
  readonly hasTurn: (n: number) => boolean
  readonly vitals: IngestVitals
  readonly log: Log
}

const DAY_MS = 86_400_000
/** How far back everything that a bucket is settled from is wholly there. */
const horizonMs = (tier: Settled, { raw_days, cell_days, minute_days }: Retention): number => {
  const days = { '10s': raw_days, minute: cell_days, hour: minute_days, session: cell_days, [CUBE]: cell_days }[tier]
  return (days - 1) * DAY_MS
}

/** What is remembered of a tier from pass to pass. */
interface Memory {
  /** Start of the oldest bucket that was left: to be looked at again, however old. */
  oldest_left_ms: number
  /** Buckets that are another ingester's, and since when. */
  readonly passed: Map<number, number>
}
const NEVER = Number.POSITIVE_INFINITY
const blank = (): Memory => ({ oldest_left_ms: NEVER, passed: new Map() })

/** A pass over tiers. `full`: over all that is kept. */
type Pass = (now_ms: number, full: boolean) => Promise<void>

/**
 * Runs two passes side by side until `signal` aborts: over ten seconds, and over what is settled from them, which may take longer than
 * ten seconds can wait. Never throws: raw rows are safe, and cells can wait.
 */
export async function runSettler(options: SettlerOptions, signal: AbortSignal): Promise<void> {
  const { store, vitals, log } = options
  const watched = new Map<number, Watch>()
  const memory: Record<Settled, Memory> = {
    ...{ '10s': blank(), minute: blank(), hour: blank(), session: blank() },
    [CUBE]: blank(),
  }
  let early_at_ms = 0
  let backlog = false
  /** Buckets of ten seconds whose rows are still changing. */
  let unquiet: readonly DueBucket[] = []
  /** Start of the oldest bucket of ten seconds settled since the coarser tiers were last looked through. */
  let oldestSettled_ms = NEVER
  let lastAudit_ms = Number.NEGATIVE_INFINITY

  const settleAll = async (tier: Settled, buckets: readonly DueBucket[]): Promise<void> => {
    for (const group of grouped(buckets)) {
      if (signal.aborted) break
      const begun = performance.now()
      if (tier === 'session') await settleSessions(store, group)
      else if (tier === CUBE) await settleCube(store, group)
      else await settle(store, tier, group)
      if (tier === '10s') oldestSettled_ms = Math.min(oldestSettled_ms, ...group.map(({ t }) => t * 1_000))
      vitals.settleSeconds.observe({ tier }, (performance.now() - begun) / 1_000)
      vitals.settledBuckets.inc({ tier }, group.length)
    }
  }

  const isOurTurn =
    (tier: Settled) =>
    ({ t }: DueBucket): boolean =>
      options.hasTurn(t / BUCKET_SECONDS[tier])

  /** Settles what is chosen of what is due, as far as it is ours, and returns what is left. */
  const work = async (
    tier: Settled,
    due: readonly DueBucket[],
    chosen: readonly DueBucket[],
  ): Promise<readonly DueBucket[]> => {
    const ours = new Set(oursOf(chosen, memory[tier].passed, Date.now(), isOurTurn(tier)))
    const left = due.filter(bucket => !ours.has(bucket))
    vitals.settleDue.set({ tier }, left.length)
    await settleAll(tier, [...ours])
    memory[tier].oldest_left_ms = Math.min(NEVER, ...left.map(({ t }) => t * 1_000))
    return left
  }

  const tenSeconds: Pass = async (now, full) => {
    const horizon_ms = now - horizonMs('10s', options.retention)
    const near_ms = Math.min(now - NEAR_MS, options.oldestChange_ms() - 60_000, memory['10s'].oldest_left_ms - 60_000)
    const due = await due10s(store, wholeMinute(full ? horizon_ms : Math.max(horizon_ms, near_ms)))
    const behind = options.behind()
    const before = backlog
    backlog = inBacklog(before, behind)
    const quiet = quietOf(due, watched, now, backlog ? behind.passed_ms : now)
    unquiet = await work('10s', due, before && !backlog ? due : quiet)
    if (now >= early_at_ms && !backlog) {
      const begun = performance.now()
      await settleAll('10s', unquiet.filter(isOurTurn('10s')))
      early_at_ms = nextEarly(now, performance.now() - begun)
    }
  }

  const coarser: Pass = async (now, full) => {
    let near_ms = Math.min(now - NEAR_MS, oldestSettled_ms - 60_000)
    oldestSettled_ms = NEVER
    /** What changed below may have changed this one as well. */
    const dueOf = (tier: Counted): Promise<DueBucket[]> => {
      const horizon_ms = now - horizonMs(tier, options.retention)
      near_ms = Math.min(near_ms, memory[tier].oldest_left_ms - 60_000)
      return dueCoarser(store, tier, wholeMinute(full ? horizon_ms : Math.max(horizon_ms, near_ms)))
    }
    let below = unquiet
    for (const tier of COARSER_TIERS) {
      const due = await dueOf(tier)
      const unsettled = new Set(below.map(({ t }) => t))
      below = await work(tier, due, chooseEnded(tier, due, unsettled, Date.now()))
    }
    const hours = await dueOf('session')
    await work('session', hours, chooseSessions(hours, Date.now()))
    // Last, since a cube that is new has minutes due from long ago.
    const minutes = await dueOf(CUBE)
    await work(CUBE, minutes, chooseCube(minutes, Date.now()))
    if (now - lastAudit_ms >= AUDIT_EVERY_MS) {
      const off = await auditRecent(store, now - AUDIT_WINDOW_MS)
      vitals.missing.set(off)
      if (off !== 0) log.error({ offsets: off }, 'offsets_missing')
      lastAudit_ms = now
    }
  }

  /** After a failure all that is kept is looked through again, as what was known of it may have been lost. */
  const repeat = async (pass: Pass): Promise<void> => {
    let lastFull_ms = Number.NEGATIVE_INFINITY
    let failures = 0
    while (!signal.aborted) {
      const now = Date.now()
      const full = now - lastFull_ms >= FULL_PASS_EVERY_MS
      try {
        await pass(now, full)
        if (full) lastFull_ms = now
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

  await Promise.all([repeat(tenSeconds), repeat(coarser)])
}

/** Epoch seconds of the minute that begins at or before. */
const wholeMinute = (ms: number): number => Math.floor(ms / 60_000) * 60

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
