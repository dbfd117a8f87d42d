/**
 * The classes of games that G.1072 asks for, as the store knows them: what settling scores with and what `GET /v1/metrics` publishes.
 * One set at a time, the one written last; the ingester writes what it is configured with. A game that is in no set is high in both,
 * the strictest. Cells that are settled already keep the score they have.
 */
import type { GameClasses } from '../../runtime/variables.ts'
import type { Store } from '../clickhouse.ts'
import { type Classes, DEFAULT_CLASSES, type InteractionClass, type VideoClass } from './g1072.ts'

/** Stands for every game that has no row of its own. */
const ANY_GAME = ''

const LATEST = 'game_classes_v1 WHERE set_at = (SELECT max(set_at) FROM game_classes_v1)'

/** SQL of a row's class by the game in `game`. */
export const classSql = (kind: keyof Classes, game: string): string => {
  const isOf = (name: string): string => `${game} IN (SELECT game FROM ${LATEST} AND ${kind} = '${name}')`
  return `multiIf(${isOf('low')}, 'low', ${isOf('medium')}, 'medium', 'high')`
}

interface GameClass {
  readonly game: string
  readonly video: VideoClass
  readonly interaction: InteractionClass
}

export const GAME_CLASSES_SQL = `SELECT game, video, interaction FROM ${LATEST} AND game != '${ANY_GAME}' ORDER BY game`

/**
 * Makes these the classes that are settled with, in one insert.
 * @returns whether they were others before
 */
export async function keepClasses(store: Store, classes: GameClasses): Promise<boolean> {
  const wanted: GameClass[] = Object.entries(classes)
    .map(([game, { video = DEFAULT_CLASSES.video, interaction = DEFAULT_CLASSES.interaction }]) => ({
      game,
      video,
      interaction,
    }))
    .sort((a, b) => (a.game < b.game ? -1 : 1))
  const before = await store.query<GameClass>(GAME_CLASSES_SQL)
  if (JSON.stringify(before) === JSON.stringify(wanted)) return false
  const rows = [{ game: ANY_GAME, ...DEFAULT_CLASSES }, ...wanted]
  await store.command(
    `INSERT INTO game_classes_v1
     SELECT game, video, interaction, now64(6) FROM (
       SELECT arrayJoin(arrayZip({games:Array(String)}, {videos:Array(String)}, {interactions:Array(String)})) AS row,
         row.1 AS game, row.2 AS video, row.3 AS interaction)
     SETTINGS async_insert = 0`,
    {
      games: rows.map(row => row.game),
      videos: rows.map(row => row.video),
      interactions: rows.map(row => row.interaction),
    },
  )
  return true
}
