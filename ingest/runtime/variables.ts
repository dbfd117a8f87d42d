/**
 * Every environment variable the project knows, in groups: what it is for, what it may be, and what it is where nothing is said.
 * The only place that says so: `.env.example` is printed from here (`npm run env-example`), and whoever needs a default takes `DEFAULTS`.
 * Times and sizes carry their unit in the name.
 */
import { z } from 'zod'

const text = z.string().min(1)
const whole = (min: number, max: number) => z.coerce.number().int().min(min).max(max)
const port = whole(1, 65_535)
const hostPortList = z.string().regex(/^[^\s,:]+:\d{1,5}(,[^\s,:]+:\d{1,5})*$/, 'expected host:port[,host:port…]')

const json = z.string().transform((said, context): unknown => {
  try {
    return JSON.parse(said)
  } catch {
    context.addIssue({ code: 'custom', message: 'expected JSON' })
    return z.NEVER
  }
})
const gameClass = z.enum(['low', 'medium', 'high'])
/** Per game what G.1072 asks of it; a game that is not named, and a class that is not, is high. */
const gameClasses = z.record(
  z.string().min(1).max(64),
  z.strictObject({ video: gameClass.optional(), interaction: gameClass.optional() }),
)
export type GameClasses = z.infer<typeof gameClasses>

const GENERAL = {
  DATA_DIR: text.default('.data').describe('Where local state, logs, the generated password and key are kept'),
  LOG_LEVEL: z
    .enum(['debug', 'info', 'warn', 'error', 'silent'])
    .default('info')
    .describe('What is logged: this level and what is worse'),
}

const KAFKA = {
  KAFKA_BROKERS: hostPortList
    .optional()
    .describe('host:port,host:port of your cluster; unset: the broker on KAFKA_PORT of this machine'),
  KAFKA_PORT: port.default(19_092).describe('Port of the broker that npm start runs where KAFKA_BROKERS is not set'),
  KAFKA_TOPIC: z
    .string()
    .regex(/^[a-zA-Z0-9._-]{1,200}$/)
    .default('quality.events.v1')
    .describe('Created if missing; must have message.timestamp.type=LogAppendTime'),
  KAFKA_PARTITIONS: whole(1, 1_000).default(4).describe('Partitions of the topic, when it is created'),
  KAFKA_GROUP_ID: text
    .max(200)
    .default('quality-ingest')
    .describe('Ingesters of one group share the topic; the API follows it in groups of its own, named after this one'),
  KAFKA_SESSION_TIMEOUT_MS: whole(1_000, 300_000)
    .default(30_000)
    .describe("After so long a silence an ingester's partitions go to another"),
}

const CLICKHOUSE = {
  CLICKHOUSE_URL: z
    .url({ protocol: /^https?$/ })
    .optional()
    .describe('http(s)://host:port of your server; unset: the one on CLICKHOUSE_PORT of this machine'),
  CLICKHOUSE_PORT: port
    .default(18_123)
    .describe('Port of the embedded ClickHouse that npm start runs where CLICKHOUSE_URL is not set'),
  CLICKHOUSE_USER: text.default('default').describe('Who makes the tables, writes and asks'),
  CLICKHOUSE_PASSWORD: z
    .string()
    .optional()
    .describe('Unset, and without CLICKHOUSE_URL: the generated one, DATA_DIR/clickhouse-password'),
  CLICKHOUSE_DATABASE: z
    .string()
    .regex(/^[a-zA-Z_][a-zA-Z0-9_]{0,63}$/)
    .default('stream_quality')
    .describe('Created if missing'),
}

const INGESTER = {
  INGEST_VITALS_HOST: text
    .default('127.0.0.1')
    .describe("Address of the ingester's /metrics, /livez and /readyz, which ask for no key"),
  INGEST_VITALS_PORT: whole(0, 65_535).default(19_100).describe('Their port; 0: any free one'),
  INGEST_FLUSH_MS: whole(10, 60_000)
    .default(500)
    .describe('A batch is sent at this age at the latest (2 s while a backlog is worked off)'),
  INGEST_FLUSH_ROWS: whole(1, 1_000_000).default(100_000).describe('A batch is sent at this many rows at the latest'),
  INGEST_FLUSH_BYTES: whole(1_000_000, 1_000_000_000)
    .default(64_000_000)
    .describe('A batch is sent at this many bytes of messages at the latest'),
  SETTLE_EVERY_MS: whole(100, 600_000)
    .default(1_000)
    .describe(
      'How often the ingester looks for buckets of ten seconds to settle; for coarser ones it looks more rarely',
    ),
}

