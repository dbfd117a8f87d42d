/**
 * What nobody may ask, however spelled: to read or write the machine's files, to reach another machine, to run a program.
 *
 * Two belts. The engine's own (engine-config.ts): its only user holds grants for tables and for a list of table engines,
 * and for no source (file, url, s3, mysql …), and the few functions that need no grant are shadowed; it sees through
 * views, aliases, parameters and SQL in strings. This one answers early and clearly, and stops what the engine has no
 * grant for because in a library it is the caller's good right: INTO OUTFILE, FROM INFILE, settings that name a file or an
 * address or hide SQL in a string, a second dialect of SQL.
 */
import { Failure } from './failure.ts'
import { isNamed, isSign, isWord, type Statement } from './statement.ts'
import { lex, type Token } from './tokens.ts'

const READS = ['SELECT', 'WITH', 'FROM', 'SHOW', 'DESCRIBE', 'DESC', 'EXPLAIN', 'EXISTS', 'VALUES']
const WRITES = [
  ...['INSERT', 'CREATE', 'ALTER', 'DROP', 'UNDROP', 'TRUNCATE', 'OPTIMIZE', 'RENAME', 'EXCHANGE', 'REPLACE', 'ATTACH'],
  ...['DETACH', 'DELETE', 'UPDATE', 'CHECK', 'KILL', 'USE', 'SET', 'SYSTEM'],
]
/** Statements ClickHouse knows and this front does not pass on. */
const REFUSED = [
  'BACKUP',
  'RESTORE',
  'GRANT',
  'REVOKE',
  'EXECUTE',
  'MOVE',
  'IMPORT',
  'BEGIN',
  'COMMIT',
  'ROLLBACK',
  'WATCH',
  'EXTERNAL',
]

/** Called by these names, something outside the database is read, written or started. In lower case. */
const FUNCTIONS = new Set(
  `file filecluster filesystem url urlcluster remote remotesecure cluster clusterallreplicas s3 s3cluster gcs oss cosn hdfs
  hdfscluster executable odbc jdbc mysql postgresql mongodb redis sqlite azureblobstorage azureblobstoragecluster python
  arrowstream arrowflight ytsaurus prometheusquery prometheusqueryrange eval catboostevaluate aiclassify aigenerate aiextract
  aitranslate aiembed disk`.split(/\s+/),
)
/** deltaLakeS3Cluster, icebergLocal, hudi, paimonHDFS …: families with a member for each kind of storage. */
const FUNCTION_FAMILIES = /^(deltalake|iceberg|hudi|paimon)/

const SETTINGS = new Set(
  `dialect additional_result_filter additional_table_filters input_format_record_errors_file_path output_format_schema
  format_avro_schema_registry_url allow_experimental_eval_table_function allow_introspection_functions
  format_template_row format_template_resultset kafka_schema`.split(/\s+/),
)
const SETTING_FAMILIES =
  /^(format_schema|google_protos|parallel_replicas_custom_key|format_protobuf_use_autogen|format_capn_proto_use_autogen)/

export function mayNotSet(name: string): boolean {
  return SETTINGS.has(name.toLowerCase()) || SETTING_FAMILIES.test(name.toLowerCase())
}

const denied = (what: string): Failure =>
  Failure.of(497, `Not enough privileges. ${what} is not available on this server.`)

function refuseToken(tokens: readonly Token[], at: number): void {
  const token = tokens[at]
  if (isWord(token, 'OUTFILE') && isWord(tokens[at - 1], 'INTO')) throw denied('INTO OUTFILE')
  if (isWord(token, 'INFILE') && isWord(tokens[at - 1], 'FROM')) throw denied('FROM INFILE')
  if (!isNamed(token)) return
  const name = token.value.toLowerCase()
  const applied = isWord(tokens[at - 1], 'APPLY') || (isSign(tokens[at - 1], '(') && isWord(tokens[at - 2], 'APPLY'))
  if ((isSign(tokens[at + 1], '(') || applied) && (FUNCTIONS.has(name) || FUNCTION_FAMILIES.test(name)))
    throw denied(`Function ${token.value}`)
  if (mayNotSet(name) && isSign(tokens[at + 1], '=')) throw denied(`Setting ${name}`)
}

function refuseTokens(tokens: readonly Token[]): void {
  for (let at = 0; at < tokens.length; at++) refuseToken(tokens, at)
}

/** @throws Failure 497 (ACCESS_DENIED), 62 for no statement of ClickHouse's, 164 for a write asked by GET */
export function refuse(statement: Statement, readonly: boolean): void {
  if (REFUSED.includes(statement.verb)) throw denied(statement.verb)
  const writes =
    WRITES.includes(statement.verb) ||
    (statement.verb === 'WITH' && statement.tokens.some(token => isWord(token, 'INSERT')))
  if (!writes && !READS.includes(statement.verb))
    throw Failure.of(62, `Syntax error: failed at position 1 (${statement.verb.slice(0, 60)}).`)
  if (writes && readonly)
    throw Failure.of(
      164,
      'Cannot execute query in readonly mode. For queries over HTTP, method GET implies readonly. You should use method POST for modifying queries.',
    )
  refuseTokens(statement.tokens)
  // The structure becomes the columns of a table of ours, and a column's DEFAULT is an expression.
  for (const { structure } of statement.data?.inputs ?? []) refuseTokens(lex(structure).tokens)
}

/** True if the statement changes what later statements of the same session see. */
export function leavesATrace(statement: Statement): boolean {
  return (
    ['SET', 'USE'].includes(statement.verb) || statement.tokens.slice(0, 5).some(token => isWord(token, 'TEMPORARY'))
  )
}
