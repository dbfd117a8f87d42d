/**
 * The broker's data directory: formatted once, recognised ever after. Formatting goes to a directory beside it that is
 * renamed when done, so an interrupted format leaves nothing that looks like data. Data we did not format is never touched.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { mkdir, rename } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { CannotStart } from '../child.ts'
import { mustHaveRoom } from '../room.ts'

const stampSchema = z.object({ kafka_version: z.string(), cluster_id: z.string() })
export type Stamp = z.infer<typeof stampSchema>

/** Below this a broker would soon fail in the middle of a write and shut itself down. */
const LEAST_FREE_BYTES = 256 * 1024 ** 2

/** What is on the disk: nothing, data of ours, or a sentence why it cannot be used. */
export function judgeStorage(
  directory: string,
  kafka_version: string,
  stamp: Stamp | undefined,
  meta: string | undefined,
): 'absent' | 'ours' | { readonly fault: string } {
  if (meta === undefined) return 'absent'
  const remedy = `move ${directory} away (what was not ingested yet goes with it) or set DATA_DIR to another directory`
  const cluster_id = /^cluster\.id=(.*)$/m.exec(meta)?.[1]
  if (stamp === undefined || stamp.cluster_id !== cluster_id)
    return { fault: `${directory} holds the data of another Kafka (cluster ${cluster_id ?? 'unknown'}): ${remedy}` }
  if (isNewer(stamp.kafka_version, kafka_version))
    return { fault: `${directory} was written by Kafka ${stamp.kafka_version}, newer than ${kafka_version}: ${remedy}` }
  return 'ours'
}

/** @param format runs Kafka's own formatter on the directory it is given */
export async function prepareStorage(
  directory: string,
  kafka_version: string,
  format: (log_dir: string, cluster_id: string) => Promise<void>,
): Promise<string> {
  const log_dir = join(directory, 'log')
  const stampFile = join(directory, 'formatted-by.json')
  await mkdir(directory, { recursive: true })
  mustHaveRoom(directory, LEAST_FREE_BYTES, 'the Kafka broker')
  const judged = judgeStorage(
    directory,
    kafka_version,
    readStamp(stampFile),
    readText(join(log_dir, 'meta.properties')),
  )
  if (typeof judged === 'object') throw new CannotStart(judged.fault)
  if (judged === 'ours') return log_dir
  if (existsSync(log_dir))
    throw new CannotStart(`${log_dir} is no Kafka data: move it away or set DATA_DIR to another directory`)
  const fresh = `${log_dir}.new`
  rmSync(fresh, { recursive: true, force: true })
  // Kafka's ids are 16 bytes in the URL-safe alphabet.
  const cluster_id = Buffer.from(crypto.getRandomValues(new Uint8Array(16))).toString('base64url')
  await format(fresh, cluster_id)
  // The stamp first: without data it means nothing, and data without it would be a stranger's.
  writeFileSync(stampFile, JSON.stringify({ kafka_version, cluster_id } satisfies Stamp))
  await rename(fresh, log_dir)
  return log_dir
}

function isNewer(a: string, b: string): boolean {
  return a.localeCompare(b, 'en', { numeric: true }) > 0
}

function readStamp(path: string): Stamp | undefined {
  try {
    return stampSchema.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch {
    return undefined
  }
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, 'utf8')
  } catch {
    return undefined
  }
}
