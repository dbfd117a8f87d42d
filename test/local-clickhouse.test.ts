/**
 * The local ClickHouse: the embedded engine behind HTTP, held against what the stock client expects of a server, against
 * what nobody may do with it, and against being killed. Every test speaks to a real process over a real socket.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { type IncomingHttpHeaders, request } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { gunzipSync, gzipSync } from 'node:zlib'
import { type ClickHouseClient, createClient } from '@clickhouse/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { passwordFile } from '../ingest/runtime/config.ts'
import { understand } from '../local/clickhouse/statement.ts'

const MAIN = resolve(import.meta.dirname, '../local/clickhouse/main.ts')
const WAIT_MS = 30_000
const ONE_BLOCK = 'max_insert_threads = 1, min_insert_block_size_rows = 100000000, min_insert_block_size_bytes = 0'

interface Started {
  readonly child: ChildProcess
  readonly port: number
  readonly dataDir: string
  readonly client: ClickHouseClient
  password(): string
  output(): string
}

const started: ChildProcess[] = []
const directories: string[] = []

function freshDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'local-clickhouse-'))
  directories.push(directory)
  return directory
}

async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** @param threads given, the process is the server itself; else it makes one */
function launch(dataDir: string, port: number, threads?: string): { child: ChildProcess; output(): string } {
  const { UV_THREADPOOL_SIZE: _, ...inherited } = process.env
  const env = { ...inherited, DATA_DIR: dataDir, CLICKHOUSE_PORT: String(port), LOG_LEVEL: 'info' }
  const child = spawn(process.execPath, ['--import', 'tsx', MAIN], {
    env: threads === undefined ? env : { ...env, UV_THREADPOOL_SIZE: threads },
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  started.push(child)
  let output = ''
  child.stderr.on('data', chunk => {
    output += chunk
  })
  return { child, output: () => output }
}

async function start(dataDir = freshDirectory(), threads: string | undefined = '16'): Promise<Started> {
  const port = await freePort()
  const { child, output } = launch(dataDir, port, threads)
  await until('the server is ready', () => {
    if (child.exitCode !== null) throw new Error(`the server ended: ${output()}`)
    return output().includes('clickhouse_ready')
  })
  const password = () => readFileSync(passwordFile(dataDir), 'utf8').trim()
  const client = createClient({ url: `http://127.0.0.1:${port}`, password: password(), log: { level: 127 } })
  return { child, port, dataDir, client, password, output }
}

async function until(what: string, reached: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + WAIT_MS
  while (!(await reached())) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`)
    await new Promise(done => setTimeout(done, 20))
  }
}

async function ended(child: ChildProcess): Promise<number | string | null> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  return child.exitCode ?? child.signalCode
}

interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly bytes: Buffer
  readonly body: string
}

interface Sent {
  readonly method?: string
  readonly params?: Record<string, string>
  readonly headers?: Record<string, string>
  readonly body?: string | Buffer
  readonly path?: string
}

/** A request without the stock client in between, as curl would send it. */
function send(server: Started, sent: Sent): Promise<Reply> {
  const search = new URLSearchParams(sent.params).toString()
  return new Promise((resolve, reject) => {
    const call = request(
      {
        host: '127.0.0.1',
        port: server.port,
        method: sent.method ?? 'POST',
        path: `${sent.path ?? '/'}${search && `?${search}`}`,
        headers: { 'X-ClickHouse-User': 'default', 'X-ClickHouse-Key': server.password(), ...sent.headers },
      },
      response => {
        const chunks: Buffer[] = []
        response.on('data', chunk => chunks.push(chunk))
        response.on('end', () => {
          const bytes = Buffer.concat(chunks)
          resolve({ status: response.statusCode ?? 0, headers: response.headers, bytes, body: bytes.toString('utf8') })
        })
      },
    )
    call.on('error', reject)
    call.end(sent.body)
  })
}

/** Where the rows of requests wait, by the pid of the server they are for. */
function spools({ dataDir, child }: Started): string[] {
  const places = ['/dev/shm', join(dataDir, 'clickhouse')].filter(place => existsSync(place))
  return places.flatMap(place => readdirSync(place)).filter(name => name.startsWith(`clickhouse-spool-${child.pid}-`))
}

const ask = async (server: Started, query: string): Promise<string> => (await send(server, { body: query })).body.trim()

async function rows<T>(server: Started, query: string, query_params: Record<string, unknown> = {}): Promise<T[]> {
  const result = await server.client.query({ query, query_params, format: 'JSONEachRow' })
  return result.json<T>()
}

async function running(server: Started, comment: string): Promise<string[]> {
  const query = "SELECT query_id FROM system.processes WHERE Settings['log_comment'] = {comment:String}"
  return (await rows<{ query_id: string }>(server, query, { comment })).map(row => row.query_id)
}

/** One Native block, made by the engine itself. */
async function nativeBlock(server: Started, count: number): Promise<Buffer> {
  const query = `SELECT number AS id, toString(cityHash64(number)) AS name FROM numbers(${count}) SETTINGS max_block_size = ${count}, max_threads = 1 FORMAT Native`
  return (await send(server, { body: query })).bytes
}

let server: Started

beforeAll(async () => {
  server = await start()
  await server.client.command({ query: 'CREATE DATABASE t' })
}, WAIT_MS)

afterAll(async () => {
  await server.client.close()
  for (const child of started) child.kill('SIGTERM')
  await Promise.all(started.map(ended))
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
})

describe('the stock client', () => {
  it('reads back what it inserted, compressed both ways', async () => {
    const client = createClient({
      url: `http://127.0.0.1:${server.port}/t`,
      password: server.password(),
      compression: { request: true, response: true },
    })
    await client.command({
      query: 'CREATE TABLE plain (id UInt32, name String, at DateTime64(3)) ENGINE = MergeTree ORDER BY id',
    })
    const values = [
      { id: 1, name: 'a\'b"c\\d\te\nf', at: '2026-01-02 03:04:05.678' },
      { id: 2, name: '☃; -- DROP', at: '2026-01-02 03:04:06.000' },
    ]
    const { summary } = await client.insert({ table: 'plain', values, format: 'JSONEachRow' })
    expect(summary?.written_rows).toBe('2')
    const result = await client.query({ query: 'SELECT * FROM plain ORDER BY id', format: 'JSONEachRow' })
    expect(await result.json()).toEqual(values)
    expect(await client.ping()).toEqual({ success: true })
    await client.close()
  })

  it('streams rows in through exec, and in CSV through insert', async () => {
    await server.client.command({
      query: 'CREATE TABLE t.streamed (id UInt32, name String) ENGINE = MergeTree ORDER BY id',
    })
    const { stream } = await server.client.exec({
      query: 'INSERT INTO t.streamed FORMAT JSONEachRow',
      values: Readable.from(['{"id":1,"name":"x;y"}\n', '{"id":2,', '"name":"z"}']),
    })
    await text(stream)
    await server.client.insert({
      table: 't.streamed',
      values: Readable.from(['3,"a\nb"\n', '4,c\n'], { objectMode: false }),
      format: 'CSV',
    })
    expect(await ask(server, 'SELECT groupArray((id, name)) FROM (SELECT * FROM t.streamed ORDER BY id)')).toBe(
      "[(1,'x;y'),(2,'z'),(3,'a\\nb'),(4,'c')]",
    )
  })

  it('binds every value as ClickHouse does, whatever characters it has', async () => {
    const nasty = 'q\' d" b` back\\slash \\N \\t tab\t line\nreturn\r null {v:String} ; -- /* # $$ ☃ 😀 \\'
    const cases: ReadonlyArray<readonly [type: string, value: unknown, expected: unknown]> = [
      ['String', nasty, nasty],
      ['String', '', ''],
      ['String', '\\N', '\\N'],
      ['Nullable(String)', null, null],
      ['Array(String)', [nasty, '', "'"], [nasty, '', "'"]],
      ['Array(Nullable(String))', [null, 'NULL'], [null, 'NULL']],
      ['Map(String, String)', { [nasty]: nasty }, { [nasty]: nasty }],
      ['DateTime64(3)', new Date('2026-01-02T03:04:05.678Z'), '2026-01-02 03:04:05.678'],
      ['DateTime64(3)', '2026-01-02 03:04:05.678', '2026-01-02 03:04:05.678'],
      ['Int64', -42n, -42],
      ['Bool', true, true],
    ]
    for (const [type, value, expected] of cases)
      expect(await rows(server, `SELECT {v:${type}} AS v`, { v: value })).toEqual([{ v: expected }])
    await server.client.command({ query: 'CREATE TABLE t.`od``d` (`a b` UInt8) ENGINE = Memory' })
    await server.client.command({
      query: 'INSERT INTO {db:Identifier}.{table:Identifier} SELECT 7',
      query_params: { db: 't', table: 'od`d' },
    })
    expect(await ask(server, 'SELECT `a b` FROM t.`od``d`')).toBe('7')
  })

  it('is told when a placeholder has no value, even if an earlier query had one', async () => {
    for (let turn = 0; turn < 12; turn++) await rows(server, 'SELECT {leftover:String} AS v', { leftover: 'x' })
    await expect(rows(server, 'SELECT {leftover:String} AS v')).rejects.toMatchObject({ code: '456' })
  })

  it('may send its parameters in a form', async () => {
    const query = 'SELECT {a:String} AS a, {b:Array(UInt8)} AS b'
    const result = await server.client.query({
      query,
      query_params: { a: "l\n'\\", b: [1, 2] },
      use_multipart_params: true,
      format: 'JSONEachRow',
    })
    expect(await result.json()).toEqual([{ a: "l\n'\\", b: [1, 2] }])
  })
})

