/**
 * `npm run replay -- --reason bad_shape`: sends refused messages again, after the contract or the bug that refused them was mended.
 * Only those that would be accepted today, and each at most once.
 */
import { Command, InvalidArgumentError } from 'commander'
import { REASONS, type Reason } from '../contract/refusal.ts'
import { createKafkaSender } from '../emit/kafka.ts'
import { type Config, ConfigError, readConfig } from '../runtime/config.ts'
import { VARIABLES_HELP } from '../runtime/variables.ts'
import { openStore } from '../store/clickhouse.ts'
import { type ReplayReport, replay } from './replay.ts'

/** A run that takes longer than this says now and then how far it is. */
const SAY_EVERY_MS = 5_000

interface Flags {
  readonly reason: Reason[]
  readonly dryRun: boolean
}

new Command('replay')
  .description(
    'send refused messages of CLICKHOUSE_DATABASE to KAFKA_TOPIC again: those kept whole, never replayed before, and valid by the contract of today',
  )
  .requiredOption(
    '--reason <reason>',
    `why they were refused, repeatable: ${REASONS.join(', ')}`,
    (text: string, before: Reason[] = []) => [...before, parseReason(text)],
  )
  .option('--dry-run', 'send nothing, say how many would be sent', false)
  .addHelpText('after', VARIABLES_HELP)
  .allowExcessArguments(false)
  .action(async (flags: Flags) => {
    try {
      await run(readConfig(process.env), flags)
    } catch (error) {
      const message = error instanceof Error ? error.message : String(error)
      console.error(error instanceof ConfigError ? message : `replay: ${message}`)
      process.exitCode = 1
    }
  })
  .parseAsync()

function parseReason(text: string): Reason {
  const reason = REASONS.find(known => known === text)
  if (!reason) throw new InvalidArgumentError(`expected one of ${REASONS.join(', ')}`)
  return reason
}

async function run(config: Config, { reason, dryRun }: Flags): Promise<void> {
  const store = openStore(config.clickhouse)
  const sender = createKafkaSender({
    brokers: config.brokers,
    topic: config.KAFKA_TOPIC,
    client_id: 'stream-quality-replay',
  })
  try {
    if (!(await store.ping())) throw new Error(`ClickHouse cannot be reached at ${config.clickhouse.url}`)
    // Before anything is noted as replayed: what is noted and then not sent is not sent by the next run either.
    if (!dryRun) await sender.connect().catch(error => unreachable(config, error))
    let said_at_ms = Date.now()
    const report = await replay({
      store,
      reasons: [...new Set(reason)],
      dry_run: dryRun,
      limits: config.limits,
      send: messages => sender.sendRaw(messages),
      onProgress: ({ sent }) => {
        if (Date.now() - said_at_ms < SAY_EVERY_MS) return
        said_at_ms = Date.now()
        console.error(`${dryRun ? 'would send' : 'sent'} ${sent} so far`)
      },
    })
    console.log(told(report, dryRun))
  } finally {
    await Promise.allSettled([sender.disconnect(), store.close()])
  }
}

function unreachable(config: Config, error: unknown): never {
  const why = error instanceof Error ? error.message : String(error)
  throw new Error(`Kafka cannot be reached at ${config.brokers.join(',')}: ${why}`)
}

function told({ found, sent, still_refused, left_to_another }: ReplayReport, dry_run: boolean): string {
  const lines = found.map(
    ({ reason, messages, whole, replayed }) =>
      `${reason}: found ${messages}, kept whole ${whole}, already replayed ${replayed}`,
  )
  if (found.length === 0) lines.push('found nothing that was refused so')
  for (const [reason, messages] of Object.entries(still_refused)) lines.push(`still refused, ${reason}: ${messages}`)
  if (left_to_another > 0) lines.push(`left to another replay: ${left_to_another}`)
  lines.push(`${dry_run ? 'would send' : 'sent'}: ${sent}`)
  return lines.join('\n')
}
