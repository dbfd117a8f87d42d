/** The local ClickHouse, against what nobody may do with it and against being killed; on a real process over a real socket. */
import { spawn } from 'node:child_process'
import { readdirSync, statSync } from 'node:fs'
import { join } from 'node:path'
import { text } from 'node:stream/consumers'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { passwordFile } from '../ingest/runtime/config.ts'

import {
  ask,
  ended,
  freePort,
  freshDirectory,
  launch,
  MAIN,
  nativeBlock,
  ONE_BLOCK,
  type Started,
  send,
  spools,
  start,
  stopServers,
  until,
  WAIT_MS,
} from './support/front.ts'

let server: Started

beforeAll(async () => {
  server = await start()
  await server.client.command({ query: 'CREATE DATABASE t' })
}, WAIT_MS)

afterAll(async () => {
  await server.client.close()
  await stopServers()
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
