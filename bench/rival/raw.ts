/**
 * The rival: ClickHouse's own Kafka engine, as a good engineer would set it up to store what our ingester stores. Raw rows have the
 * columns, types, codecs and order of `events_v1`, but for what it cannot know: refusals, shifted clocks, gaps.
 * It checks nothing and delivers at least once; fsync is left out, which only favours it.
 */
import { CONTEXT_FIELDS, STAGES } from '../../ingest/contract/events.ts'
import { FRUITLESS_PASSES } from '../../ingest/store/clickhouse.ts'
import { INGESTERS } from '../stage.ts'

/** `best`: whole messages, one JSONExtract for all fields. `manual`: as the manual has it, a typed column a field. */
export type Form = 'best' | 'manual'

export interface Source {
  readonly brokers: string
  readonly topic: string
  readonly group: string
}

export const RIVAL_EVENTS = 'rival_events'
const QUEUE = 'rival_queue'

/** Of `events_v1`, what only a checking ingester can tell. */
const UNKNOWN_TO_IT = [
  ...['log_id', 'offsets', 'clock_shift_ms', 'extensions'],
  ...['detail', 'kafka_key', 'bytes', 'bytes_total'],
]

const OPTIONAL_32 = 'Nullable(UInt32)'
const tuple = (fields: Readonly<Record<string, string>>): string =>
  `Tuple(${Object.entries(fields)
    .map(([name, type]) => `${name} ${type}`)
    .join(', ')})`
const each = (names: readonly string[], type: string): Record<string, string> =>
  Object.fromEntries(names.map(name => [name, type]))

/** A message's fields as the contract has them, in the types of the columns they go to. */
const FIELDS: Readonly<Record<string, string>> = {
  kind: "Enum8('frame_times' = 1, 'bitrate' = 2, 'session' = 3, 'abr_decision' = 4)",
  session_id: 'UUID',
  source: "Enum8('' = 0, 'client' = 1, 'host' = 2, 'controller' = 3)",
  seq: 'UInt32',
  started_at_ms: 'Int64',
  sent_at_ms: 'Int64',
  context: tuple(each(CONTEXT_FIELDS, 'LowCardinality(String)')),
  target_fps: 'UInt16',
  frame_time_us: 'Array(UInt32)',
  open_frame_us: OPTIONAL_32,
  final: 'Bool',
  paused: 'Bool',
  frames_dropped: OPTIONAL_32,
  frames_generated: OPTIONAL_32,
  stage_us: tuple(each(STAGES, OPTIONAL_32)),
  input_latency_us: OPTIONAL_32,
  interval_ms: 'UInt32',
  bitrate_kbps: 'UInt32',
  target_bitrate_kbps: OPTIONAL_32,
  available_kbps: OPTIONAL_32,
  rung: 'LowCardinality(String)',
  rung_switches: 'Nullable(UInt16)',
  width: 'Nullable(UInt16)',
  height: 'Nullable(UInt16)',
  encoded_fps: 'Nullable(UInt16)',
  rtt_us: OPTIONAL_32,
  jitter_us: OPTIONAL_32,
  packets_received: OPTIONAL_32,
  packets_lost: OPTIONAL_32,
  state: "Enum8('' = 0, 'connecting' = 1, 'first_frame' = 2, 'ended' = 3)",
  startup_ms: OPTIONAL_32,
  end_reason:
    "Enum8('' = 0, 'user_quit' = 1, 'network' = 2, 'host_failure' = 3, 'client_crash' = 4, 'timeout' = 5, 'unknown' = 6)",
  decision_id: 'UUID',
  policy: 'LowCardinality(String)',
  policy_version: 'LowCardinality(String)',
  from_rung: 'LowCardinality(String)',
  to_rung: 'LowCardinality(String)',
  as_of_ms: 'Nullable(Int64)',
  reason: 'LowCardinality(String)',
}

/** Those that are columns by another name, or several. */
const RESHAPED = ['started_at_ms', 'sent_at_ms', 'as_of_ms', 'context', 'stage_us']

