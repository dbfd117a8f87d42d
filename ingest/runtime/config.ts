/**
 * Configuration: environment variables in, one typed object out.
 * A value that does not fit stops the process before it touches anything, naming the variable.
 * Only the files that start a process hand `process.env` to this; nothing else reads the environment.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type Variables, variables } from './variables.ts'

export type Environment = Readonly<Record<string, string | undefined>>

/** The file in which the local ClickHouse keeps its generated password. */
export const passwordFile = (dataDir: string): string => join(dataDir, 'clickhouse-password')

/** What follows from several variables. */
export const FOLLOWING = {
  brokers: ({ KAFKA_BROKERS, KAFKA_PORT }: Variables): readonly string[] =>
    (KAFKA_BROKERS ?? `127.0.0.1:${KAFKA_PORT}`).split(','),
  /** What is refused for its time. */
  limits: ({ TOO_OLD_HOURS, FROM_FUTURE_SECONDS }: Variables) => ({
    too_old_ms: TOO_OLD_HOURS * 3_600_000,
    from_future_ms: FROM_FUTURE_SECONDS * 1_000,
  }),
  clickhouse: (values: Variables) => ({
    url: values.CLICKHOUSE_URL ?? `http://127.0.0.1:${values.CLICKHOUSE_PORT}`,
    username: values.CLICKHOUSE_USER,
    password: values.CLICKHOUSE_PASSWORD ?? (values.CLICKHOUSE_URL ? '' : localPassword(values.DATA_DIR)),
    database: values.CLICKHOUSE_DATABASE,
  }),
} as const

type Following = { readonly [Name in keyof typeof FOLLOWING]: Readonly<ReturnType<(typeof FOLLOWING)[Name]>> }
export interface Config extends Variables, Following {}

/** A configuration nobody should start with. The message names the variable and what it would take. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError'
}

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
    brokers: FOLLOWING.brokers(values),
    limits: FOLLOWING.limits(values),
    clickhouse: FOLLOWING.clickhouse(values),
  }
}

function localPassword(dataDir: string): string {
  try {
    return readFileSync(passwordFile(dataDir), 'utf8').trim()
  } catch {
    return ''
  }
}
