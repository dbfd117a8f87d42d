/**
 * `npm run bench`: what the project claims about speed, freshness and space, measured on this machine in one go: about twenty minutes on a
 * quiet one. Prints tables, ratios first, and writes them to `bench/results/latest.md`; a part that is run alone replaces its own there.
 * `--quick` only shows that every figure is produced, and is not kept.
 */
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command, Option } from 'commander'
import { type Measured, markdown } from './finding.ts'
import { PARTS, type Part, type PartName } from './parts.ts'
import { machine } from './stage.ts'

interface Flags {
  readonly quick: boolean
  readonly only?: PartName
  readonly json?: string
}

type Results = Partial<Record<PartName, Measured>>

const RESULTS = join(import.meta.dirname, 'results')
const NAMES = Object.keys(PARTS) as PartName[]

new Command('npm run bench --')
  .description(
    'ingest against ClickHouse’s own Kafka engine, freshness, bytes per frame, queries, bitrate logic, emitter',
  )
  .option('--quick', 'small, for a smoke run: the figures mean nothing', false)
  .addOption(new Option('--only <part>', 'one part').choices(NAMES))
  .option('--json <file>', 'write what was found there as well')
  .allowExcessArguments(false)
  .action((flags: Flags) => bench(flags))
  .parseAsync()

async function bench({ quick, only, json }: Flags): Promise<void> {
  const begun = performance.now()
  const tell = (line: string): void =>
    console.log(`${((performance.now() - begun) / 1_000).toFixed(0).padStart(4)} s  ${line}`)
  const found: Results = {}
  for (const name of NAMES.filter(one => only === undefined || one === only)) {
    tell(name)
    const part: Part = PARTS[name]
    const measured = `${machine()}; ${versions()}${quick ? '; QUICK: the figures mean nothing' : ''}`
    found[name] = { measured, finding: await part(quick, line => tell(`  ${line}`)) }
    if (!quick) keep(found)
  }
  console.log(`\n${markdown(inOrder(found))}`)
  if (json !== undefined) writeFileSync(json, JSON.stringify(inOrder(found).map(({ finding }) => finding)))
}

/** Parts that were not run now stay as they were found last. */
function keep(found: Results): void {
  mkdirSync(RESULTS, { recursive: true })
  const file = join(RESULTS, 'latest.json')
  const before = existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Results) : {}
  const results = { ...before, ...found }
  writeFileSync(file, `${JSON.stringify(results, undefined, 2)}\n`)
  writeFileSync(join(RESULTS, 'latest.md'), markdown(inOrder(results)))
}

const inOrder = (results: Results): Measured[] => NAMES.flatMap(name => results[name] ?? [])

function versions(): string {
  const { dependencies, optionalDependencies } = JSON.parse(
    readFileSync(join(import.meta.dirname, '..', 'package.json'), 'utf8'),
  ) as Record<'dependencies' | 'optionalDependencies', Record<string, string>>
  const named = { ...dependencies, ...optionalDependencies }
  return ['kafkajs', '@clickhouse/client', 'chdb'].map(name => `${name} ${named[name]}`).join(', ')
}
