import { request } from 'node:http'
import { Readable } from 'node:stream'
import { text } from 'node:stream/consumers'
import { gunzipSync, gzipSync } from 'node:zlib'
import { createClient } from '@clickhouse/client'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { understand } from '../local/clickhouse/statement.ts'

import {
  ask,
  nativeBlock,
  ONE_BLOCK,
  rows,
  running,
  type Started,
  send,
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
