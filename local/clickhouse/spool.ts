/**
 * Where a request's rows wait until they have all arrived: the engine reads data only from files. In memory (/dev/shm)
 * where there is such a place, else beside the data. An insert begins only when its body is complete, so a client that
 * dies while sending has inserted nothing.
 */
import { mkdtempSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { Failure } from './failure.ts'

const SHARED_MEMORY = '/dev/shm'
const PREFIX = 'clickhouse-spool-'
/** Below this the rows wait on disk. */
const SHARED_MEMORY_FREE_BYTES = 2 ** 30
/** A single request may bring this much. */
const MAX_BODY_BYTES = 2 ** 30
const GATHERED_BYTES = 2 ** 20

export interface Spooled {
  readonly path: string
  readonly bytes: number
}

export interface Spool {
  /** Writes `head`, then what the stream brings. @throws Failure 307 for too much; the stream's own error */
  write(head: Uint8Array, body: AsyncIterable<Uint8Array>): Promise<Spooled>
  remove(spooled: Spooled): Promise<void>
  close(): void
}

/**
 * Only for the process that holds the data directory: what a predecessor left is removed.
 * @param directory the engine's data directory, in which the spool's place is noted
 */
export function openSpool(directory: string): Spool {
  const note = join(directory, 'spool-place')
  removeNoted(note)
  const parent = roomInMemory() ? SHARED_MEMORY : directory
  const place = mkdtempSync(join(parent, PREFIX))
  writeFileSync(note, place)
  let count = 0
  return {
    async write(head, body) {
      const path = join(place, String(++count))
      try {
        return { path, bytes: await writeAll(path, head, body) }
      } catch (error) {
        await rm(path, { force: true })
        throw error
      }
    },
    remove: ({ path }) => rm(path, { force: true }),
    close: () => removeNoted(note),
  }
}

/** A socket brings 64 KiB at a time: gathered, so that a large body costs dozens of writes instead of a thousand. */
async function writeAll(path: string, head: Uint8Array, body: AsyncIterable<Uint8Array>): Promise<number> {
  const file = await open(path, 'wx', 0o600)
  let gathered: Uint8Array[] = [head]
  let waiting = head.length
  let written = 0
  const flush = async () => {
    const { bytesWritten } = await file.writev(gathered)
    if (bytesWritten !== waiting) throw noSpace()
    written += waiting
    gathered = []
    waiting = 0
  }
  try {
    for await (const chunk of body) {
      gathered.push(chunk)
      waiting += chunk.length
      if (written + waiting > MAX_BODY_BYTES)
        throw Failure.of(307, `The request brings more than ${MAX_BODY_BYTES} bytes.`)
      if (waiting >= GATHERED_BYTES) await flush()
    }
    if (waiting > 0) await flush()
    return written
  } catch (error) {
    throw error instanceof Error && 'code' in error && error.code === 'ENOSPC' ? noSpace() : error
  } finally {
    await file.close()
  }
}

const noSpace = (): Failure => Failure.of(243, 'No space left where the rows of a request wait.')

function roomInMemory(): boolean {
  try {
    const { bavail, bsize } = statfsSync(SHARED_MEMORY)
    return bavail * bsize > SHARED_MEMORY_FREE_BYTES
  } catch {
    return false
  }
}

/** Removes what the note names, if it can only be a spool. */
function removeNoted(note: string): void {
  try {
    const place = readFileSync(note, 'utf8')
    const known = [SHARED_MEMORY, dirname(note)].includes(dirname(place)) && basename(place).startsWith(PREFIX)
    if (known) rmSync(place, { recursive: true, force: true })
    rmSync(note)
  } catch {
    // No note, no spool.
  }
}