describe('the HTTP interface', () => {
  it('takes the query from the URL, the body, or both', async () => {
    expect((await send(server, { method: 'GET', params: { query: 'SELECT 1' } })).body).toBe('1\n')
    expect((await send(server, { body: 'SELECT 2;' })).body).toBe('2\n')
    expect((await send(server, { params: { query: 'SELECT' }, body: '3' })).body).toBe('3\n')
  })

  it('answers in the format of the clause, the URL or the header, in that order', async () => {
    const params = { default_format: 'JSONEachRow' }
    const headers = { 'X-ClickHouse-Format': 'CSV' }
    expect((await send(server, { body: "SELECT 'a' AS x FORMAT TSVWithNames", params, headers })).body).toBe('x\na\n')
    expect((await send(server, { body: "SELECT 'a' AS x", params, headers })).body).toBe('{"x":"a"}\n')
    const csv = await send(server, { body: "SELECT 'a' AS x", headers })
    expect(csv.body).toBe('"a"\n')
    expect(csv.headers['x-clickhouse-format']).toBe('CSV')
    expect(csv.headers['content-type']).toMatch(/^text\/csv/)
  })

  it('applies other URL parameters as settings of that one query', async () => {
    const query = "SELECT getSetting('max_threads'), getSetting('log_comment'), getSetting('max_memory_usage')"
    const usual = await ask(server, query)
    const params = { max_threads: '7', log_comment: "it's \\ mine", max_memory_usage: '123456789' }
    for (let turn = 0; turn < 12; turn++) {
      expect((await send(server, { body: query, params })).body).toBe("7\tit\\'s \\\\ mine\t123456789\n")
      expect(await ask(server, query)).toBe(usual)
    }
    expect(usual).toMatch(/\t4294967296$/)
  })

  it('forgets what SET, USE and a temporary table did', async () => {
    await ask(server, 'SET max_threads = 9')
    await ask(server, 'USE t')
    await ask(server, 'CREATE TEMPORARY TABLE gone (a UInt8)')
    expect(await ask(server, "SELECT currentDatabase(), getSetting('max_threads') = 9")).toBe('default\t0')
    expect(await ask(server, 'SELECT * FROM gone')).toMatch(/^Code: 60\./)
  })

  it('uses the database it was told, and says when there is none', async () => {
    expect((await send(server, { body: 'SELECT currentDatabase()', params: { database: 't' } })).body).toBe('t\n')
    expect((await send(server, { body: 'SELECT 1', params: { database: 'no`pe' } })).status).toBe(404)
    expect(await ask(server, 'SELECT currentDatabase()')).toBe('default')
  })

  it('unpacks a gzip body and packs the answer only when asked', async () => {
    const body = gzipSync("SELECT repeat('x', 10000)")
    const params = { enable_http_compression: '1' }
    const packed = await send(server, {
      body,
      params,
      headers: { 'Content-Encoding': 'gzip', 'Accept-Encoding': 'gzip' },
    })
    expect(packed.headers['content-encoding']).toBe('gzip')
    expect(gunzipSync(packed.bytes).length).toBe(10_001)
    const bare = await send(server, { body, headers: { 'Content-Encoding': 'gzip', 'Accept-Encoding': 'gzip' } })
    expect(bare.headers['content-encoding']).toBeUndefined()
    expect(bare.bytes.length).toBe(10_001)
    expect((await send(server, { body: 'not gzip', headers: { 'Content-Encoding': 'gzip' } })).status).toBe(500)
  })

  it('answers faults with the status, code, name and headers of a server', async () => {
    const cases: ReadonlyArray<readonly [query: string, status: number, code: number, name: string]> = [
      ['SELECT * FROM t.nope', 404, 60, 'UNKNOWN_TABLE'],
      ['SELECT * FROM nope.nope', 404, 81, 'UNKNOWN_DATABASE'],
      ['SELECT nope', 404, 47, 'UNKNOWN_IDENTIFIER'],
      ['SELEC 1', 400, 62, 'SYNTAX_ERROR'],
      ['SELECT 1; SELECT 2', 400, 62, 'SYNTAX_ERROR'],
      ["SELECT 'open", 400, 62, 'SYNTAX_ERROR'],
      ['', 400, 62, 'SYNTAX_ERROR'],
      ["SELECT toUInt8('x')", 400, 6, 'CANNOT_PARSE_TEXT'],
      ['SELECT throwIf(1)', 500, 395, 'FUNCTION_THROW_IF_VALUE_IS_NON_ZERO'],
      ['SELECT 1 SETTINGS no_such = 1', 404, 115, 'UNKNOWN_SETTING'],
    ]
    for (const [query, status, code, name] of cases) {
      const reply = await send(server, { body: query, params: { query_id: 'mine' } })
      expect([query, reply.status, reply.headers['x-clickhouse-exception-code']]).toEqual([query, status, String(code)])
      expect(reply.body).toMatch(new RegExp(`^Code: ${code}\\. DB::Exception: [\\s\\S]*\\(${name}\\) \\(version `))
    }
  })

  it('says which query it answered, and what it read', async () => {
    const { headers } = await send(server, { body: 'SELECT * FROM numbers(10)', params: { query_id: 'my-id' } })
    expect(headers['x-clickhouse-query-id']).toBe('my-id')
    expect(headers['x-clickhouse-timezone']).toBe('UTC')
    expect(headers['x-clickhouse-server-display-name']).toBeTruthy()
    expect(JSON.parse(String(headers['x-clickhouse-summary']))).toMatchObject({ read_rows: '10', written_rows: '0' })
    expect(await ask(server, "SELECT timezone(), now() = toDateTime(now(), 'UTC')")).toBe('UTC\t1')
  })

  it('changes nothing by GET', async () => {
    const params = { query: 'CREATE TABLE t.by_get (a UInt8) ENGINE = Memory' }
    expect((await send(server, { method: 'GET', params })).headers['x-clickhouse-exception-code']).toBe('164')
    expect(await ask(server, 'EXISTS t.by_get')).toBe('0')
  })
})

