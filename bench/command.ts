/**
 * `npm run bench`: what the project claims about speed, freshness and space, measured on this machine in one go: about ten minutes on a
 * quiet one. Prints tables, ratios first, and writes them to `bench/results/latest.md`. `--quick` only shows that every figure is produced.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { Command, Option } from 'commander'
import { type Finding, markdown } from './finding.ts'
import { type Known, PARTS, type Part, type PartName } from './parts.ts'
import { machine } from './stage.ts'

interface Flags {
  readonly quick: boolean
  readonly only?: PartName
  readonly out?: string
  readonly json?: string
}

const LATEST = join(import.meta.dirname, 'results', 'latest.md')

new Command('npm run bench --')
  .description(
    'ingest against ClickHouse’s own Kafka engine, freshness, bytes per frame, queries, bitrate logic, emitter',
  )
  .option('--quick', 'small, for a smoke run: the figures mean nothing', false)
  .addOption(new Option('--only <part>', 'one part').choices(Object.keys(PARTS)))
  .option(
    '--out <file>',
    'where the tables go as Markdown (default: bench/results/latest.md, of a whole run that is not quick)',
  )
  .option('--json <file>', 'where they go as JSON')
  .allowExcessArguments(false)
  .action((flags: Flags) => bench(flags))
  .parseAsync()

async function bench({ quick, only, out, json }: Flags): Promise<void> {
  const begun = performance.now()
  const tell = (line: string): void =>
    console.log(`${((performance.now() - begun) / 1_000).toFixed(0).padStart(4)} s  ${line}`)
  const header = [
    `machine: ${machine()}`,
    `versions: ${versions()}`,
    ...(quick ? ['QUICK: the figures mean nothing'] : []),
  ]
  const findings: Finding[] = []
  const names = (Object.keys(PARTS) as PartName[]).filter(name => only === undefined || name === only)
  const known: Known = {}
  for (const name of names) {
    tell(name)
    const part: Part = PARTS[name]
    findings.push(await part(quick, line => tell(`  ${line}`), known))
  }
  const text = markdown([...header, `took ${((performance.now() - begun) / 60_000).toFixed(1)} minutes`], findings)
  console.log(`\n${text}`)
  const file = out ?? (quick || only ? undefined : LATEST)
  if (file !== undefined) writeFileSync(file, text)
  if (json !== undefined) writeFileSync(json, JSON.stringify(findings))
}

function versions(): string {
  const { dependencies, optionalDependencies } = JSON.parse(
    readFileSync(join(import.meta.dirname, '..', 'package.json'), 'utf8'),
  ) as Record<'dependencies' | 'optionalDependencies', Record<string, string>>
  const named = { ...dependencies, ...optionalDependencies }
  return ['kafkajs', '@clickhouse/client', 'chdb'].map(name => `${name} ${named[name]}`).join(', ')
}
