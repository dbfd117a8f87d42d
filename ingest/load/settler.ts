/**
 * The loops that keep cells equal to raw. `schedule.ts` decides when a bucket is settled and by whom, `store/settle.ts` knows how.
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
  bucketSeconds,
  COARSER_TIERS,
  type Counted,
  type DueBucket,
  due10s,
  dueCoarser,
  type Settled,
  settle,
} from '../store/settle.ts'
import type { Behind } from './loader.ts'
import {
  chooseCube,
  chooseEnded,
  chooseSessions,
  grouped,
  inBacklog,
  nextEarly,
  oursOf,
  quietOf,
  type Watch,
} from './schedule.ts'

/**
 * How far back a pass looks without a hint that older buckets changed, such as other ingesters have: rarely at all that is kept, and over
 * ten seconds, where looking means counting rows, mostly at the last ones.
 */
const RECENT_MS = 2 * 60_000
const NEAR_MS = 15 * 60_000
const NEAR_PASS_EVERY_MS = 15_000
const FULL_PASS_EVERY_MS = 10 * 60_000
/** Coarser tiers, whose buckets end every minute, are looked through so much more rarely: finding nothing costs 55 ms of CPU. */
const COARSER_EVERY = 5
const AUDIT_EVERY_MS = 60_000
const AUDIT_WINDOW_MS = 15 * 60_000

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
  readonly waiting: Map<number, number>
}
const NEVER = Number.POSITIVE_INFINITY
const blank = (): Memory => ({ oldest_left_ms: NEVER, waiting: new Map() })

/** A pass over tiers. `full`: over all that is kept. Tells when it would like to be the next, where that is sooner than usual. */
type Pass = (now_ms: number, full: boolean) => Promise<number>

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
  let lastNear_ms = Number.NEGATIVE_INFINITY
  let backlog = false
  let backlog_at_ms = 0
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
      options.hasTurn(t / bucketSeconds(tier))

  /** Settles what is chosen of what is due, as far as it is ours, and returns what is left. */
  const work = async (
    tier: Settled,
    due: readonly DueBucket[],
    chosen: readonly DueBucket[],
  ): Promise<readonly DueBucket[]> => {
    const ours = new Set(oursOf(chosen, memory[tier].waiting, Date.now(), isOurTurn(tier)))
    const left = due.filter(bucket => !ours.has(bucket))
    vitals.settleDue.set({ tier }, left.length)
    await settleAll(tier, [...ours])
    memory[tier].oldest_left_ms = Math.min(NEVER, ...left.map(({ t }) => t * 1_000))
    return left
  }

  const tenSeconds: Pass = async (now, full) => {
    const horizon_ms = now - horizonMs('10s', options.retention)
    const near = now - lastNear_ms >= NEAR_PASS_EVERY_MS
    const hints_ms = Math.min(options.oldestChange_ms(), memory['10s'].oldest_left_ms) - 60_000
    const since_ms = Math.min(now - (near ? NEAR_MS : RECENT_MS), hints_ms)
    const due = await due10s(store, wholeMinute(full ? horizon_ms : Math.max(horizon_ms, since_ms)))
    if (near) lastNear_ms = now
    const behind = options.behind()
    const before = backlog
    backlog = inBacklog(before, behind)
    if (backlog) backlog_at_ms = now
    const { quiet, next_ms } = quietOf(due, watched, now, backlog ? behind.passed_ms : undefined)
    unquiet = await work('10s', due, quiet)
    // Not at once when our backlog ends: others may be about to end theirs.
    if (now >= early_at_ms && !backlog && !before) {
      const begun = performance.now()
      await settleAll('10s', unquiet.filter(isOurTurn('10s')))
      early_at_ms = nextEarly(now, performance.now() - begun)
    }
    return next_ms
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
      below = await work(tier, due, chooseEnded(tier, due, unsettled, Date.now(), backlog_at_ms))
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
    return NEVER
  }

  /** After a failure all that is kept is looked through again, as what was known of it may have been lost. */
  const repeat = async (pass: Pass, every_ms: number): Promise<void> => {
    let lastFull_ms = Number.NEGATIVE_INFINITY
    let failures = 0
    while (!signal.aborted) {
      const now = Date.now()
      let next_ms = NEVER
      const full = now - lastFull_ms >= FULL_PASS_EVERY_MS
      try {
        next_ms = await pass(now, full)
        if (full) lastFull_ms = now
        if (failures > 0) log.info({ failures }, 'settling_recovered')
        failures = 0
      } catch (error) {
        lastFull_ms = Number.NEGATIVE_INFINITY
        vitals.settleFailures.inc()
        if (failures++ === 0)
          log.warn({ error: error instanceof Error ? error.message.slice(0, 300) : String(error) }, 'settling_failed')
      }
      const wait = every_ms * (0.75 + Math.random() / 2) * Math.min(10, 1 + failures)
      await sleep(Math.max(0, Math.min(wait, next_ms - Date.now())), undefined, { signal }).catch(() => {})
    }
  }

  await Promise.all([repeat(tenSeconds, options.every_ms), repeat(coarser, COARSER_EVERY * options.every_ms)])
}

/** Epoch seconds of the minute that begins at or before. */
const wholeMinute = (ms: number): number => Math.floor(ms / 60_000) * 60
