/**
 * `npm run dashboards`: writes what Grafana reads, or says what of it is not fresh. Retention is taken from the environment, as the
 * services take it: the tier a range is answered from depends on how long each is kept.
 */
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { Command } from 'commander'
import { ConfigError, readConfig } from '../../ingest/runtime/config.ts'
import { VARIABLES_HELP } from '../../ingest/runtime/variables.ts'
import { retentionOf } from '../../ingest/store/migrate.ts'
import { files, OUT } from './files.ts'
import { complaints } from './lint.ts'

new Command('dashboards')
  .description('write the dashboards, alert rules and provisioning that Grafana reads')
  .option('--out <directory>', 'where to', OUT)
  .option('--check', 'write nothing; end with 1 if a file there is not what would be written')
  .addHelpText('after', VARIABLES_HELP)
  .allowExcessArguments(false)
  .action(({ out, check }: { out: string; check?: true }) => {
    try {
      process.exitCode = run(out, check === true)
    } catch (error) {
      if (!(error instanceof ConfigError)) throw error
      console.error(error.message)
      process.exitCode = 1
    }
  })
  .parse()

function run(out: string, check: boolean): number {
  const wanted = files(retentionOf(readConfig(process.env)))
  const wrong = complaints(wanted)
  for (const complaint of wrong) console.error(`dashboards: ${complaint}`)
  if (wrong.length > 0) return 1
  const written = existsSync(out)
    ? readdirSync(out, { recursive: true, withFileTypes: true })
        .filter(entry => entry.isFile())
        .map(entry => join(entry.parentPath, entry.name))
    : []
  const stray = written.filter(path => ![...wanted.keys()].some(name => join(out, name) === path))
  const stale = [...wanted].filter(([name, text]) => textAt(join(out, name)) !== text)
  if (check) {
    for (const [name] of stale)
      console.error(`dashboards: ${join(out, name)} is not fresh; npm run dashboards writes it`)
    for (const path of stray) console.error(`dashboards: ${path} is nobody's; npm run dashboards removes it`)
    if (stale.length + stray.length === 0) console.log(`dashboards: ${wanted.size} files in ${out} are fresh`)
    return stale.length + stray.length === 0 ? 0 : 1
  }
  for (const [name, text] of stale) {
    mkdirSync(dirname(join(out, name)), { recursive: true })
    writeFileSync(join(out, name), text)
  }
  // Only what we may have written before: anybody may say --out /.
  if (out === OUT) for (const path of stray) rmSync(path)
  console.log(`dashboards: ${stale.length} of ${wanted.size} files written to ${out}`)
  return 0
}

function textAt(path: string): string | undefined {
  return existsSync(path) ? readFileSync(path, 'utf8') : undefined
}
