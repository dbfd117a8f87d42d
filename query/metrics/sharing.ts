/**
 * One answer for all who ask the same at the same time: the same text with the same parameters goes to the store once, and what it said
 * is handed on for a moment. Twenty viewers of a dashboard cost what one does.
 *
 * Why `as_of` stays true. It is a question of its own, and must never be newer than the values it stands beside. So requests share in
 * generations: whoever begins within the same moment shares everything asked in it, and nothing else. An answer asks how new it is before
 * it asks for values, so within a generation that comes first whoever asks; and a generation is kept or dropped as a whole, at the first
 * failure, at a write, and when its moment is over. What is shared is at most two moments old, and its `as_of` is as old.
 */
import { AsyncLocalStorage } from 'node:async_hooks'
import type { Ask, Question } from './question.ts'

/** What became of a question: it was asked, or another one's answer was taken. */
const SHARED = ['asked', 'taken'] as const
type Shared = (typeof SHARED)[number]

export interface Sharing {
  readonly ask: Ask
  /** Runs one request: what it asks is shared with others that begin in the same moment. */
  together<T>(run: () => Promise<T>): Promise<T>
  /** Something was written: who begins from now on sees it. */
  forget(): void
}

export interface SharingOptions {
  /** How long a moment is. */
  readonly share_ms: number
  readonly observe: (shared: Shared) => void
  readonly clock?: () => number
}

interface Generation {
  readonly begun_ms: number
  readonly answers: Map<string, Promise<unknown[]>>
  /** How many answers and rows were ever kept: once there is no room there is none again, so that what came first stays first. */
  kept: number
  rows: number
  /** A question of it failed: from then on its requests ask for themselves, or one would find new news of old values. */
  broken: boolean
}

const ANSWERS_MAX = 500
/** All rows that a generation keeps, and those of one answer: longer ones are shared only while they are asked. */
const ROWS_MAX = 200_000
const ROWS_OF_ONE_MAX = 10_000

export function createSharing(
  ask: Ask,
  { share_ms, observe, clock = () => performance.now() }: SharingOptions,
): Sharing {
  const requests = new AsyncLocalStorage<Generation>()
  let current: Generation | undefined
  const forget = (): void => {
    current = undefined
  }
  /** A request that lasts, a stream say, does not go on with answers of its beginning. */
  const isFresh = (generation: Generation): boolean => clock() - generation.begun_ms < 2 * share_ms
  const hasRoom = ({ kept, rows }: Generation): boolean => kept < ANSWERS_MAX && rows < ROWS_MAX

  function begin(generation: Generation, key: string, answer: Promise<unknown[]>): void {
    generation.answers.set(key, answer)
    generation.kept++
    answer.then(
      ({ length }) => {
        if (length > ROWS_OF_ONE_MAX) generation.answers.delete(key)
        else generation.rows += length
      },
      () => {
        generation.broken = true
        if (current === generation) forget()
      },
    )
  }

  return {
    forget,
    together(run) {
      if (!current || clock() - current.begun_ms >= share_ms)
        current = { begun_ms: clock(), answers: new Map(), kept: 0, rows: 0, broken: false }
      return requests.run(current, run)
    },
    async ask<Row>(question: Question<Row>) {
      const generation = requests.getStore()
      if (!generation || generation.broken || !isFresh(generation)) return ask(question)
      const key = `${question.id} ${JSON.stringify(question.params)} ${question.sql}`
      const known = generation.answers.get(key)
      observe(known ? 'taken' : 'asked')
      const answer = known ?? ask(question)
      if (!known && hasRoom(generation)) begin(generation, key, answer)
      // The same id and text: rows of the same form. Each has a list of its own, to sort and cut.
      return [...(await answer)] as Row[]
    },
  }
}