const REFUSED_AND_KEPT = {
  TOO_OLD_HOURS: whole(1, 8_760)
    .default(168)
    .describe('Events that began longer before they were appended are refused'),
  FROM_FUTURE_SECONDS: whole(1, 86_400)
    .default(300)
    .describe('Events that began so much after they were appended are refused'),
  RAW_RETENTION_DAYS: whole(1, 3_650)
    .default(30)
    .describe('How long raw events are kept; like those below it must exceed TOO_OLD_HOURS by a day'),
  CELL_RETENTION_DAYS: whole(1, 3_650).default(30).describe('How long ten-second cells and the cube are kept'),
  MINUTE_RETENTION_DAYS: whole(1, 3_650).default(400).describe('How long cells of minutes are kept'),
  HOUR_RETENTION_DAYS: whole(1, 3_650).default(1_200).describe('How long cells of hours are kept'),
  SESSION_RETENTION_DAYS: whole(1, 3_650).default(1_200).describe('How long sessions are kept, one row each'),
}

const API = {
  HTTP_HOST: text.default('127.0.0.1').describe('Address the query API listens at'),
  HTTP_PORT: port.default(18_080).describe('Port the query API listens at'),
  CONSOLE_DIR: text
    .default('dist/console')
    .describe('Where npm run console puts the console that is served at /; npm start builds its own'),
  API_KEYS_FILE: text
    .optional()
    .describe("JSON list of keys' hashes and scopes (npm run key); unset: one key, DATA_DIR/dev-key, may do all"),
  API_REQUESTS_PER_SECOND: whole(1, 1_000_000)
    .default(100)
    .describe('Requests of one key, on average over 10 s; its entry in API_KEYS_FILE may say otherwise'),
  API_CONCURRENT_REQUESTS: whole(1, 100_000)
    .default(64)
    .describe('Requests of one key at once; its entry in API_KEYS_FILE may say otherwise'),
  API_ROWS_MAX: whole(1, 1_000_000_000_000)
    .default(200_000_000)
    .describe('Rows that one question may read, as estimated; more is refused (422)'),
}

const ABR = {
  ABR_LADDER: text
    .max(2_048)
    .default(
      '360p60-1m:1000,540p60-2.5m:2500,720p60-5m:5000,1080p60-10m:10000,1080p60-15m:15000,1440p60-25m:25000,2160p60-40m:40000',
    )
    .describe('Steps that are recommended, name:kbps ascending'),
  ABR_STALE_AFTER_MS: whole(1_000, 600_000)
    .default(5_000)
    .describe('An answer older than this says that it is stale, and what is safe to do'),
  ABR_SESSIONS_MAX: whole(1, 10_000_000).default(100_000).describe('Live sessions kept in memory, 7 kB each'),
  ABR_PRIOR_SESSIONS_MIN: whole(3, 100_000)
    .default(30)
    .describe('Sessions that a cohort needs to speak for others like them'),
  ABR_START_PERCENTILE: whole(1, 99)
    .default(25)
    .describe('Percentile of what the cohort sustained at which a session should begin'),
  ABR_CAP_PERCENTILE: whole(1, 99)
    .default(90)
    .describe('Percentile of what the cohort sustained that a session should stay below'),
}

const SCORE = {
  G1072_CLASSES: json
    .pipe(gameClasses)
    .default({})
    .describe(
      'Per game what the opinion score takes it for, low, medium or high (not named: high), as JSON: {"chess":{"video":"low","interaction":"low"}}; cells keep the score they were settled with',
    ),
}

export const GROUPS = {
  'Every process': GENERAL,
  Kafka: KAFKA,
  ClickHouse: CLICKHOUSE,
  'The ingester': INGESTER,
  'What is refused for its time, and how long what is stored is kept: the same for every process': REFUSED_AND_KEPT,
  'The query API': API,
  'What bitrate logic is told': ABR,
  'The opinion score: the same for every process': SCORE,
} as const

export const variables = z.object({
  ...{ ...GENERAL, ...KAFKA, ...CLICKHOUSE, ...INGESTER, ...REFUSED_AND_KEPT, ...API, ...ABR, ...SCORE },
})
export type Variables = z.infer<typeof variables>

/** Where nothing is said. */
export const DEFAULTS: Variables = variables.parse({})

/** Ends the help of whatever reads them. */
export const VARIABLES_HELP =
  '\nEnvironment variables: .env.example says what each is for, what it may be, and its default.'