describe('who may ask', () => {
  it('answers /ping to anybody and a query only to who has the password', async () => {
    const nobody = { 'X-ClickHouse-User': 'default', 'X-ClickHouse-Key': '' }
    expect(await send(server, { method: 'GET', path: '/ping', headers: nobody })).toMatchObject({
      status: 200,
      body: 'Ok.\n',
    })
    const wrong: ReadonlyArray<Record<string, string>> = [
      nobody,
      { 'X-ClickHouse-User': 'default', 'X-ClickHouse-Key': `${server.password()}x` },
      { 'X-ClickHouse-User': 'admin', 'X-ClickHouse-Key': server.password() },
    ]
    for (const headers of wrong) {
      const reply = await send(server, { body: 'SELECT 1', headers })
      expect(reply).toMatchObject({ status: 401, headers: { 'x-clickhouse-exception-code': '516' } })
      expect(reply.body).not.toContain(server.password())
    }
  })

  it('takes the password from Basic, from headers and from the URL', async () => {
    const basic = `Basic ${Buffer.from(`default:${server.password()}`).toString('base64')}`
    const url = `http://127.0.0.1:${server.port}/?query=SELECT+1`
    expect((await fetch(url, { headers: { Authorization: basic } })).status).toBe(200)
    expect((await fetch(`${url}&user=default&password=${server.password()}`)).status).toBe(200)
    expect((await fetch(url)).status).toBe(401)
  })

  it('refuses a Host that is not the loopback', async () => {
    for (const Host of ['evil.example', `evil.example:${server.port}`, '127.0.0.1.evil.example'])
      expect((await send(server, { method: 'GET', params: { query: 'SELECT 1' }, headers: { Host } })).status).toBe(403)
    for (const Host of ['localhost', `[::1]:${server.port}`, '127.0.0.1:1'])
      expect((await send(server, { method: 'GET', params: { query: 'SELECT 1' }, headers: { Host } })).status).toBe(200)
  })

  it('keeps the password where only its owner can read it, and out of the log', () => {
    expect(statSync(passwordFile(server.dataDir)).mode & 0o777).toBe(0o600)
    expect(server.output()).not.toContain(server.password())
  })
})