/** Column of the table → SQL over a message's fields, each by `field`. */
const columnsOf = (field: (name: string) => string): Readonly<Record<string, string>> => ({
  kafka_partition: '_partition',
  kafka_offset: '_offset',
  appended_at: 'assumeNotNull(_timestamp_ms)',
  ingested_at: "now64(3, 'UTC')",
  at: `fromUnixTimestamp64Milli(${field('started_at_ms')}, 'UTC')`,
  sent_at: `fromUnixTimestamp64Milli(${field('sent_at_ms')}, 'UTC')`,
  as_of: `fromUnixTimestamp64Milli(${field('as_of_ms')}, 'UTC')`,
  ...Object.fromEntries(CONTEXT_FIELDS.map(name => [name, `tupleElement(${field('context')}, '${name}')`])),
  ...Object.fromEntries(STAGES.map(name => [`stage_${name}_us`, `tupleElement(${field('stage_us')}, '${name}')`])),
  ...Object.fromEntries(
    Object.keys(FIELDS)
      .filter(name => !RESHAPED.includes(name))
      .map(name => [name, field(name)]),
  ),
})

/** Behind a view's SELECT, which is read again for each block: what spares ours spares it as well. */
export const VIEW_SETTINGS = `SETTINGS ${Object.entries(FRUITLESS_PASSES)
  .map(([name, value]) => `${name} = ${value}`)
  .join(', ')}`

const select = (field: (name: string) => string, from: string): string =>
  `SELECT ${Object.entries(columnsOf(field))
    .map(([name, sql]) => `${sql} AS ${name}`)
    .join(', ')} FROM ${from}`

/** Blocks as large as ours, a consumer and thread for each of ours. The flush is for when little comes. */
const engine = ({ brokers, topic, group }: Source, format: string): string => `ENGINE = Kafka
SETTINGS kafka_broker_list = '${brokers}', kafka_topic_list = '${topic}', kafka_group_name = '${group}', kafka_format = '${format}',
  kafka_num_consumers = ${INGESTERS}, kafka_thread_per_consumer = 1, kafka_max_block_size = 100000, kafka_poll_max_batch_size = 100000, kafka_flush_interval_ms = 500`

/** The table of raw rows. Nothing is consumed before `consuming`. */
export const rawTable = (): string[] => [
  `CREATE TABLE ${RIVAL_EVENTS} AS events_v1`,
  `ALTER TABLE ${RIVAL_EVENTS} ${UNKNOWN_TO_IT.map(name => `DROP COLUMN ${name}`).join(', ')}`,
  `ALTER TABLE ${RIVAL_EVENTS} MODIFY SETTING fsync_after_insert = 0, fsync_part_directory = 0`,
]

/** The queue, then the view that starts it. */
export function consuming(form: Form, source: Source): string[] {
  // Strings, as the manual would have them: they become dictionaries in the table.
  const typed = Object.entries({ v: 'UInt8', ...FIELDS }).map(
    ([name, type]) => `${name} ${type.replaceAll('LowCardinality(String)', 'String')}`,
  )
  return form === 'best'
    ? [
        `CREATE TABLE ${QUEUE} (message String) ${engine(source, 'RawBLOB')}`,
        `CREATE MATERIALIZED VIEW rival_consumer TO ${RIVAL_EVENTS} AS ${select(
          name => `tupleElement(said, '${name}')`,
          `(SELECT JSONExtract(message, '${tuple(FIELDS).replaceAll("'", "\\'")}') AS said, _partition, _offset, _timestamp_ms FROM ${QUEUE})`,
        )} ${VIEW_SETTINGS}`,
      ]
    : [
        `CREATE TABLE ${QUEUE} (${typed.join(', ')}) ${engine(source, 'JSONEachRow')}`,
        `CREATE MATERIALIZED VIEW rival_consumer TO ${RIVAL_EVENTS} AS ${select(name => name, QUEUE)} ${VIEW_SETTINGS}`,
      ]
}
