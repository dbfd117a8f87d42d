/** `npm run migrate`: brings the database to the newest schema. The ingester does the same when it starts. */
import { Command } from 'commander'
import { ConfigError, readConfig } from '../runtime/config.ts'
import { VARIABLES_HELP } from '../runtime/variables.ts'
import { migrate, retentionOf } from './migrate.ts'

new Command('migrate')
  .description('bring the ClickHouse database to the newest schema')
  .addHelpText('after', VARIABLES_HELP)
  .allowExcessArguments(false)
  .action(async () => {
    try {
      const config = readConfig(process.env)
      const applied = await migrate(config.clickhouse, retentionOf(config))
      console.log(applied.length > 0 ? `applied: ${applied.join(', ')}` : 'already at the newest schema')
    } catch (error) {
      console.error(
        error instanceof ConfigError ? error.message : `migrate: ${error instanceof Error ? error.message : error}`,
      )
      process.exitCode = 1
    }
  })
  .parseAsync()
