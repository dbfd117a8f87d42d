/**
 * Where a request's rows wait until they have all arrived: the engine reads data only from files. In memory (/dev/shm)
 * where there is such a place, else beside the data. An insert begins only when its body is complete, so a client that
 * dies while sending has inserted nothing.
 */
import { mkdtempSync, readdirSync, rmSync, statfsSync } from 'node:fs'
import { open, rm } from 'node:fs/promises'
import { join } from 'node:path'
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
 * What a dead process left is removed: the place of a spool has its owner's pid in its name.
 * @param directory where rows wait if there is no shared memory
 */
export function openSpool(directory: string): Spool {
  for (const parent of [SHARED_MEMORY, directory]) removeDead(parent)
  const place = mkdtempSync(join(roomInMemory() ? SHARED_MEMORY : directory, `${PREFIX}${process.pid}-`))
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
    close: () => rmSync(place, { recursive: true, force: true }),
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

/** Our own pid can only be that of a predecessor in an earlier life of a container. */
function removeDead(parent: string): void {
  for (const name of namesIn(parent)) {
    const pid = Number(new RegExp(`^${PREFIX}(\\d+)-`).exec(name)?.[1])
    if (!pid || (pid !== process.pid && isAlive(pid))) continue
    try {
      rmSync(join(parent, name), { recursive: true, force: true })
    } catch {
      // Another user's.
    }
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory)
  } catch {
    return []
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error instanceof Error && 'code' in error && error.code === 'EPERM'
  }
}