describe('what nobody may do', () => {
  const FORBIDDEN: readonly string[] = [
    "SELECT * FROM file('/etc/hostname', LineAsString)",
    "SELECT * FROM FiLe ('/etc/hostname', LineAsString)",
    "SELECT * FROM/**/file/* ( */('/etc/hostname', LineAsString)",
    "SELECT * FROM -- (\n`file`\n('/etc/hostname', LineAsString)",
    'SELECT * FROM "fi\\x6ce"(\'/etc/hostname\', LineAsString)',
    "SELECT file('/etc/hostname')",
    "SELECT `fi\\Nle`('/etc/hostname')",
    "SELECT arrayMap(x -> `file`(x), ['/etc/hostname'])",
    "SELECT * APPLY(file) FROM (SELECT '/etc/hostname')",
    "SELECT * APPLY file FROM (SELECT '/etc/hostname')",
    "WITH '/etc/hostname' AS p SELECT file(p)",
    'CREATE FUNCTION sly AS p -> file(p)',
    "CREATE VIEW t.sly AS SELECT * FROM file('/etc/hostname', LineAsString)",
    "DESCRIBE TABLE file('/etc/hostname', LineAsString)",
    "EXPLAIN SELECT * FROM file('/etc/hostname', LineAsString)",
    "INSERT INTO FUNCTION file('/tmp/sly.csv', CSV, 'a UInt8') SELECT 1",
    "INSERT INTO TABLE FUNCTION/**/url('http://127.0.0.1:1/', CSV, 'a UInt8') VALUES (1)",
    'SELECT * FROM default.`/etc/hostname`',
    "SELECT * FROM '/etc/hostname'",
    'SELECT * FROM "/etc/passwd"',
    "SELECT * FROM url('http://127.0.0.1:1/', CSV)",
    "SELECT * FROM loop(url('http://127.0.0.1:1/', CSV, 'a UInt8'))",
    "SELECT * FROM remote('127.0.0.1:1', system.one)",
    "SELECT * FROM remoteSecure('127.0.0.1:1', system.one)",
    "SELECT * FROM cluster('default', system.one)",
    "SELECT * FROM s3('http://127.0.0.1:1/a', CSV)",
    "SELECT * FROM hdfs('hdfs://127.0.0.1:1/a', CSV)",
    "SELECT * FROM executable('id', TSV, 'a String')",
    "SELECT * FROM mysql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM postgresql('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "SELECT * FROM mongodb('127.0.0.1:1', 'a', 'b', 'c', 'd', 'a String')",
    "SELECT * FROM redis('127.0.0.1:1', 'a', 'a String')",
    "SELECT * FROM sqlite('/tmp/a.db', 'a')",
    "SELECT * FROM odbc('DSN=a', 'a', 'b')",
    "SELECT * FROM jdbc('a', 'b', 'c')",
    "SELECT * FROM azureBlobStorage('a', 'b', 'c')",
    "SELECT * FROM deltaLake('http://127.0.0.1:1/a')",
    "SELECT * FROM icebergLocal('/tmp/a')",
    "SELECT * FROM iceberg('http://127.0.0.1:1/a')",
    "SELECT * FROM python('a')",
    "SELECT * FROM filesystem('/etc')",
    "SELECT * FROM eval('SELECT 1')",
    "SELECT 1 INTO OUTFILE '/tmp/sly.csv'",
    "SELECT 1 INTO/**/OutFile '/tmp/sly.csv'",
    "INSERT INTO t.sly FROM INFILE '/etc/hostname' FORMAT LineAsString",
    "BACKUP DATABASE t TO File('/tmp/sly')",
    "RESTORE DATABASE t FROM File('/tmp/sly')",
    'CREATE TABLE t.sly (a String) ENGINE = File(CSV)',
    "CREATE TABLE t.sly (a String) ENGINE = URL('http://127.0.0.1:1/', CSV)",
    "CREATE TABLE t.sly (a String) ENGINE = `S3`('http://127.0.0.1:1/a', CSV)",
    "CREATE TABLE t.sly (a String) ENGINE = MySQL('127.0.0.1:1', 'a', 'b', 'c', 'd')",
    "CREATE TABLE t.sly (a String) ENGINE = Executable('id', TSV)",
    'CREATE TABLE t.sly (a String) ENGINE = Distributed(default, system, one)',
    "CREATE TABLE t.sly (a String) ENGINE = MergeTree ORDER BY a SETTINGS disk = disk(type = local, path = '/tmp/sly/')",
    "CREATE DATABASE sly ENGINE = Filesystem('/etc')",
    "CREATE DATABASE sly ENGINE = MySQL('127.0.0.1:1', 'a', 'b', 'c')",
    "CREATE DATABASE sly ENGINE = SQLite('/tmp/a.db')",
    "CREATE DICTIONARY t.sly (a String) PRIMARY KEY a SOURCE(FILE(path '/etc/hostname' format TSV)) LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE DICTIONARY t.sly (a String) PRIMARY KEY a SOURCE(EXECUTABLE(command 'id' format TSV)) LAYOUT(FLAT()) LIFETIME(0)",
    "CREATE NAMED COLLECTION sly AS url = 'http://127.0.0.1:1/'",
    "CREATE USER sly IDENTIFIED BY 'x'",
    'GRANT ALL ON *.* TO default',
    'SYSTEM SHUTDOWN',
    'SYSTEM /* */ KILL',
    "SELECT 1 SETTINGS additional_result_filter = 'file(\\'/etc/hostname\\') != 1'",
    "SELECT 1 AS x FORMAT Template SETTINGS `format_template_row` = '/etc/hostname'",
    "SET dialect = 'kusto'",
    "INSERT INTO t.sly SELECT * FROM input('a String DEFAULT file(\\'/etc/hostname\\')') FORMAT JSONEachRow {}",
  ]

  it.each(FORBIDDEN)('refuses %s', async query => {
    const reply = await send(server, { body: query })
    expect([reply.status, reply.headers['x-clickhouse-exception-code'], reply.body]).toEqual([403, '497', reply.body])
  })

  it('reads no file for SQL that hides in a string', async () => {
    const structure = "a String DEFAULT file('/etc/hostname')"
    const hidden = [
      "SELECT * FROM format(JSONEachRow, 'a String DEFAULT file(\\'/etc/hostname\\')', '{}')",
      "SELECT * FROM format(JSONEachRow, concat('a String DEFAULT fi', 'le(\\'/etc/hostname\\')'), '{}')",
      `SELECT * FROM format(JSONEachRow, $$${structure}$$, '{}') SETTINGS enable_analyzer = 0`,
      "SELECT * FROM format(JSONEachRow, {structure:String}, '{}')",
    ]
    for (const body of hidden)
      expect([
        body,
        (await send(server, { body, params: { param_structure: structure } })).headers['x-clickhouse-exception-code'],
      ]).toEqual([body, '395'])
    expect((await send(server, { body: 'DROP FUNCTION file' })).status).toBe(500)
  })

  it('refuses a setting in the URL that names a file, a dialect or hidden SQL', async () => {
    for (const name of ['dialect', 'additional_table_filters', 'format_schema', 'format_template_resultset'])
      expect((await send(server, { body: 'SELECT 1', params: { [name]: 'x' } })).status).toBe(403)
  })

  it('has made none of it', async () => {
    expect(readdirSync('/tmp')).not.toContain('sly.csv')
    expect(await ask(server, "SELECT count() FROM system.tables WHERE name LIKE 'sly%'")).toBe('0')
  })

  it('lets the words stand where they mean nothing', async () => {
    expect(await ask(server, "SELECT 'SELECT * FROM file(1)' AS file, file || ' INTO OUTFILE' /* url('x') */")).toMatch(
      /^SELECT/,
    )
    expect(
      await ask(server, "SELECT count() FROM numbers(3) AS n, zeros(2) AS z, values('a UInt8', (1), (2)) AS v"),
    ).toBe('12')
    expect(await ask(server, "SELECT * FROM generateRandom('a UInt8') LIMIT 0")).toBe('')
  })

  it('allows the engines this project and its measurements need', async () => {
    for (const engine of [
      'MergeTree ORDER BY a',
      'ReplacingMergeTree(a) ORDER BY a',
      'Memory',
      'Null',
      'Join(ANY, LEFT, a)',
      'Set',
    ])
      expect(await ask(server, `CREATE TABLE t.allowed (a UInt8) ENGINE = ${engine}`)).toBe(
        await ask(server, 'DROP TABLE t.allowed'),
      )
    const kafka =
      "Kafka SETTINGS kafka_broker_list = '127.0.0.1:1', kafka_topic_list = 'a', kafka_group_name = 'a', kafka_format = 'RawBLOB'"
    expect(await ask(server, `CREATE TABLE t.k (a String) ENGINE = ${kafka}`)).toBe('')
    expect(await ask(server, 'CREATE MATERIALIZED VIEW t.mv ENGINE = MergeTree ORDER BY a AS SELECT 1 AS a')).toBe('')
    expect(await ask(server, 'DROP TABLE t.mv')).toBe('')
    expect(await ask(server, 'DROP TABLE t.k')).toBe('')
  })
})

