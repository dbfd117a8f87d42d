/**
 * How the embedded engine is set up: sized for one machine that runs everything, and a user who may do anything to
 * tables and nothing to the machine. What is not granted here no statement can reach, by whatever detour.
 */
const GIB = 2 ** 30
const MIB = 2 ** 20

/** Sessions for queries, more for KILL and the process list, and how many queries may wait for one. */
export const LIMITS = { sessions: 8, urgent: 2, queue: 128 }
/** Of libuv: each running query holds one; the rest are for files and compression. */
export const THREADS = LIMITS.sessions + LIMITS.urgent + 4

/** Said to every session before its first query, and again after a query that changed one of them. */
export const BASELINE: Readonly<Record<string, string>> = {
  max_memory_usage: String(4 * GIB),
  /** Answers are held in memory until sent; beyond this, code 396. */
  max_result_bytes: String(1 * GIB),
  allow_introspection_functions: '0',
  /** Without SELECT, `1 + 1` is a syntax error, as on a server. */
  implicit_select: '0',
  async_insert: '0',
  /** Bound values are said in a statement of their own and may be long. */
  max_query_size: String(16 * MIB),
}

/** Kafka is here for its table engine, which some would use in place of the ingester. */
const TABLE_ENGINES = [
  ...['MergeTree', 'ReplacingMergeTree', 'SummingMergeTree', 'AggregatingMergeTree', 'CollapsingMergeTree'],
  ...['VersionedCollapsingMergeTree', 'GraphiteMergeTree', 'CoalescingMergeTree', 'Memory', 'Null', 'View'],
  ...['MaterializedView', 'Join', 'Set', 'Buffer', 'Log', 'TinyLog', 'StripeLog', 'Merge', 'Kafka', 'Atomic'],
]

/** ALTER without FETCH, FREEZE and named collections; CREATE without dictionaries, users and collections. */
const GRANTS = [
  'GRANT SHOW, SELECT, INSERT, DROP TABLE, DROP VIEW, DROP DATABASE, UNDROP TABLE, DROP FUNCTION, TRUNCATE, OPTIMIZE, KILL QUERY, CHECK, dictGet ON *.*',
  'GRANT CREATE DATABASE, CREATE TABLE, CREATE VIEW, CREATE FUNCTION, CREATE TEMPORARY TABLE ON *.*',
  'GRANT ALTER UPDATE, ALTER DELETE, ALTER COLUMN, ALTER INDEX, ALTER STATISTICS, ALTER PROJECTION, ALTER CONSTRAINT, ALTER TTL, ALTER SETTINGS, ALTER MOVE PARTITION, ALTER VIEW ON *.*',
  'GRANT SYSTEM MERGES, SYSTEM TTL MERGES, SYSTEM MOVES, SYSTEM DROP CACHE, SYSTEM VIEWS ON *.*',
  'GRANT KAFKA ON *.*',
  ...TABLE_ENGINES.map(engine => `GRANT TABLE ENGINE ON ${engine}`),
]

/**
 * Functions that read files or call out and need no grant. A user-defined function of the same name goes before the
 * engine's, also in SQL that is in a string (the DEFAULT of a column in `format(…, 'a String DEFAULT …', …)`). SQL could
 * not define such a one, nor drop it; a file the engine loads at its start does.
 */
const SHADOWED = [
  ...['file', 'catboostEvaluate', 'aiClassify', 'aiGenerate', 'aiExtract', 'aiTranslate', 'aiEmbed'],
  ...['AIClassify', 'AIGenerate', 'AIExtract', 'AITranslate'],
]

/** File name in the engine's `user_defined` directory, and content. */
export const shadowFunctions = (): ReadonlyArray<readonly [file: string, sql: string]> =>
  SHADOWED.map(name => [
    `function_${name}.sql`,
    `CREATE FUNCTION ${name} AS x -> throwIf(true, 'Function ${name} is not available on this server')\n`,
  ])

/** Each must fail, or the walls above do not stand with this version of the engine. */
export const MUST_FAIL = [
  "SELECT file('/dev/null')",
  "SELECT * FROM file('/dev/null', LineAsString, 'a String')",
  "SELECT * FROM url('http://127.0.0.1:1/', LineAsString, 'a String')",
]

export const usersXml = (): string => `<clickhouse>
  <profiles><default/></profiles>
  <quotas><default/></quotas>
  <users><default>
    <password/><networks><ip>::/0</ip></networks><profile>default</profile><quota>default</quota>
    <grants>${GRANTS.map(grant => `\n      <query>${grant}</query>`).join('')}
    </grants>
  </default></users>
</clickhouse>
`

/**
 * Few threads and small caches: the broker, the ingester and the API live on the same machine. Merging can wait for whoever waits for an
 * answer (where the process may say so: CAP_SYS_NICE).
 */
export const configXml = (usersFile: string): string => `<clickhouse>
  <users_config>${escapeXml(usersFile)}</users_config>
  <max_server_memory_usage>${8 * GIB}</max_server_memory_usage>
  <mark_cache_size>${128 * MIB}</mark_cache_size>
  <primary_index_cache_size>${128 * MIB}</primary_index_cache_size>
  <index_mark_cache_size>${32 * MIB}</index_mark_cache_size>
  <vector_similarity_index_cache_size>0</vector_similarity_index_cache_size>
  <text_index_tokens_cache_size>0</text_index_tokens_cache_size>
  <text_index_header_cache_size>0</text_index_header_cache_size>
  <text_index_postings_cache_size>0</text_index_postings_cache_size>
  <query_condition_cache_size>${32 * MIB}</query_condition_cache_size>
  <background_pool_size>2</background_pool_size>
  <os_threads_nice_value_merge_mutate>10</os_threads_nice_value_merge_mutate>
  <background_schedule_pool_size>4</background_schedule_pool_size>
  <background_message_broker_schedule_pool_size>2</background_message_broker_schedule_pool_size>
</clickhouse>
`

const escapeXml = (text: string): string =>
  text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;')
