/**
 * `npm run recompute`: settles again what raw events still cover, after the definition of a metric changed. Shows how far it is, and
 * what differs, before anything is replaced.
 */
import { createInterface } from 'node:readline/promises'
import { Command, InvalidArgumentError } from 'commander'
import { type Config, ConfigError, readConfig } from '../runtime/config.ts'
import { VARIABLES_HELP } from '../runtime/variables.ts'
import { openStore, type Store } from './clickhouse.ts'
import { migrate, retentionOf } from './migrate.ts'
import {
  type Comparison,
  compareHour,
  dropShadows,
  type Hour,
  hoursOf,
  NOTHING_COMPARED,
  prepareShadows,
  recomputeHour,
  switchHour,
} from './recompute.ts'

const HOUR_S = 3_600
const DAY_S = 86_400
const SAY_EVERY_MS = 2_000
const INTERRUPTED = 130
/** A statement over half an hour of a large fleet takes its time. */
const TIMEOUT_MS = 600_000

interface Flags {
  readonly from?: number
  readonly to?: number
  readonly dryRun: boolean
  readonly yes: boolean
}

new Command('recompute')
  .description(
    'settle the cells of CLICKHOUSE_DATABASE again from raw events, beside the old ones, compare both, and then replace them. Settlers must run the new definition before. Ctrl-C until then leaves everything as it was',
  )
  .option('--from <time>', 'ISO 8601; default: as far back as raw events are kept', readTime)
  .option('--to <time>', 'ISO 8601; default: now', readTime)
  .option('--dry-run', 'compare, replace nothing', false)
  .option('--yes', 'replace without asking', false)
  .addHelpText('after', VARIABLES_HELP)
  .allowExcessArguments(false)
  .action(async (flags: Flags) => {
    try {
      process.exitCode = await run(readConfig(process.env), flags)
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      console.error(error instanceof ConfigError ? message : `recompute: ${message}`)
      process.exitCode = 1
    }
  })
  .parseAsync()

function readTime(text: string): number {
  const at_ms = /^\d{4}-\d{2}-\d{2}(T\d{2}:\d{2}(:\d{2})?(Z|[+-]\d{2}:\d{2}))?$/.test(text)
    ? Date.parse(text)
    : Number.NaN
  if (Number.isNaN(at_ms)) throw new InvalidArgumentError('expected a date, or a date and time with its zone')
  return Math.floor(at_ms / 1_000)
}

/** @returns the exit code */
async function run(config: Config, flags: Flags): Promise<number> {
  const { from, to } = rangeOf(config, flags)
  const stopping = new AbortController()
  let switching = false
  const interrupt = (): void => {
    if (switching) console.error('the new cells are being put in place; this is not stopped halfway')
    else stopping.abort()
  }
  process.on('SIGINT', interrupt)
  process.on('SIGTERM', interrupt)
  const store = openStore(config.clickhouse, { timeout_ms: TIMEOUT_MS })
  try {
    if (!(await store.ping())) throw new Error(`ClickHouse cannot be reached at ${config.clickhouse.url}`)
    await migrate(config.clickhouse, retentionOf(config))
    const hours = await hoursOf(store, from, to)
    await prepareShadows(store)
    const built = await build(store, hours, stopping.signal)
    if (stopping.signal.aborted) return stopped()
    console.log(told(built.comparison))
    if (flags.dryRun) {
      console.log('dry run: nothing was replaced')
      return 0
    }
    const agreed = flags.yes || (await agrees(stopping.signal))
    if (!agreed || stopping.signal.aborted) return stopped()
    switching = true
    const say = progress('hours in place', built.moments.length)
    for (const [hour, settled_at] of built.moments) {
      await switchHour(store, hour, settled_at)
      say(1)
    }
    console.log(`replaced: ${built.moments.length} hours`)
    return 0
  } finally {
    await dropShadows(store).finally(() => store.close())
    process.off('SIGINT', interrupt)
    process.off('SIGTERM', interrupt)
  }
}

const stopped = (): number => {
  console.error('nothing was replaced')
  return INTERRUPTED
}

/** Whole hours, no further back than all raw events are there. */
function rangeOf(config: Config, flags: Flags): { from: number; to: number } {
  const now = Math.floor(Date.now() / 1_000)
  const reach = Math.ceil((now - (config.RAW_RETENTION_DAYS - 1) * DAY_S) / HOUR_S) * HOUR_S
  const from = Math.floor((flags.from ?? reach) / HOUR_S) * HOUR_S
  const to = Math.ceil((flags.to ?? now) / HOUR_S) * HOUR_S
  if (from < reach)
    throw new Error(`--from: raw events are all there only since ${new Date(reach * 1_000).toISOString()}`)
  if (from >= to) throw new Error('--from must lie before --to')
  return { from, to }
}

interface Built {
  /** Per hour: the moment before its events were read. */
  readonly moments: readonly (readonly [hour: number, settled_at: string])[]
  readonly comparison: Comparison
}

async function build(store: Store, hours: readonly Hour[], signal: AbortSignal): Promise<Built> {
  const moments: [number, string][] = []
  let comparison = NOTHING_COMPARED
  const say = progress(
    'buckets of ten seconds',
    hours.reduce((sum, { buckets }) => sum + buckets.length, 0),
  )
  for (const hour of hours) {
    if (signal.aborted) break
    moments.push([hour.t, await recomputeHour(store, hour, say)])
    comparison = await compareHour(store, hour.t, comparison)
  }
  return { moments, comparison }
}

/** Says now and then how far it is, how fast, and how long it will still take. */
function progress(what: string, total: number): (more: number) => void {
  const begun_ms = Date.now()
  let said_ms = 0
  let done = 0
  return more => {
    done += more
    const now = Date.now()
    if (now - said_ms < SAY_EVERY_MS && done < total) return
    said_ms = now
    const rate = done / Math.max(0.001, (now - begun_ms) / 1_000)
    console.error(`${what}: ${done}/${total}, ${rate.toFixed(1)}/s, ${Math.ceil((total - done) / rate)} s left`)
  }
}

async function agrees(signal: AbortSignal): Promise<boolean> {
  if (!process.stdin.isTTY) {
    console.error('not a terminal: say --yes to replace the old cells')
    return false
  }
  const prompt = createInterface({ input: process.stdin, output: process.stdout })
  try {
    return (await prompt.question('replace the old cells by the new ones? [y/N] ', { signal })).trim() === 'y'
  } catch {
    return false
  } finally {
    prompt.close()
  }
}

const figure = (value: number | undefined): string => (value === undefined ? '' : String(value))

function told({ both, only_old, only_new, columns }: Comparison): string {
  const rows = columns.map(({ column, differing, old_sum, new_sum }) => [
    ...[column, String(differing), figure(old_sum), figure(new_sum)],
  ])
  const table = [['column', 'cells that differ', 'sum before', 'sum after'], ...rows]
  const widths = [0, 1, 2, 3].map(i => Math.max(...table.map(row => row[i]?.length ?? 0)))
  const lines = table.map(row =>
    row.map((text, i) => (i === 0 ? text.padEnd(widths[i] ?? 0) : text.padStart(widths[i] ?? 0))).join('  '),
  )
  return [
    `cells before and after: ${both}; only before: ${only_old}; only after (not settled yet): ${only_new}`,
    ...lines,
  ].join('\n')
}