describe('inserts', () => {
  beforeAll(async () => {
    await server.client.command({
      query:
        'CREATE TABLE t.raw (id UInt64, name String, twice UInt64 MATERIALIZED id * 2) ENGINE = MergeTree ORDER BY id',
    })
  })

  it('make one Native block through input() one active part', async () => {
    const block = await nativeBlock(server, 100_000)
    const query = `INSERT INTO t.raw (id, name) SELECT id, name FROM input('id UInt64, name String') WHERE id % 10 < 9 SETTINGS ${ONE_BLOCK} FORMAT Native`
    for (let turn = 1; turn <= 3; turn++) {
      const { stream } = await server.client.exec({
        query,
        values: Readable.from([block.subarray(0, 1000), block.subarray(1000)]),
      })
      await text(stream)
      expect(
        await ask(
          server,
          "SELECT count(), sum(rows) FROM system.parts WHERE database = 't' AND table = 'raw' AND active",
        ),
      ).toBe(`${turn}\t${turn * 90_000}`)
      await ask(server, 'SYSTEM STOP MERGES t.raw')
    }
  })

  it('take the statement and its binary data from one body', async () => {
    await ask(server, 'TRUNCATE TABLE t.raw')
    const block = await nativeBlock(server, 1000)
    const body = Buffer.concat([
      Buffer.from(
        "INSERT INTO t.raw (id, name) -- ☃ FORMAT\nSELECT * FROM input('id UInt64, name String') FORMAT Native\n",
      ),
      block,
    ])
    expect(await send(server, { body })).toMatchObject({ status: 200, body: '' })
    expect(await send(server, { body: gzipSync(body), headers: { 'Content-Encoding': 'gzip' } })).toMatchObject({
      status: 200,
    })
    expect(await ask(server, 'SELECT count(), sum(twice) FROM t.raw')).toBe('2000\t1998000')
  })

  it('take VALUES, expressions and parameters included', async () => {
    await ask(server, 'TRUNCATE TABLE t.raw')
    await ask(server, "INSERT INTO t.raw (id, name) VALUES (1, 'a;b'), (1 + 1, concat('--', 'c')); ")
    await server.client.command({
      query: 'INSERT INTO t.raw (id, name) VALUES ({id:UInt64}, {name:String})',
      query_params: { id: 3, name: "o'\n" },
    })
    expect(await ask(server, 'SELECT groupArray(name) FROM (SELECT name FROM t.raw ORDER BY id)')).toBe(
      "['a;b','--c','o\\'\\n']",
    )
  })

  it('store nothing of a body that is broken or that its sender did not finish', async () => {
    await ask(server, 'TRUNCATE TABLE t.raw')
    const block = await nativeBlock(server, 10_000)
    const query = "INSERT INTO t.raw (id, name) SELECT * FROM input('id UInt64, name String') FORMAT Native"
    const torn = await send(server, { params: { query }, body: block.subarray(0, block.length - 7) })
    expect(torn.headers['x-clickhouse-exception-code']).toBe('33')
    const halfway = request({
      host: '127.0.0.1',
      port: server.port,
      method: 'POST',
      path: `/?${new URLSearchParams({ query })}`,
      headers: { 'X-ClickHouse-Key': server.password(), 'Content-Length': block.length },
    })
    halfway.on('error', () => {})
    halfway.write(block.subarray(0, 5000))
    await new Promise(done => setTimeout(done, 100))
    halfway.destroy()
    expect(
      (
        await send(server, {
          params: { query: 'INSERT INTO t.raw (id, name) FORMAT JSONEachRow' },
          body: '{"id":1}\n{"id":"x"}\n',
        })
      ).status,
    ).toBe(400)
    expect(await ask(server, 'SELECT count() FROM t.raw')).toBe('0')
  })
})

