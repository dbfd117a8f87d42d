/**
 * Where a page of sessions ended, as an opaque text: the next page continues behind that session, over the same range, however the
 * clock has moved. It belongs to one question; with another it is a mistake.
 */
import { createHash } from 'node:crypto'
import { z } from 'zod'
import { SESSION_ID } from '../../ingest/contract/events.ts'
import { ANSWER_TIERS } from '../metrics/catalogue.ts'
import { Mistake } from '../metrics/mistake.ts'

const LAST_S = Date.UTC(2100, 0, 1) / 1_000
const seconds = z.int().min(0).max(LAST_S)

const cursor = z.strictObject({
  /** Of the question it belongs to. */
  question: z.string().length(16),
  from: seconds,
  to: seconds,
  tier: z.enum(ANSWER_TIERS),
  /** What the last session was ordered by: the bits of a Float64 in decimal, since its text need not be read back as the same number. */
  bits: z
    .string()
    .refine(text => /^\d{1,20}$/.test(text) && BigInt(text) < 2n ** 64n)
    .nullable(),
  session_id: z.string().regex(SESSION_ID),
})
export type Cursor = z.infer<typeof cursor>

/** @param asked everything but the cursor that decides which sessions come, and in which order */
export const nameOf = (asked: unknown): string =>
  createHash('sha256').update(JSON.stringify(asked)).digest('base64url').slice(0, 16)

export const writeCursor = (where: Cursor): string => Buffer.from(JSON.stringify(where)).toString('base64url')

/** @throws Mistake naming `cursor` */
export function readCursor(text: string, question: string): Cursor {
  const read = cursor.safeParse(decoded(text))
  if (!read.success) throw new Mistake('bad_cursor', 'cursor', 'this is no cursor of ours; take next_cursor of a page')
  if (read.data.question !== question)
    throw new Mistake('bad_cursor', 'cursor', 'this cursor belongs to another question; change nothing but the cursor')
  return read.data
}

function decoded(text: string): unknown {
  try {
    return JSON.parse(Buffer.from(text, 'base64url').toString('utf8'))
  } catch {
    return undefined
  }
}
