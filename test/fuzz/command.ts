/**
 * `npm run fuzz -- --requests 10000 --seed 1`: asks the API what the OpenAPI document lets one ask, and worse, over a ClickHouse of its
 * own. Prints a table of the answers, and ends with 1 at the first that the document does not allow.
 */

import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Command } from 'commander'
import { readConfig } from '../../ingest/runtime/config.ts'
import { wholeFrom } from '../../local/number.ts'
import { clickHousePart } from '../../local/parts.ts'
import { freePort } from '../../local/ports.ts'
import { startPart } from '../../local/supervise.ts'
import { fuzz } from './run.ts'
import { seededTarget } from './seeded.ts'

new Command('npm run fuzz --')
  .description('fuzz the API from its own OpenAPI document: no 5xx, nothing the document does not allow')
  .option('--requests <number>', 'how many', wholeFrom(1), 10_000)
  .option('--seed <number>', 'the same requests again', wholeFrom(1), 1)
  .allowExcessArguments(false)
  .action(async (flags: { requests: number; seed: number }) => {
    process.exit((await run(flags)) ? 0 : 1)
  })
  .parseAsync()

const SAY_EVERY = 1_000

async function run({ requests, seed }: { requests: number; seed: number }): Promise<boolean> {
  const data_dir = mkdtempSync(join(tmpdir(), 'stream-quality-fuzz-'))
  const environment = {
    ...process.env,
    DATA_DIR: data_dir,
    CLICKHOUSE_PORT: String(await freePort()),
    CLICKHOUSE_URL: undefined,
  }
  const part = await startPart(clickHousePart({ config: readConfig(environment), environment }), {
    data_dir,
    report: () => {},
    restart: false,
  })
  try {
    const { store, ...target } = await seededTarget({ ...readConfig(environment).clickhouse, database: 'fuzz' })
    const begun = performance.now()
    const progress = (done: number): void => {
      if (done % SAY_EVERY === 0) console.log(`${done} requests, ${((performance.now() - begun) / 1_000).toFixed(0)} s`)
    }
    const { answers, fault } = await fuzz({ ...target, requests, seed, progress })
    await store.close()
    console.table(answers)
    console.log(fault ?? `seed ${seed}: no 5xx, and every answer is one that the document allows`)
    return fault === undefined
  } finally {
    await part.stop()
    rmSync(data_dir, { recursive: true, force: true })
  }
}
