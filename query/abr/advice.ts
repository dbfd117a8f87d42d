/**
 * What a caller is told of one session: its state, how old that is, and what to do. Nothing here waits. A state that is too old is told
 * all the same, with what is safe to do; of a session nobody has heard of, what is known of sessions like it.
 */
import type { Context } from '../../ingest/contract/events.ts'
import type { Ladder } from './ladder.ts'
import { type LiveSession, LiveSessions } from './live.ts'
import type { PriorSource } from './priors-refresh.ts'
import { isFrozen, recommend, safeDefault } from './recommend.ts'
import type { Prior, Reason, Rung, SessionState, Standing } from './state.ts'

export const STALE = 'stale'

export interface Step {
  readonly rung: string
  readonly target_bitrate_kbps: number
}

export interface Advice {
  readonly session_id: string
  /** When Kafka appended the newest event behind it, and how long ago; null: none is known. */
  readonly as_of: string | null
  readonly age_ms: number | null
  /** Older than answers are valid, or nothing is known: do what is safe. */
  readonly stale: boolean
  /** From now on. */
  readonly valid_for_ms: number
  readonly samples: number
  readonly completeness_pct: number | null
  /** The picture stands still, as far as is known: an open frame long enough, or silence while others are heard. Null: unknown. */
  readonly freeze_in_progress: boolean | null
  /** Null: nobody said on which rung the session is. */
  readonly safe_default: Step | null
  readonly recommendation: Step & { readonly reason: Reason | typeof STALE }
  readonly state: SessionState | null
  readonly prior: Prior | null
}

/** What every answer is made of. */
export interface Advisor {
  readonly ladder: Ladder
  readonly stale_after_ms: number
  readonly sessions: LiveSessions
  readonly priors: Pick<PriorSource, 'priorOf' | 'as_of_ms'>
}
/** What is made of it needs only this much. */
export interface Knowledge extends Pick<Advisor, 'ladder' | 'stale_after_ms'> {
  readonly sessions: Pick<LiveSessions, 'of' | 'heard_ms'>
  readonly priors: Pick<PriorSource, 'priorOf'>
}

export const NO_PRIORS: Advisor['priors'] = { priorOf: () => undefined, as_of_ms: null }
/** Of whom nobody is heard. */
export const nobody = (): LiveSessions => new LiveSessions()

/** A session that says nothing for more of its periods has nothing to say. */
const SILENT_PERIODS = 2

export interface Asked {
  readonly session_id: string
  /** What the caller knows of it: counts where we have not heard of it. */
  readonly context: Context
  readonly standing?: Standing | undefined
}

export function adviceOn(
  { ladder, stale_after_ms, sessions, priors }: Knowledge,
  { session_id, context, standing }: Asked,
  now_ms: number,
): Advice {
  const live = sessions.of(session_id)
  const state = live && sinceThen(live, sessions.heard_ms)
  const prior = priors.priorOf({ ...context, ...live?.context })
  // A broker's clock may be ahead of ours; nothing is younger than now.
  const age_ms = live ? Math.max(0, now_ms - live.as_of_ms) : null
  const stale = age_ms === null || age_ms > stale_after_ms
  const seen = standing && seenFor(standing, age_ms ?? 0)
  // By what it said itself. Silence is shown, and nobody climbs in it, but it takes nobody down: reports are late far more often than
  // pictures stand, and of one that stands the client itself says so.
  const safe = safeDefault(ladder, live?.state, seen)
  const fresh = recommend(ladder, stale ? undefined : live?.state, prior, seen)
  const waits = state !== live?.state && fresh.reason === 'climb'
  return {
    session_id,
    as_of: live ? new Date(live.as_of_ms).toISOString() : null,
    age_ms,
    stale,
    valid_for_ms: age_ms === null ? 0 : Math.max(0, stale_after_ms - age_ms),
    samples: state?.samples ?? 0,
    completeness_pct: state?.completeness_pct ?? null,
    freeze_in_progress: state ? isFrozen(state) : null,
    safe_default: safe && stepOf(safe),
    recommendation: live && (stale || waits) && safe ? { ...stepOf(safe), reason: stale ? STALE : 'hold' } : fresh,
    state: state ?? null,
    prior: prior ?? null,
  }
}

/**
 * For how long the evidence has seen the caller there. For what was heard before the last switch one step was made already: whoever asks
 * every second while nothing new is heard would go down a rung each time.
 */
const seenFor = (standing: Standing, age_ms: number): Standing => ({
  ...standing,
  since_ms: Math.max(0, standing.since_ms - age_ms),
})

/** Read every minute; so much later something is wrong. */
const PRIORS_STALE_AFTER_MS = 10 * 60_000

export type PriorAdvice = Omit<Advice, 'session_id' | 'freeze_in_progress' | 'state'>

/** Of no session in particular: where one like it should begin. */
export function priorAdvice({ ladder, priors }: Advisor, context: Context, now_ms: number): PriorAdvice {
  const prior = priors.priorOf(context)
  const { as_of_ms } = priors
  const age_ms = as_of_ms === null ? null : Math.max(0, now_ms - as_of_ms)
  const stale = age_ms === null || age_ms > PRIORS_STALE_AFTER_MS
  const begin = recommend(ladder, undefined, prior)
  const { rung, target_bitrate_kbps } = recommend(ladder, undefined, undefined)
  return {
    as_of: as_of_ms === null ? null : new Date(as_of_ms).toISOString(),
    age_ms,
    stale,
    valid_for_ms: age_ms === null ? 0 : Math.max(0, PRIORS_STALE_AFTER_MS - age_ms),
    samples: prior?.levels.find(({ level }) => level === prior.level)?.n ?? 0,
    completeness_pct: null,
    safe_default: { rung, target_bitrate_kbps },
    recommendation: begin,
    prior: prior ?? null,
  }
}

const stepOf = ({ name, bitrate_kbps }: Rung): Step => ({ rung: name, target_bitrate_kbps: bitrate_kbps })

/** A session that says nothing while everybody is heard shows what it showed last: nothing says so but its silence. */
function sinceThen({ state, as_of_ms, period_ms }: LiveSession, heard_ms: number): SessionState {
  const silent_ms = heard_ms - as_of_ms
  if (silent_ms <= SILENT_PERIODS * period_ms) return state
  return { ...state, open_frame_us: (state.open_frame_us ?? 0) + 1_000 * silent_ms }
}

/** A rate that moved by less is the same. */
const RATE_MOVED = 0.1
const STUTTER_NOTED_PCT = 1

/** Whether somebody who knows the one wants to hear the other. */
export function isMaterial(before: Advice | undefined, after: Advice): boolean {
  if (!before) return true
  const told = ({ recommendation, stale, freeze_in_progress, state }: Advice): string =>
    JSON.stringify([
      ...[recommendation, stale, freeze_in_progress, (state?.freeze_time_pct ?? 0) > 0],
      (state?.stutter_time_pct ?? 0) >= STUTTER_NOTED_PCT,
    ])
  const rate = ({ state }: Advice): number => state?.available_kbps.ewma_3s ?? 0
  return told(before) !== told(after) || Math.abs(rate(after) - rate(before)) > RATE_MOVED * rate(before)
}
