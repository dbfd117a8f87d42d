/**
 * Is there room on the disk? Asked before a start, as Kafka and ClickHouse find out in the middle of a write.
 */
import { statfsSync } from 'node:fs'
import { CannotStart } from './child.ts'

/** @throws CannotStart if less is free than needed on the disk of the directory, which exists */
export function mustHaveRoom(directory: string, needed_bytes: number, who: string): void {
  const { bavail, bsize } = statfsSync(directory)
  const fault = roomFault(directory, bavail * bsize, needed_bytes, who)
  if (fault !== undefined) throw new CannotStart(fault)
}

export function roomFault(
  directory: string,
  free_bytes: number,
  needed_bytes: number,
  who: string,
): string | undefined {
  if (free_bytes >= needed_bytes) return undefined
  const mb = (bytes: number): string => `${Math.round(bytes / 1e6)} MB`
  return `Only ${mb(free_bytes)} are free on the disk of ${directory}, ${who} needs ${mb(needed_bytes)}: free some or set DATA_DIR to a directory on another disk`
}
