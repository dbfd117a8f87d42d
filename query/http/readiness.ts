/** Whether the store can be asked: it answers, and its schema is the one this process was written for. */
import { z } from 'zod'
import { readMigrations } from '../../ingest/store/migrate.ts'
import { type Ask, type Question, StoreFailure } from '../metrics/question.ts'

const row = z.object({ name: z.string() })
const MIGRATIONS: Question<z.infer<typeof row>> = {
  id: 'migrations',
  sql: 'SELECT name FROM migrations_v1 FINAL',
  params: {},
  row,
}
/** ClickHouse's codes for a table, and for a database, that does not exist. */
const MISSING = new Set<number | undefined>([60, 81])

/** Undefined: ready. Otherwise what is being waited for. Never throws. */
export async function notReady(ask: Ask): Promise<string | undefined> {
  try {
    const applied = new Set((await ask(MIGRATIONS)).map(({ name }) => name))
    const missing = readMigrations().filter(({ name }) => !applied.has(name))
    return missing.length === 0 ? undefined : `ClickHouse lacks the migration ${missing[0]?.name}`
  } catch (error) {
    const migrated = !(error instanceof StoreFailure && MISSING.has(error.code))
    return migrated ? 'ClickHouse does not answer' : 'ClickHouse is not migrated'
  }
}
