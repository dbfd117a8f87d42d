/** What can be done to a pipeline, and where the next shot goes: into the window and by the kind that has been hit least so far. */
import { WINDOWS, type Window } from './proxy.ts'

export const KINDS = ['kill_ingester', 'freeze_ingester', 'kill_clickhouse', 'kill_broker', 'cut_connection'] as const
export type Kind = (typeof KINDS)[number]

export interface Shot {
  readonly kind: Kind
  /** `random`: at any time, whatever is under way. */
  readonly window: Window | 'random'
}

/** How often what has landed, by the name of the shot. */
export type Landed = Readonly<Record<string, number>>
export const nameOf = ({ kind, window }: Shot): string => `${kind} ${window}`

export const COMBINATIONS: readonly Shot[] = WINDOWS.flatMap(window => KINDS.map(kind => ({ kind, window })))
/** One shot in so many is not aimed. */
const RANDOM_EVERY = 20
/** A cut without a window to cut in is none. */
const UNAIMED = KINDS.filter(kind => kind !== 'cut_connection')

const fewest = (landed: Landed): number => Math.min(...COMBINATIONS.map(shot => landed[nameOf(shot)] ?? 0))

/** @param shot_number from 1 on @param dice uniform in [0, 1) */
export function nextShot(shot_number: number, landed: Landed, dice: () => number): Shot {
  const oneOf = <T>(list: readonly T[]): T => list[Math.floor(dice() * list.length)] as T
  if (shot_number % RANDOM_EVERY === 0) return { kind: oneOf(UNAIMED), window: 'random' }
  const least = fewest(landed)
  return oneOf(COMBINATIONS.filter(shot => (landed[nameOf(shot)] ?? 0) === least))
}

export interface Goal {
  /** In all. */
  readonly kills: number
  /** Inside each window by each kind. */
  readonly each: number
}

export const total = (landed: Landed): number => Object.values(landed).reduce((sum, n) => sum + n, 0)

/** How many more must land, as far as can be said. 0: the goal is reached. */
export function left({ kills, each }: Goal, landed: Landed): number {
  const aimed = COMBINATIONS.reduce((sum, shot) => sum + Math.max(0, each - (landed[nameOf(shot)] ?? 0)), 0)
  return Math.max(0, kills - total(landed), Math.ceil((aimed * RANDOM_EVERY) / (RANDOM_EVERY - 1)))
}