describe('side by side', () => {
  it('a long query does not keep others waiting', async () => {
    const order: string[] = []
    const slow = rows(server, 'SELECT sleepEachRow(0.5) FROM numbers(6) SETTINGS max_block_size = 1').then(() =>
      order.push('slow'),
    )
    await until(
      'the slow one runs',
      async () =>
        Number(await ask(server, "SELECT count() FROM system.processes WHERE query LIKE '%sleepEachRow(0.5)%'")) > 1,
    )
    await server.client.command({ query: "INSERT INTO t.raw (id, name) SELECT 1, 'x'" })
    order.push('insert')
    await slow
    expect(order).toEqual(['insert', 'slow'])
  })

  it('eight long queries run together, and more wait their turn', async () => {
    const sleepers = Array.from({ length: 10 }, () => rows(server, 'SELECT sleep(2) AS eight'))
    await until(
      'eight run',
      async () =>
        (await ask(server, "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep(2) AS eight%'")) ===
        '8',
    )
    expect((await Promise.all(sleepers)).length).toBe(10)
  })

  it('a running insert is found by its log_comment and killed by its query_id, while every session is busy', async () => {
    const query =
      'INSERT INTO t.raw (id, name) SELECT number, sleepEachRow(0.01)::String FROM numbers(100000) SETTINGS max_block_size = 10, function_sleep_max_microseconds_per_block = 0'
    const victim = server.client.command({ query, clickhouse_settings: { log_comment: 'load/7' } }).then(
      () => 'finished',
      error => error.code,
    )
    await until('it runs', async () => (await running(server, 'load/7')).length === 1)
    const busy = Array.from({ length: 12 }, () => rows(server, 'SELECT sleep(2)'))
    const [id] = await running(server, 'load/7')
    await server.client.command({ query: 'KILL QUERY WHERE query_id = {id:String} SYNC', query_params: { id } })
    expect(await running(server, 'load/7')).toEqual([])
    expect(await victim).toBe('394')
    await Promise.all(busy)
  })

  it('KILL knows the query_id the client chose', async () => {
    const victim = server.client
      .query({ query: 'SELECT sleepEachRow(0.1) FROM numbers(600) SETTINGS max_block_size = 1', query_id: 'chosen/1' })
      .then(
        () => 'finished',
        error => error.code,
      )
    await until('it is killed', async () =>
      (await ask(server, "KILL QUERY WHERE query_id = 'chosen/1' SYNC")).includes('sleepEachRow(0.1)'),
    )
    expect(await victim).toBe('394')
  })

  it('a client that leaves does not stop its insert, and one that waits for a session loses its turn', async () => {
    await ask(server, 'TRUNCATE TABLE t.raw')
    const leaving = new AbortController()
    const query = 'INSERT INTO t.raw (id, name) SELECT number, sleep(0.5)::String FROM numbers(1)'
    const left = server.client.command({
      query,
      abort_signal: leaving.signal,
      clickhouse_settings: { log_comment: 'leaves' },
    })
    await until('it runs', async () => (await running(server, 'leaves')).length === 1)
    leaving.abort()
    await expect(left).rejects.toThrow()
    const busy = Array.from({ length: 8 }, () => rows(server, 'SELECT sleep(1.5) AS busy'))
    await until(
      'all are busy',
      async () =>
        Number(
          await ask(server, "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep(1.5) AS busy%'"),
        ) === 8,
    )
    const dropping = new AbortController()
    const dropped = server.client.command({
      query: "INSERT INTO t.raw (id, name) SELECT 99, 'late'",
      abort_signal: dropping.signal,
    })
    await new Promise(done => setTimeout(done, 100))
    dropping.abort()
    await expect(dropped).rejects.toThrow()
    await Promise.all(busy)
    expect(await ask(server, 'SELECT groupArray(id) FROM t.raw')).toBe('[0]')
  })

  it('merges go on while nobody asks anything', async () => {
    await ask(server, 'CREATE TABLE t.merged (id UInt64) ENGINE = MergeTree ORDER BY id')
    for (let part = 0; part < 30; part++) await ask(server, `INSERT INTO t.merged SELECT ${part}`)
    await until(
      'they are merged',
      async () => Number(await ask(server, "SELECT count() FROM system.parts WHERE table = 'merged' AND active")) < 10,
    )
  })
})

