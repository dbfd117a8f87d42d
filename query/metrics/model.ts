/**
 * What stands behind an answer about opinion scores: how many ten seconds were scored, how many lie outside the range of the model,
 * how many have no score at all, and why.
 */
import { z } from 'zod'
import { GAME_CLASSES_SQL } from '../../ingest/store/experience/classes.ts'
import { INTERACTION_CLASSES, VIDEO_CLASSES } from '../../ingest/store/experience/g1072.ts'
import type { Metric } from './catalogue.ts'
import type { Question } from './question.ts'
import { asOne, cubed, grouping, paramsOf, type Subject } from './questions.ts'
import { groupedSql } from './sql.ts'

/** Counts of ten-second cells. A cell without a score, or outside the model, may have several flags. */
export const model = {
  scored: z.number(),
  outside: z.number(),
  unscored: z.number(),
  flags: z.record(z.string(), z.number()),
  /** Sessions that were judged, though nothing of them was scored. */
  sessions_unscored: z.number().optional(),
}
const modelRow = z.object(model)
export type Model = z.infer<typeof modelRow>

export function modelQuestion({ scored }: Metric, subject: Subject): Question<Model> {
  const values = {
    scored: 'mos_cells',
    outside: 'mos_outside_cells',
    unscored: 'active_10s - mos_cells - mos_outside_cells',
    flags: 'mos_flags',
    ...(scored === 'sessions' ? { sessions_unscored: 'sessions_unscored' } : {}),
  }
  const one = asOne(cubed(subject, [], Object.values(values)))
  return {
    id: 'model',
    sql: groupedSql({ ...grouping(one), keys: {}, values }),
    params: paramsOf(one),
    row: modelRow,
  }
}

/** Of an empty range. */
export const NO_MODEL: Model = { scored: 0, outside: 0, unscored: 0, flags: {} }

export const gameClass = z.object({
  game: z.string(),
  video: z.enum(VIDEO_CLASSES),
  interaction: z.enum(INTERACTION_CLASSES),
})
/** The classes that cells are scored with; a game that is not among them is high in both. */
export const gameClassesQuestion: Question<z.infer<typeof gameClass>> = {
  id: 'game_classes',
  sql: GAME_CLASSES_SQL,
  params: {},
  row: gameClass,
}
