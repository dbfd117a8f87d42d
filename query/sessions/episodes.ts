/**
 * Stutters and freezes as a player lives through them: bad frames that follow each other closely are one episode. Pure.
 * Which frame is bad is the rule of cells (`ingest/store/cells.ts`); a frame begins where the one before it in its event ended.
 */

export type BadKind = 'stutter' | 'freeze'

export interface BadFrame {
  /** Epoch µs. */
  readonly begin_us: number
  readonly frame_us: number
  readonly kind: BadKind
  /** Still on the screen when its session was heard of last. */
  readonly open: boolean
}

export interface Episode {
  readonly begin_us: number
  /** Of its last frame; null while that is still on the screen. */
  readonly end_us: number | null
  /** The worst in it. */
  readonly kind: BadKind
  readonly longest_frame_us: number
  /** Bad ones; those between them are not counted. */
  readonly frames: number
}

/** Good frames for no longer than this between two bad ones are no recovery: nobody has time to notice it. */
export const EPISODE_GAP_US = 500_000

/** @param frames in any order */
export function episodesOf(frames: readonly BadFrame[]): Episode[] {
  const episodes: Episode[] = []
  let reached_us = Number.NEGATIVE_INFINITY
  for (const { begin_us, frame_us, kind, open } of [...frames].sort((a, b) => a.begin_us - b.begin_us)) {
    const before = begin_us - reached_us <= EPISODE_GAP_US ? episodes.pop() : undefined
    reached_us = before ? Math.max(reached_us, begin_us + frame_us) : begin_us + frame_us
    episodes.push({
      begin_us: before?.begin_us ?? begin_us,
      end_us: open || before?.end_us === null ? null : reached_us,
      kind: before?.kind === 'freeze' ? 'freeze' : kind,
      longest_frame_us: Math.max(before?.longest_frame_us ?? 0, frame_us),
      frames: (before?.frames ?? 0) + 1,
    })
  }
  return episodes
}
