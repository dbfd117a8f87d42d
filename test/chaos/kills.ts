/**
 * Kills until the goal is reached: a fresh field for so many shots at a time, each judged before it is left, the tally written after
 * each. Broken off, it goes on where the last judged field ended. The first thing lost, doubled or wrong ends it.
 */
import { join } from 'node:path'
import { mixSeed } from '../../local/fleet/random.ts'
import { chance } from '../../query/statistics/weights.ts'
import { Field } from './field.ts'
import { COMBINATIONS, type Goal, left, nameOf, nextShot, total } from './shots.ts'
import { isGood, type Tally, withShot, withVerdict, writeTally } from './tally.ts'

export interface KillsOptions {
  readonly goal: Goal
  readonly shots_per_field: number
  readonly file: string
  readonly say: (line: string) => void
}

/** More windows than this that did not open: it will not come to an end. */
const MISSES_ALLOWED = 20

export class Kills {
  readonly #options: KillsOptions
  #tally: Tally
  #field: Promise<Field> | undefined
  #stopped = false

  constructor(options: KillsOptions, tally: Tally) {
    this.#options = options
    this.#tally = tally
  }

  /** What was judged. */
  get tally(): Tally {
    return this.#tally
  }

  /** Resolves when the goal is reached, or with the first field that was not good, or once it is stopped. */
  async run(): Promise<void> {
    const { goal, file } = this.#options
    while (!this.#stopped && isGood(this.#tally) && left(goal, this.#tally.landed) > 0) {
      const begun = performance.now()
      this.#field = Field.start()
      const field = await this.#field
      try {
        const shots = await this.#shootAt(field)
        const verdict = await field.judge()
        this.#tally = withVerdict(shots, Math.round(performance.now() - begun), verdict)
        writeTally(file, this.#tally)
        if (!isGood(this.#tally)) this.#keepLogs(field)
      } catch (error) {
        if (this.#stopped) return
        this.#keepLogs(field)
        throw error
      } finally {
        await field.stop()
        this.#field = undefined
      }
    }
  }

  /** What was not judged is forgotten. */
  async stop(): Promise<void> {
    this.#stopped = true
    const field = await this.#field?.catch(() => undefined)
    await field?.stop()
  }

  /** One field's shots. Each field has dice of its own, so that a run that goes on shoots as one that never stopped. */
  async #shootAt(field: Field): Promise<Tally> {
    const { goal, shots_per_field, say } = this.#options
    const dice = chance(mixSeed(this.#tally.seed, this.#tally.fields))
    const begun = performance.now()
    let tally = this.#tally
    for (let fired = 0; fired < shots_per_field && left(goal, tally.landed) > 0; fired++) {
      const number = total(tally.landed) + 1
      const shot = nextShot(number, tally.landed, dice)
      const hit = await field.shoot(shot, Math.floor(dice() * 2))
      tally = withShot(tally, shot, hit)
      if (tally.missed > MISSES_ALLOWED) throw new Error(`${tally.missed} windows did not open in time`)
      const took_ms = this.#tally.took_ms + performance.now() - begun
      const rest_min = ((took_ms / total(tally.landed)) * left(goal, tally.landed)) / 60_000
      const least = Math.min(...COMBINATIONS.map(each => tally.landed[nameOf(each)] ?? 0))
      const became = hit.landed
        ? `all works after ${(hit.recovered_ms / 1_000).toFixed(1)} s`
        : 'the window did not open'
      say(
        `${hit.landed ? number : '–'}/${goal.kills} ${nameOf(shot)}: ${became}; least ${least} of ${goal.each} in a window by a kind, about ${Math.ceil(rest_min)} min left`,
      )
    }
    return tally
  }

  #keepLogs(field: Field): void {
    const into = join(`${this.#options.file}.logs`)
    field.keepLogs(into)
    this.#options.say(`what the parts said: ${into}`)
  }
}
