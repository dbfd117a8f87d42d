/** The local ClickHouse in a process of its own, and how tests speak to it: with the stock client, and byte by byte. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { type IncomingHttpHeaders, request } from 'node:http'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join, resolve } from 'node:path'
import { type ClickHouseClient, createClient } from '@clickhouse/client'
import { passwordFile } from '../../ingest/runtime/config.ts'

export const MAIN = resolve(import.meta.dirname, '../../local/clickhouse/main.ts')
export const WAIT_MS = 30_000
export const ONE_BLOCK =
  'max_insert_threads = 1, min_insert_block_size_rows = 100000000, min_insert_block_size_bytes = 0'

export interface Started {
  readonly child: ChildProcess
  readonly port: number
  readonly dataDir: string
  readonly client: ClickHouseClient
  password(): string
  output(): string
}

const started: ChildProcess[] = []
const directories: string[] = []

export function freshDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'local-clickhouse-'))
  directories.push(directory)
  return directory
}

export async function freePort(): Promise<number> {
  const probe = createServer().listen(0, '127.0.0.1')
  await once(probe, 'listening')
  const address = probe.address()
  probe.close()
  await once(probe, 'close')
  if (address === null || typeof address === 'string') throw new Error('no port')
  return address.port
}

/** @param threads given, the process is the server itself; else it makes one */
export function launch(dataDir: string, port: number, threads?: string): { child: ChildProcess; output(): string } {
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

export async function start(dataDir = freshDirectory(), threads: string | undefined = '16'): Promise<Started> {
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

export async function until(what: string, reached: () => boolean | Promise<boolean>): Promise<void> {
  const deadline = Date.now() + WAIT_MS
  while (!(await reached())) {
    if (Date.now() > deadline) throw new Error(`waited in vain until ${what}`)
    await new Promise(done => setTimeout(done, 20))
  }
}

export async function ended(child: ChildProcess): Promise<number | string | null> {
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
  return child.exitCode ?? child.signalCode
}

export interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly bytes: Buffer
  readonly body: string
}

export interface Sent {
  readonly method?: string
  readonly params?: Record<string, string>
  readonly headers?: Record<string, string>
  readonly body?: string | Buffer
  readonly path?: string
}

/** A request without the stock client in between, as curl would send it. */
export function send(server: Started, sent: Sent): Promise<Reply> {
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
export function spools({ dataDir, child }: Started): string[] {
  const places = ['/dev/shm', join(dataDir, 'clickhouse')].filter(place => existsSync(place))
  return places.flatMap(place => readdirSync(place)).filter(name => name.startsWith(`clickhouse-spool-${child.pid}-`))
}

export const ask = async (server: Started, query: string): Promise<string> =>
  (await send(server, { body: query })).body.trim()

export async function rows<T>(
  server: Started,
  query: string,
  query_params: Record<string, unknown> = {},
): Promise<T[]> {
  const result = await server.client.query({ query, query_params, format: 'JSONEachRow' })
  return result.json<T>()
}

export async function running(server: Started, comment: string): Promise<string[]> {
  const query = "SELECT query_id FROM system.processes WHERE Settings['log_comment'] = {comment:String}"
  return (await rows<{ query_id: string }>(server, query, { comment })).map(row => row.query_id)
}

/** One Native block, made by the engine itself. */
export async function nativeBlock(server: Started, count: number): Promise<Buffer> {
  const query = `SELECT number AS id, toString(cityHash64(number)) AS name FROM numbers(${count}) SETTINGS max_block_size = ${count}, max_threads = 1 FORMAT Native`
  return (await send(server, { body: query })).bytes
}

/** Ends every server that was started here, and removes what they kept. */
export async function stopServers(): Promise<void> {
  for (const child of started) child.kill('SIGTERM')
  await Promise.all(started.map(ended))
  for (const directory of directories) rmSync(directory, { recursive: true, force: true })
}