describe('a process of its own', () => {
  it('keeps all that was acknowledged and halves nothing when killed in the middle of inserts, and starts again', async () => {
    const dataDir = freshDirectory()
    let acknowledged = 0
    let killed: Started | undefined
    for (let round = 0; round < 3; round++) {
      const own = await start(dataDir)
      await ask(own, 'CREATE DATABASE IF NOT EXISTS k')
      await ask(
        own,
        'CREATE TABLE IF NOT EXISTS k.e (id UInt64, name String, batch UInt32) ENGINE = MergeTree ORDER BY id SETTINGS fsync_after_insert = 1, fsync_part_directory = 1',
      )
      const whole = await ask(own, 'SELECT uniqExact(batch), count() = uniqExact(batch) * 5000 FROM k.e')
      expect(Number(whole.split('\t')[0])).toBeGreaterThanOrEqual(acknowledged)
      expect(whole.split('\t')[1]).toBe('1')
      acknowledged = Number(whole.split('\t')[0])
      const block = await nativeBlock(own, 5000)
      const before = acknowledged
      const load = async (lane: number) => {
        for (let batch = 0; ; batch++) {
          const number = round * 1_000_000 + lane * 10_000 + batch
          const query = `INSERT INTO k.e SELECT id, name, ${number} FROM input('id UInt64, name String') SETTINGS ${ONE_BLOCK} FORMAT Native`
          const reply = await send(own, { params: { query }, body: block })
          if (reply.status === 200) acknowledged++
        }
      }
      const lanes = [0, 1, 2].map(lane => load(lane).catch(() => undefined))
      await until('some are in', () => acknowledged > before + 10)
      own.child.kill('SIGKILL')
      expect(await ended(own.child)).toBe('SIGKILL')
      await Promise.all(lanes)
      await own.client.close()
      killed = own
      expect(spools(killed)).toHaveLength(1)
    }
    const last = await start(dataDir)
    expect(killed && spools(killed)).toEqual([])
    last.child.kill('SIGTERM')
    expect(await ended(last.child)).toBe(0)
  }, 120_000)

  it('ends cleanly on SIGTERM after the queries that run, keeps its password, and removes its spool', async () => {
    const own = await start()
    const password = own.password()
    const slow = ask(own, 'SELECT sleep(1.5), 7')
    await until(
      'it runs',
      async () =>
        (await ask(own, "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep(1.5)%'")) === '1',
    )
    own.child.kill('SIGTERM')
    expect(await slow).toBe('0\t7')
    expect(await ended(own.child)).toBe(0)
    expect(own.output()).toContain('clickhouse_stopping')
    expect(spools(own)).toEqual([])
    const again = await start(own.dataDir)
    expect(again.password()).toBe(password)
    again.child.kill('SIGTERM')
    expect(await ended(again.child)).toBe(0)
  })

  it('makes itself enough threads, and goes when its parent is killed', async () => {
    const own = await start(freshDirectory(), undefined)
    const busy = Array.from({ length: 8 }, () => ask(own, 'SELECT sleep(2) AS s').catch(() => ''))
    await until(
      'eight run',
      async () =>
        (await ask(own, "SELECT count() FROM system.processes WHERE query LIKE 'SELECT sleep(2) AS s%'")) === '8',
    )
    await Promise.all(busy)
    own.child.kill('SIGKILL')
    await until('nobody listens', async () =>
      ask(own, 'SELECT 1').then(
        () => false,
        () => true,
      ),
    )
  })

  it('says why it cannot start: directory in use, port taken, directory not writable', async () => {
    const cases: ReadonlyArray<readonly [dataDir: string, port: number, reason: RegExp]> = [
      [server.dataDir, await freePort(), /data directory .* is in use by process \d+/],
      [freshDirectory(), server.port, /port \d+ on 127\.0\.0\.1 is taken/],
      [join(MAIN, 'below-a-file'), await freePort(), /data directory .* cannot be written to/],
    ]
    for (const [dataDir, port, reason] of cases) {
      const { child, output } = launch(dataDir, port, '16')
      expect(await ended(child)).toBe(1)
      expect(output()).toMatch(reason)
    }
  })

  it('knows no flags but --help', async () => {
    const run = async (flag: string) => {
      const child = spawn(process.execPath, ['--import', 'tsx', MAIN, flag], { stdio: ['ignore', 'pipe', 'pipe'] })
      return { said: await text(child.stdout), code: await ended(child) }
    }
    expect(await run('--help')).toMatchObject({ code: 0, said: expect.stringContaining('DATA_DIR') })
    expect((await run('--port')).code).toBe(1)
  })
})

