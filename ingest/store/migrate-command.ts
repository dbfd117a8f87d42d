/** `npm run migrate`: brings the database to the newest schema. The ingester does the same when it starts. */
import { Command } from 'commander'
import { ConfigError, readConfig } from '../runtime/config.ts'
import { migrate } from './migrate.ts'

new Command('migrate')
  .description('bring the ClickHouse database (CLICKHOUSE_URL, CLICKHOUSE_DATABASE) to the newest schema')
  .allowExcessArguments(false)
  .action(async () => {
    try {
      const config = readConfig(process.env)
      const applied = await migrate(config.clickhouse, {
        raw_days: config.RAW_RETENTION_DAYS,
        cell_days: config.CELL_RETENTION_DAYS,
        minute_days: config.MINUTE_RETENTION_DAYS,
      })
      console.log(applied.length > 0 ? `applied: ${applied.join(', ')}` : 'already at the newest schema')
    } catch (error) {
      console.error(
        error instanceof ConfigError ? error.message : `migrate: ${error instanceof Error ? error.message : error}`,
      )
      process.exitCode = 1
    }
  })
  .parseAsync()
