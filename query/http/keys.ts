/**
 * Who may ask: `Authorization: Bearer <key>`. In memory are only SHA-256 hashes, compared in constant time.
 * Without configuration one key is made at the first start and kept in `${DATA_DIR}/dev-key`, readable by its owner alone.
 */
import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { linkSync, mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { ConfigError } from '../../ingest/runtime/config.ts'

export interface Keys {
  /** Whether the value of an Authorization header carries a key of ours. */
  admit(authorization: string | undefined): boolean
}

const hash = (key: string): Buffer => createHash('sha256').update(key).digest()

export const devKeyFile = (dataDir: string): string => join(dataDir, 'dev-key')

const KEY_BYTES = 32
const KEY = /^[A-Za-z0-9_-]{32,200}$/
const HEADER_MAX = 512

/** @param hashes SHA-256 of each key */
export function keysOf(hashes: readonly Buffer[]): Keys {
  return {
    admit(authorization = '') {
      const [, key] = authorization.length <= HEADER_MAX ? (/^Bearer +(\S+)$/i.exec(authorization) ?? []) : []
      if (key === undefined) return false
      const given = hash(key)
      // Every hash is compared: how long it takes says nothing of which one fitted.
      return hashes.reduce((fits, known) => timingSafeEqual(known, given) || fits, false)
    },
  }
}

/** @throws ConfigError if the key can neither be read nor made */
export function openKeys(dataDir: string): Keys {
  const file = devKeyFile(dataDir)
  try {
    const key = readKey(file) ?? makeKey(dataDir, file)
    return keysOf([hash(key)])
  } catch (error) {
    if (error instanceof ConfigError) throw error
    throw new ConfigError(`${file}: the API's key can neither be read nor made there (${code(error)}); check DATA_DIR`)
  }
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
  writeFileSync(beside, `${randomBytes(KEY_BYTES).toString('base64url')}\n`, { mode: 0o600, flag: 'wx' })
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
