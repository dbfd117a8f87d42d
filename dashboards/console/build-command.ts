/** `npm run console`: builds the console into a directory that the API serves from. `npm start` and `npm run demo` do it by themselves. */
import { readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { gzipSync } from 'node:zlib'
import { Command } from 'commander'
import { DEFAULTS } from '../../ingest/runtime/variables.ts'
import { buildConsole } from './build.ts'

new Command('npm run console --')
  .description('Build the console into a directory, for an API that is started by itself (CONSOLE_DIR).')
  .option('--out <directory>', 'where to', DEFAULTS.CONSOLE_DIR)
  .allowExcessArguments(false)
  .action(async ({ out }: { out: string }) => {
    const directory = resolve(out)
    for (const name of await buildConsole(directory)) {
      const bytes = readFileSync(join(directory, 'assets', name))
      console.log(`${name}  ${kilobytes(bytes.length)}, packed ${kilobytes(gzipSync(bytes).length)}`)
    }
  })
  .parseAsync()

const kilobytes = (bytes: number): string => `${(bytes / 1_000).toFixed(1)} kB`