describe('the reading of a statement', () => {
  it('finds where the data of an insert begin', () => {
    const data = (sql: string) => {
      const { data } = understand(sql)
      return data && [data.format, sql.slice(data.offset)]
    }
    expect(data('INSERT INTO t FORMAT CSV\n1;2')).toEqual(['CSV', '1;2'])
    expect(data('insert into t (a, `format b`) format TSV 1')).toEqual(['TSV', '1'])
    expect(data("INSERT INTO t VALUES ('--')")).toEqual(['Values', " ('--')"])
    expect(data("INSERT INTO t SELECT format FROM input('a') FORMAT Native\r\n\0")).toEqual(['Native', '\0'])
    expect(data("INSERT INTO t (format) SELECT 'FORMAT CSV' /* FORMAT CSV */")).toBeUndefined()
    expect(data('INSERT INTO t SELECT 1 FORMAT CSV')).toBeUndefined()
    expect(data('SELECT 1 FORMAT CSV')).toBeUndefined()
  })

  it('blanks comments and keeps every offset', () => {
    const source = "SELECT 1 /* a /* b */ ; */, '/*' -- c\n, $x$ -- $x$ # d"
    const { sql } = understand(source)
    expect(sql.replace(/ +/g, ' ')).toBe("SELECT 1 , '/*' \n, $x$ -- $x$")
    expect(sql.indexOf('$x$')).toBe(source.indexOf('$x$'))
    expect(understand('SELECT {a:String}, {b : UInt8}, map(1, 2)').placeholders).toEqual(['a', 'b'])
  })
})
