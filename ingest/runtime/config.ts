/**
 * Configuration: environment variables in, one typed object out.
 * A value that does not fit stops the process before it touches anything, naming the variable.
 * Only the files that start a process hand `process.env` to this; nothing else reads the environment.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'

const port = z.coerce.number().int().min(1).max(65535)
const whole = (min: number, max: number) => z.coerce.number().int().min(min).max(max)
const hostPortList = z.string().regex(/^[^\s,:]+:\d{1,5}(,[^\s,:]+:\d{1,5})*$/, 'expected host:port[,host:port…]')

const gameClass = z.enum(['low', 'medium', 'high'])
/** Per game what G.1072 asks of it; a game that is not named, and a class that is not, is high. */
const gameClasses = z.record(
  z.string().min(1).max(64),
  z.strictObject({ video: gameClass.optional(), interaction: gameClass.optional() }),
)
export type GameClasses = z.infer<typeof gameClasses>
const json = z.string().transform((text, context): unknown => {
  try {
    return JSON.parse(text)
  } catch {
    context.addIssue({ code: 'custom', message: 'expected JSON' })
    return z.NEVER
  }
})

/** Every variable the project knows, with its default. Times and sizes carry their unit in the name. */
const variables = z.object({
  DATA_DIR: z.string().min(1).default('.data'),
  LOG_LEVEL: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),

  KAFKA_PORT: port.default(19092),
  KAFKA_BROKERS: hostPortList.optional(),
  KAFKA_TOPIC: z
    .string()
    .regex(/^[a-zA-Z0-9._-]{1,200}$/)
    .default('quality.events.v1'),
  KAFKA_GROUP_ID: z.string().min(1).max(200).default('quality-ingest'),
  KAFKA_PARTITIONS: whole(1, 1000).default(4),
  KAFKA_SESSION_TIMEOUT_MS: whole(1_000, 300_000).default(30_000),

  CLICKHOUSE_PORT: port.default(18123),
  CLICKHOUSE_URL: z.url({ protocol: /^https?$/ }).optional(),
  CLICKHOUSE_USER: z.string().min(1).default('default'),
  CLICKHOUSE_PASSWORD: z.string().optional(),
  CLICKHOUSE_DATABASE: z
    .string()
    .regex(/^[a-zA-Z_][a-zA-Z0-9_]{0,63}$/)
    .default('stream_quality'),

  HTTP_HOST: z.string().min(1).default('127.0.0.1'),
  HTTP_PORT: port.default(18080),
  CONSOLE_DIR: z.string().min(1).default('dist/console'),
  API_KEYS_FILE: z.string().min(1).optional(),
  API_REQUESTS_PER_SECOND: whole(1, 1_000_000).default(100),
  API_CONCURRENT_REQUESTS: whole(1, 100_000).default(64),
  ABR_LADDER: z.string().max(2_048).optional(),
  ABR_STALE_AFTER_MS: whole(1_000, 600_000).default(5_000),
  ABR_SESSIONS_MAX: whole(1, 10_000_000).default(100_000),
  ABR_PRIOR_SESSIONS_MIN: whole(3, 100_000).default(30),
  ABR_START_PERCENTILE: whole(1, 99).default(25),
  ABR_CAP_PERCENTILE: whole(1, 99).default(90),
  API_ROWS_MAX: whole(1, 1_000_000_000_000).default(200_000_000),
  INGEST_VITALS_PORT: whole(0, 65_535).default(19100),

  INGEST_FLUSH_MS: whole(10, 60_000).default(500),
  INGEST_FLUSH_ROWS: whole(1, 1_000_000).default(100_000),
  INGEST_FLUSH_BYTES: whole(1_000_000, 1_000_000_000).default(64_000_000),
  SETTLE_EVERY_MS: whole(100, 600_000).default(1_000),

  TOO_OLD_HOURS: whole(1, 8_760).default(168),
  FROM_FUTURE_SECONDS: whole(1, 86_400).default(300),
  RAW_RETENTION_DAYS: whole(1, 3_650).default(30),
  CELL_RETENTION_DAYS: whole(1, 3_650).default(30),
  MINUTE_RETENTION_DAYS: whole(1, 3_650).default(400),
  HOUR_RETENTION_DAYS: whole(1, 3_650).default(1_200),
  SESSION_RETENTION_DAYS: whole(1, 3_650).default(1_200),
  G1072_CLASSES: json.pipe(gameClasses).default({}),
})

export type Variables = z.infer<typeof variables>
export type Environment = Readonly<Record<string, string | undefined>>

export interface Config extends Variables {
  readonly brokers: readonly string[]
  /** What is refused for its time. */
  readonly limits: { readonly too_old_ms: number; readonly from_future_ms: number }
  readonly clickhouse: {
    readonly url: string
    readonly username: string
    readonly password: string
    readonly database: string
  }
}

/** A configuration nobody should start with. The message names the variable and what it would take. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

/** The file in which the local ClickHouse keeps its generated password. */
export const passwordFile = (dataDir: string): string => join(dataDir, 'clickhouse-password')

/** What cells are settled from must outlive the oldest event that may still arrive by this much, or that would be settled alone. */
const RETENTION_MARGIN_HOURS = 24
const SETTLED_FROM = {
  RAW_RETENTION_DAYS: 'raw events',
  CELL_RETENTION_DAYS: 'ten-second cells',
  MINUTE_RETENTION_DAYS: 'minutes',
  HOUR_RETENTION_DAYS: 'hours',
  SESSION_RETENTION_DAYS: 'sessions',
} as const satisfies Partial<Record<keyof Variables, string>>

/**
 * @throws ConfigError naming every variable that does not fit
 */
export function readConfig(environment: Environment): Config {
  const given = Object.fromEntries(Object.entries(environment).filter(([, value]) => value !== ''))
  const parsed = variables.safeParse(given)
  if (!parsed.success) {
    const misfits = parsed.error.issues.map(issue => `  ${issue.path.join('.')}: ${issue.message}`)
    throw new ConfigError(`configuration refused:\n${misfits.join('\n')}`)
  }
  const values = parsed.data
  const faults = Object.entries(SETTLED_FROM).flatMap(([name, what]) => {
    const days = values[name as keyof typeof SETTLED_FROM]
    return days * 24 < values.TOO_OLD_HOURS + RETENTION_MARGIN_HOURS
      ? [
          `  ${name}: ${days} days of ${what} must exceed TOO_OLD_HOURS (${values.TOO_OLD_HOURS} h) by ${RETENTION_MARGIN_HOURS} h, or late events would overwrite cells with what is left of them`,
        ]
      : []
  })
  if (faults.length > 0) throw new ConfigError(`configuration refused:\n${faults.join('\n')}`)
  return {
    ...values,
    brokers: (values.KAFKA_BROKERS ?? `127.0.0.1:${values.KAFKA_PORT}`).split(','),
    limits: { too_old_ms: values.TOO_OLD_HOURS * 3_600_000, from_future_ms: values.FROM_FUTURE_SECONDS * 1_000 },
    clickhouse: {
      url: values.CLICKHOUSE_URL ?? `http://127.0.0.1:${values.CLICKHOUSE_PORT}`,
      username: values.CLICKHOUSE_USER,
      password: values.CLICKHOUSE_PASSWORD ?? (values.CLICKHOUSE_URL ? '' : localPassword(values.DATA_DIR)),
      database: values.CLICKHOUSE_DATABASE,
    },
  }
}

function localPassword(dataDir: string): string {
  try {
    return readFileSync(passwordFile(dataDir), 'utf8').trim()
  } catch {
    return ''
  }
}
