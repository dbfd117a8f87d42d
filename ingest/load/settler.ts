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
import { type DueBucket, due10s, dueMinutes, settle, type Tier } from '../store/settle.ts'

/** No new row for this long: quiet. Clients speak once a second. */
const QUIET_MS = 3_000
/** The same while a backlog is worked off, where partitions run ahead of each other. */
const QUIET_CATCHING_UP_MS = 15_000
/**
 * Buckets that are not quiet are settled at most this often, for at most this share of one core, and not while a backlog needs the
 * machine: each such settling is done again later.
 */
const EARLY_AT_MOST_EVERY_MS = 2_500
const EARLY_SHARE = 0.1
/** A minute that still changes after its end is settled again at most this often. */
const LATE_MINUTE_EVERY_MS = 60_000
const MINUTE_GRACE_MS = 3_000
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

/** When buckets that are not quiet may be settled next, after that took `cost_ms`. */
export const nextEarly = (now_ms: number, cost_ms: number): number =>
  now_ms + Math.max(EARLY_AT_MOST_EVERY_MS, cost_ms / EARLY_SHARE)

/** Minutes that have ended and whose ten-second buckets are all settled, or that have been due for too long. */
export function chooseMinutes(
  due: readonly DueBucket[],
  unsettled10s: ReadonlySet<number>,
  now_ms: number,
): DueBucket[] {
  return due.filter(({ t, settled_at_ms }) => {
    if ((t + 60) * 1_000 + MINUTE_GRACE_MS > now_ms) return false
    for (let bucket = t; bucket < t + 60; bucket += 10) {
      if (unsettled10s.has(bucket)) return now_ms - Math.max(settled_at_ms, (t + 60) * 1_000) >= LATE_MINUTE_EVERY_MS
    }
    return true
  })
}

export interface SettlerOptions {
  readonly store: Store
  readonly every_ms: number
  /** Buckets older than this may have lost raw rows to retention, and are left as they are. */
  readonly horizon_ms: number
  /** Start of the oldest event loaded since this was last asked. */
  readonly oldestChange_ms: () => number
  /** Whether the loader is behind by more than it holds in hand. */
  readonly catchingUp: () => boolean
  readonly vitals: IngestVitals
  readonly log: Log
}

/** Runs passes until `signal` aborts. Never throws: raw rows are safe, and cells can wait. */
export async function runSettler(options: SettlerOptions, signal: AbortSignal): Promise<void> {
  const { store, vitals, log } = options
  const watched = new Map<number, Watch>()
  let early_at_ms = 0
  /** Start of the oldest bucket that was due and not settled yet: to be looked at again, however old. */
  let oldestLeft_ms = Number.POSITIVE_INFINITY
  let lastFull_ms = Number.NEGATIVE_INFINITY
  let lastAudit_ms = Number.NEGATIVE_INFINITY
  let failures = 0

  /** Returns what it cost, in milliseconds. */
  const settleAll = async (tier: Tier, buckets: DueBucket[]): Promise<number> => {
    let total_ms = 0
    for (const group of grouped(buckets)) {
      if (signal.aborted) break
      const begun = performance.now()
      await settle(store, tier, group)
      const took_ms = performance.now() - begun
      total_ms += took_ms
      vitals.settleSeconds.observe({ tier }, took_ms / 1_000)
      vitals.settledBuckets.inc({ tier }, group.length)
    }
    return total_ms
  }

  const pass = async (): Promise<void> => {
    const now = Date.now()
    const oldest = Math.min(options.oldestChange_ms(), oldestLeft_ms)
    const full = now - lastFull_ms >= FULL_PASS_EVERY_MS
    const since_ms = full
      ? now - options.horizon_ms
      : Math.max(now - options.horizon_ms, Math.min(now - NEAR_MS, oldest - 60_000))
    const since = Math.floor(since_ms / 60_000) * 60
    const due = await due10s(store, since)
    const catchingUp = options.catchingUp()
    const quiet = quietOf(due, watched, now, catchingUp)
    await settleAll('10s', quiet)
    const settledNow = new Set(quiet.map(bucket => bucket.t))
    const unquiet = due.filter(bucket => !settledNow.has(bucket.t))
    const early = now >= early_at_ms && !catchingUp
    if (early) early_at_ms = nextEarly(now, await settleAll('10s', unquiet))
    vitals.settleDue.set({ tier: '10s' }, early ? 0 : unquiet.length)
    const unsettled = new Set(unquiet.map(bucket => bucket.t))
    const minutes = await dueMinutes(store, since)
    const chosenMinutes = chooseMinutes(minutes, unsettled, Date.now())
    vitals.settleDue.set({ tier: 'minute' }, minutes.length - chosenMinutes.length)
    await settleAll('minute', chosenMinutes)
    const left = [...(early ? [] : unquiet), ...minutes.filter(bucket => !chosenMinutes.includes(bucket))]
    oldestLeft_ms = Math.min(...left.map(bucket => bucket.t * 1_000))
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
function grouped(buckets: readonly DueBucket[]): DueBucket[][] {
  const groups: DueBucket[][] = []
  let rows = Number.POSITIVE_INFINITY
  for (const bucket of [...buckets].sort((a, b) => b.t - a.t)) {
    if (rows + bucket.rows > ROWS_AT_ONCE) {
      groups.push([])
      rows = 0
    }
    groups.at(-1)?.push(bucket)
    rows += bucket.rows
  }
  return groups
}
