/** What became of decisions, in plain TypeScript over the messages: the words of `query/abr/regret-metrics.ts`, said by somebody else. */
import type { AbrDecisionEvent, BitrateEvent, FrameTimesEvent } from '../../ingest/contract/events.ts'
import type { DeliveredEvent } from './seed.ts'

type Of<E> = { readonly event: E; readonly at_ms: number }
/** Beginnings on Kafka's clock; each message once. */
interface Told {
  readonly decisions: Of<AbrDecisionEvent>[]
  readonly frames: Of<FrameTimesEvent>[]
  readonly rates: Of<BitrateEvent>[]
}

export interface Figures {
  readonly sessions: number
  readonly decisions: number
  readonly too_high_pct: number | null
  readonly headroom_unused_pct: number | null
  readonly reversals_per_minute: number | null
  readonly data_gb_per_hour: number | null
}

function toldBy(messages: readonly DeliveredEvent[]): Map<string, Told> {
  const sessions = new Map<string, Told>()
  const known = new Set<string>()
  for (const { event, appended_at_ms } of [...messages].sort((a, b) => a.appended_at_ms - b.appended_at_ms)) {
    const identity =
      event.kind === 'abr_decision' ? event.decision_id : `${event.session_id} ${event.source} ${event.seq}`
    if (known.has(identity)) continue
    known.add(identity)
    const told = sessions.get(event.session_id) ?? { decisions: [], frames: [], rates: [] }
    sessions.set(event.session_id, told)
    const at_ms = event.started_at_ms + (appended_at_ms - event.sent_at_ms)
    if (event.kind === 'abr_decision') told.decisions.push({ event, at_ms })
    if (event.kind === 'frame_times') told.frames.push({ event, at_ms })
    if (event.kind === 'bitrate') told.rates.push({ event, at_ms })
  }
  return sessions
}

function badBegins({ event, at_ms }: Of<FrameTimesEvent>): number[] {
  const interval_us = 1_000_000 / event.target_fps
  let from_us = 0
  return event.frame_time_us.flatMap(us => {
    const begun_us = from_us
    from_us += us
    return us > Math.floor(2.5 * interval_us + 1_000) ? [at_ms + Math.floor(begun_us / 1_000)] : []
  })
}

const MS = { judged: 10_000, reversal: 30_000 }

/** By `policy:version`. Of decisions and intervals in [from, to), on Kafka's clock. */
export function regretOf(messages: readonly DeliveredEvent[], from: number, to: number): Map<string, Figures> {
  const within = ({ at_ms }: { readonly at_ms: number }): boolean => at_ms >= from && at_ms < to
  const sessions = toldBy(messages)
  const all = [...sessions.values()].flatMap(({ decisions }) => decisions.filter(within))
  const top = Math.max(...all.map(({ event }) => event.target_bitrate_kbps))
  const sums = new Map<string, Record<string, number> & { sessions: Set<string> }>()
  for (const [session_id, { decisions, frames, rates }] of sessions) {
    const ordered = [...decisions].sort(
      (a, b) => a.at_ms - b.at_ms || (a.event.decision_id < b.event.decision_id ? -1 : 1),
    )
    let change: { way: number; at_ms: number; by: string } | undefined
    ordered.forEach((decision, i) => {
      const { event, at_ms } = decision
      const by = `${event.policy}:${event.policy_version}`
      const target = event.target_bitrate_kbps
      const way = i === 0 ? 0 : Math.sign(target - (ordered[i - 1]?.event.target_bitrate_kbps ?? 0))
      const turns = change?.way === -way && way !== 0 && at_ms - change.at_ms <= MS.reversal && change.by === by
      if (way !== 0) change = { way, at_ms, by }
      if (!within(decision)) return
      const until = ordered[i + 1]?.at_ms ?? Number.POSITIVE_INFINITY
      const soon = Math.min(until, at_ms + MS.judged)
      const bad = frames.flatMap(badBegins).some(begin => begin >= at_ms && begin < soon)
      const seen = frames.some(frame => frame.at_ms >= at_ms && frame.at_ms < soon)
      const own = rates.filter(rate => within(rate) && rate.at_ms >= at_ms && rate.at_ms < until)
      const sum = sums.get(by) ?? ({ sessions: new Set() } as Record<string, number> & { sessions: Set<string> })
      sums.set(by, sum)
      sum.sessions.add(session_id)
      const add = (name: string, value: number) => {
        sum[name] = (sum[name] ?? 0) + value
      }
      add('decisions', 1)
      add('bad', Number(bad))
      add('judged', Number(bad || seen))
      add('reversals', Number(turns))
      for (const { event } of own) {
        add('ms', event.interval_ms)
        add('bits', event.bitrate_kbps * event.interval_ms)
        if (event.available_kbps === undefined) continue
        const usable = Math.min(event.available_kbps, top)
        add('usable', usable * event.interval_ms)
        add('unused', Math.max(0, usable - target) * event.interval_ms)
      }
    })
  }
  const ratio = (a = 0, b = 0, factor = 1): number | null => (b > 0 ? (factor * a) / b : null)
  return new Map(
    [...sums].map(([by, { sessions, ...sum }]) => [
      by,
      {
        sessions: sessions.size,
        decisions: sum.decisions ?? 0,
        too_high_pct: ratio(sum.bad, sum.judged, 100),
        headroom_unused_pct: ratio(sum.unused, sum.usable, 100),
        reversals_per_minute: ratio(sum.reversals, sum.ms, 60_000),
        data_gb_per_hour: ratio(sum.bits, sum.ms, 3_600 / 8_000_000),
      },
    ]),
  )
}
