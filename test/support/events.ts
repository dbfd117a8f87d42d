/**
 * Events whose whole content follows from session and number: what was sent can be said again when the tables are checked.
 */

import type { BitrateEvent, FrameTimesEvent, QualityEvent, SessionEvent } from '../../ingest/contract/events.ts'
import { chance } from '../../query/statistics/weights.ts'

export const sessionId = (n: number): string => `00000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`

const ACCESS = ['ethernet', 'wifi', 'cellular'] as const

/** Event `seq` of session `n`: frame times and bitrate in turn, one of each a second. Some stutters and freezes, some unknowns. */
export function eventOf(n: number, seq: number, start_ms: number): QualityEvent {
  const dice = chance(n * 7_919 + seq)
  const second = seq >> 1
  const started_at_ms = start_ms + second * 1_000 + (n % 1_000)
  const envelope = {
    v: 1,
    session_id: sessionId(n),
    source: 'client',
    seq,
    started_at_ms,
    sent_at_ms: started_at_ms + 1_000,
    context: {
      game: `game-${n % 5}`,
      access: ACCESS[n % 3] ?? 'wifi',
      isp: `isp-${n % 7}`,
      region: n % 2 === 0 ? 'eu-west' : "us-'east\\",
    },
  } as const
  return seq % 2 === 0 ? frameTimes(envelope, dice) : bitrate(envelope, dice)
}

type Envelope = Pick<SessionEvent, Exclude<keyof SessionEvent, 'kind' | 'state' | 'startup_ms' | 'end_reason'>>

function frameTimes(envelope: Envelope, dice: () => number): FrameTimesEvent {
  const frame_time_us = Array.from({ length: 50 + Math.floor(dice() * 20) }, () => {
    const luck = dice()
    if (luck < 0.002) return 180_000 + Math.floor(dice() * 400_000)
    if (luck < 0.02) return 30_000 + Math.floor(dice() * 60_000)
    return 14_000 + Math.floor(dice() * 5_000)
  })
  return {
    ...envelope,
    kind: 'frame_times',
    target_fps: 60,
    frame_time_us,
    ...(dice() < 0.7 ? { frames_dropped: Math.floor(dice() * 3) } : {}),
  }
}

function bitrate(envelope: Envelope, dice: () => number): BitrateEvent {
  const bitrate_kbps = 2_000 + Math.floor(dice() * 20_000)
  return {
    ...envelope,
    kind: 'bitrate',
    interval_ms: 1_000,
    bitrate_kbps,
    ...(dice() < 0.8 ? { target_bitrate_kbps: bitrate_kbps + Math.floor(dice() * 3_000), rung: '1080p60-15m' } : {}),
    ...(dice() < 0.8
      ? { rtt_us: 8_000 + Math.floor(dice() * 60_000), packets_received: 1_500, packets_lost: Math.floor(dice() * 10) }
      : {}),
  }
}
