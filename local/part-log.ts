/**
 * The log file of one part: `${DATA_DIR}/logs/<part>.log`. The part itself holds the file open, so it can write whatever
 * its supervisor does; the supervisor keeps it bounded: one file of the run before, one of this run, neither above a limit.
 */
import {
  closeSync,
  copyFileSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  statSync,
  truncateSync,
} from 'node:fs'
import { join } from 'node:path'

const LIMIT_BYTES = 16 * 1024 * 1024
const TAIL_BYTES = 16 * 1024

export class PartLog {
  readonly path: string

  constructor(data_dir: string, part: string) {
    const directory = join(data_dir, 'logs')
    mkdirSync(directory, { recursive: true })
    this.path = join(directory, `${part}.log`)
    if (existsSync(this.path)) renameSync(this.path, this.#before)
  }

  get #before(): string {
    return `${this.path}.1`
  }

  /** A descriptor to append to. Appending is what lets `bound` cut the file under a part that has it open. */
  open(): number {
    return openSync(this.path, 'a')
  }

  /** Moves what is there aside once it is too much. Lines written between the copy and the cut are lost. */
  bound(): void {
    if (!existsSync(this.path) || statSync(this.path).size <= LIMIT_BYTES) return
    copyFileSync(this.path, this.#before)
    truncateSync(this.path)
  }

  /** The last lines, oldest first. */
  tail(lines: number): string[] {
    if (!existsSync(this.path)) return []
    const file = openSync(this.path, 'r')
    try {
      const size = fstatSync(file).size
      const bytes = Buffer.alloc(Math.min(size, TAIL_BYTES))
      readSync(file, bytes, 0, bytes.length, size - bytes.length)
      return bytes.toString('utf8').trimEnd().split('\n').slice(-lines).filter(Boolean)
    } finally {
      closeSync(file)
    }
  }
}
