/**
 * What a run of kills has shown so far, in a file, so that a run that was broken off goes on. Only shots of fields that were judged
 * are in it: what a field that was left unjudged has seen proves nothing.
 */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { z } from 'zod'
import type { Verdict } from '../support/verify.ts'
import type { Hit } from './field.ts'
import { nameOf, type Shot } from './shots.ts'

const count = z.int().nonnegative()
const tallySchema = z.object({
  seed: count,
  /** Fields judged, and what they took, from their start to their end. */
  fields: count,
  took_ms: count,
  /** By the name of the shot. */
  landed: z.record(z.string(), count),
  /** Windows that did not open in time. */
  missed: count,
  /** By kind of shot: from the shot until all worked again, each. */
  recovered_ms: z.record(z.string(), z.array(count)),
  offsets: count,
  lost: z.number(),
  doubled: count,
  different: count,
  wrong_cells: count,
  wrong_minutes: count,
})
export type Tally = z.infer<typeof tallySchema>

export const emptyTally = (seed: number): Tally => ({
  ...{ seed, fields: 0, took_ms: 0, landed: {}, missed: 0, recovered_ms: {} },
  ...{ offsets: 0, lost: 0, doubled: 0, different: 0, wrong_cells: 0, wrong_minutes: 0 },
})

/** One shot more, in a field that is not judged yet. */
export function withShot(tally: Tally, shot: Shot, { landed, recovered_ms }: Hit): Tally {
  if (!landed) return { ...tally, missed: tally.missed + 1 }
  const name = nameOf(shot)
  return {
    ...tally,
    landed: { ...tally.landed, [name]: (tally.landed[name] ?? 0) + 1 },
    recovered_ms: { ...tally.recovered_ms, [shot.kind]: [...(tally.recovered_ms[shot.kind] ?? []), recovered_ms] },
  }
}

/** The field is judged: what it has seen counts. */
export const withVerdict = (tally: Tally, took_ms: number, verdict: Verdict): Tally => ({
  ...tally,
  fields: tally.fields + 1,
  took_ms: tally.took_ms + took_ms,
  offsets: tally.offsets + verdict.audit.reduce((sum, row) => sum + row.next - row.first, 0),
  lost: tally.lost + verdict.lost,
  doubled: tally.doubled + verdict.doubled,
  different: tally.different + verdict.different,
  wrong_cells: tally.wrong_cells + verdict.wrong_cells,
  wrong_minutes: tally.wrong_minutes + verdict.wrong_minutes,
})

/** Nothing lost, nothing doubled, everything says what it should. */
export const isGood = ({ lost, doubled, different, wrong_cells, wrong_minutes }: Tally): boolean =>
  lost === 0 && doubled === 0 && different === 0 && wrong_cells === 0 && wrong_minutes === 0

/** Undefined: there is none. @throws if it cannot be read: then somebody must look */
export function readTally(file: string): Tally | undefined {
  try {
    return tallySchema.parse(JSON.parse(readFileSync(file, 'utf8')))
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw new Error(`${file} is not a tally of kills: ${error instanceof Error ? error.message : error}`)
  }
}

/** Whole or not at all, whatever happens meanwhile. */
export function writeTally(file: string, tally: Tally): void {
  mkdirSync(dirname(file), { recursive: true })
  writeFileSync(`${file}.new`, JSON.stringify(tally))
  renameSync(`${file}.new`, file)
}

export const removeTally = (file: string): void => rmSync(file, { force: true })
