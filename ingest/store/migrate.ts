/**
 * Migrations: numbered, forward-only `.sql` files, each applied once and never edited (its hash is recorded).
 * Every statement is repeatable, so a migration that died halfway, or two processes that migrate at once, do no harm.
 */
import { createHash } from 'node:crypto'
import { readdirSync, readFileSync } from 'node:fs'
import type { Variables } from '../runtime/variables.ts'
import { openStore, type Store, type StoreConfig } from './clickhouse.ts'
import { CUBE_TABLE } from './cube.ts'

export interface Migration {
  readonly name: string
  readonly hash: string
  readonly statements: readonly string[]
}

const SCHEMA = new URL('./schema/', import.meta.url)

/** An applied migration's file is not what it was. */
export class EditedMigration extends Error {
  override readonly name = 'EditedMigration'
}

export function readMigrations(directory: URL = SCHEMA): Migration[] {
  return readdirSync(directory)
    .filter(file => file.endsWith('.sql'))
    .sort()
    .map(file => {
      const text = readFileSync(new URL(file, directory), 'utf8')
      const statements = text
        .replaceAll(/^\s*--.*$/gm, '')
        .split(/;\s*$/m)
        .map(statement => statement.trim())
        .filter(statement => statement !== '')
      return { name: file.replace(/\.sql$/, ''), hash: createHash('sha256').update(text).digest('hex'), statements }
    })
}

export interface Retention {
  readonly raw_days: number
  readonly cell_days: number
  readonly minute_days: number
  readonly hour_days: number
  readonly session_days: number
}

export const retentionOf = (variables: Variables): Retention => ({
  raw_days: variables.RAW_RETENTION_DAYS,
  cell_days: variables.CELL_RETENTION_DAYS,
  minute_days: variables.MINUTE_RETENTION_DAYS,
  hour_days: variables.HOUR_RETENTION_DAYS,
  session_days: variables.SESSION_RETENTION_DAYS,
})

/** A migration may copy a table, and its answer comes when that is done. */
const STATEMENT_TAKES_MS = 6 * 3_600_000

/** The note of an erased row must not go before the rows around it, which go by whole days. */
const ERASURES_OUTLIVE_DAYS = 2

/**
 * Brings the database to the newest schema and its tables to the configured retention.
 * @returns the names of the migrations that were applied now
 * @throws EditedMigration; what the store throws
 */
export async function migrate(
  config: StoreConfig,
  retention: Retention,
  migrations = readMigrations(),
): Promise<string[]> {
  const server = openStore({ ...config, database: 'default' })
  try {
    await server.command(`CREATE DATABASE IF NOT EXISTS ${config.database}`)
  } finally {
    await server.close()
  }
  const store = openStore(config, { timeout_ms: STATEMENT_TAKES_MS })
  try {
    const applied = await applyMigrations(store, migrations)
    await applyRetention(store, retention)
    return applied
  } finally {
    await store.close()
  }
}

async function applyMigrations(store: Store, migrations: readonly Migration[]): Promise<string[]> {
  await store.command(
    `CREATE TABLE IF NOT EXISTS migrations_v1 (name String, hash String, applied_at DateTime64(3, 'UTC'))
     ENGINE = ReplacingMergeTree ORDER BY name`,
  )
  const rows = await store.query<{ name: string; hash: string }>('SELECT name, hash FROM migrations_v1 FINAL')
  const hashes = new Map(rows.map(row => [row.name, row.hash]))
  const applied: string[] = []
  for (const { name, hash, statements } of migrations) {
    const before = hashes.get(name)
    if (before === hash) continue
    if (before !== undefined) {
      throw new EditedMigration(
        `${name}.sql was edited after it was applied; put the change into a migration of its own`,
      )
    }
    for (const statement of statements) await store.command(statement)
    await store.command('INSERT INTO migrations_v1 SELECT {name:String}, {hash:String}, now64(3)', { name, hash })
    applied.push(name)
  }
  return applied
}

async function applyRetention(store: Store, retention: Retention): Promise<void> {
  const wanted = [
    { table: 'events_v1', clock: 'toDateTime(ingested_at)', days: retention.raw_days },
    { table: 'quality_per_10s_v1', clock: 't', days: retention.cell_days },
    { table: 'quality_per_minute_v1', clock: 't', days: retention.minute_days },
    { table: CUBE_TABLE, clock: 't', days: retention.cell_days },
    { table: 'quality_per_hour_v1', clock: 't', days: retention.hour_days },
    { table: 'sessions_v1', clock: 't', days: retention.session_days },
    { table: 'session_spans_v1', clock: 'last', days: retention.session_days },
    { table: 'erasures_v1', clock: 'toDateTime(ingested_at)', days: retention.raw_days + ERASURES_OUTLIVE_DAYS },
  ]
  for (const { table, clock, days } of wanted) {
    const rows = await store.query<{ engine: string }>(
      'SELECT engine_full AS engine FROM system.tables WHERE database = currentDatabase() AND name = {table:String}',
      { table },
    )
    if (rows[0]?.engine.includes(`toIntervalDay(${days})`)) continue
    await store.command(
      `ALTER TABLE ${table} MODIFY TTL ${clock} + INTERVAL ${days} DAY SETTINGS materialize_ttl_after_modify = 0`,
    )
  }
}
