/**
 * Who may ask, and what: `Authorization: Bearer <key>`. In memory are only SHA-256 hashes, compared in constant time.
 * Keys come from a file of hashes (API_KEYS_FILE; `npm run key` makes entries). Without one, a key that may do everything is made at
 * the first start and kept in `${DATA_DIR}/dev-key`, readable by its owner alone.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { z } from 'zod'
import { ConfigError } from '../../ingest/runtime/config.ts'
import { SCOPES, type Scope } from './scopes.ts'

/** Whose key it is. The id is for logs and limits; it is no secret. */
export interface Caller {
  readonly id: string
  readonly scopes: ReadonlySet<Scope>
  /** Where they differ from everybody's. */
  readonly requests_per_second?: number | undefined
  readonly concurrent_requests?: number | undefined
}

export interface Keys {
  /** Whose key the value of an Authorization header carries, if it is one of ours. */
  admit(authorization: string | undefined): Caller | undefined
}

const ID = /^[A-Za-z0-9._-]{1,64}$/
const entry = z.strictObject({
  id: z.string().regex(ID, 'expected 1 to 64 letters, digits, dots, underscores or dashes'),
  sha256: z.string().regex(/^[0-9a-f]{64}$/, 'expected the SHA-256 of the key in 64 lower-case hex digits'),
  scopes: z.array(z.enum(SCOPES)).min(1),
  requests_per_second: z.number().int().min(1).max(1_000_000).optional(),
  concurrent_requests: z.number().int().min(1).max(100_000).optional(),
})
export type KeyEntry = z.infer<typeof entry>
const entries = z.array(entry).min(1)

const hash = (key: string): Buffer => createHash('sha256').update(key).digest()

export const devKeyFile = (dataDir: string): string => join(dataDir, 'dev-key')

const KEY_BYTES = 32
const KEY = /^[A-Za-z0-9_-]{32,200}$/
const HEADER_MAX = 512

export const newKey = (): string => randomBytes(KEY_BYTES).toString('base64url')
export const entryOf = (id: string, key: string, scopes: readonly Scope[]): KeyEntry =>
  entry.parse({ id, sha256: hash(key).toString('hex'), scopes: [...scopes] })

/** @param known entries of a file, or the bare hash of a key that may do everything */
export function keysOf(known: readonly (KeyEntry | Buffer)[]): Keys {
  const holders = known.map((one, i): { caller: Caller; sha256: Buffer } => {
    if (Buffer.isBuffer(one)) return { caller: { id: `key-${i + 1}`, scopes: new Set(['admin']) }, sha256: one }
    const { sha256, scopes, ...rest } = one
    return { caller: { ...rest, scopes: new Set(scopes) }, sha256: Buffer.from(sha256, 'hex') }
  })
  return {
    admit(authorization = '') {
      const [, key] = authorization.length <= HEADER_MAX ? (/^Bearer +(\S+)$/i.exec(authorization) ?? []) : []
      if (key === undefined) return undefined
      const given = hash(key)
      // Every hash is compared: how long it takes says nothing of which one fitted.
      return holders.reduce<Caller | undefined>(
        (found, { caller, sha256 }) => (timingSafeEqual(sha256, given) ? caller : found),
        undefined,
      )
    },
  }
}

/**
 * @param keysFile API_KEYS_FILE; undefined: the key of this machine
 * @throws ConfigError if a file does not hold what it should, or the machine's key can neither be read nor made
 */
export function openKeys(dataDir: string, keysFile?: string): Keys {
  if (keysFile !== undefined) return keysOf(readEntries(keysFile))
  const file = devKeyFile(dataDir)
  try {
    return keysOf([entryOf('dev', readKey(file) ?? makeKey(dataDir, file), ['admin'])])
  } catch (error) {
    if (error instanceof ConfigError) throw error
    throw new ConfigError(`${file}: the API's key can neither be read nor made there (${code(error)}); check DATA_DIR`)
  }
}

/** What is wrong is said by file, entry and field: never with what stands there. */
function readEntries(file: string): KeyEntry[] {
  const said = `API_KEYS_FILE ${file}`
  let text: string
  try {
    text = readFileSync(file, 'utf8')
  } catch (error) {
    throw new ConfigError(`${said} cannot be read (${code(error)})`)
  }
  let given: unknown
  try {
    given = JSON.parse(text)
  } catch {
    throw new ConfigError(`${said} is no JSON; expected a list of what npm run key prints`)
  }
  const parsed = entries.safeParse(given)
  if (!parsed.success) {
    const faults = parsed.error.issues.map(({ path: [at, ...field], message }) =>
      at === undefined
        ? message
        : `entry ${Number(at) + 1}${field.length > 0 ? `, ${field.join('.')}` : ''}: ${message}`,
    )
    throw new ConfigError(`${said} refused:\n${faults.map(fault => `  ${fault}`).join('\n')}`)
  }
  for (const field of ['id', 'sha256'] as const) {
    const values = parsed.data.map(one => one[field])
    const twice = values.findIndex((value, i) => values.indexOf(value) < i)
    if (twice >= 0) throw new ConfigError(`${said} refused:\n  entry ${twice + 1}: its ${field} occurs twice`)
  }
  return parsed.data
}

function readKey(file: string): string | undefined {
  let key: string
  try {
    key = readFileSync(file, 'utf8').trim()
  } catch (error) {
    if (code(error) === 'ENOENT') return undefined
    throw error
  }
  if (!KEY.test(key)) throw new ConfigError(`${file} holds no key; delete it, and a new one is made`)
  return key
}

/** Written beside and linked into place, so that of two processes that start at once both read the same whole key. */
function makeKey(dataDir: string, file: string): string {
  mkdirSync(dataDir, { recursive: true })
  const beside = `${file}.${process.pid}`
  writeFileSync(beside, `${newKey()}\n`, { mode: 0o600, flag: 'wx' })
  try {
    linkSync(beside, file)
  } catch (error) {
    if (code(error) !== 'EEXIST') throw error
  } finally {
    rmSync(beside, { force: true })
  }
  const key = readKey(file)
  if (key === undefined) throw new ConfigError(`${file} vanished while it was made`)
  return key
}

const code = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : 'unknown error'
