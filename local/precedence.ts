/**
 * Who is waited for goes first. On one machine an answer to a running game would otherwise wait behind merges and backlogs, which have
 * until the next second: so the parts behind the API give way to it. They get whatever it leaves, which is nearly everything.
 */
import { writeFileSync } from 'node:fs'
import { setPriority } from 'node:os'

const NICENESS = 10

export function giveWay(pid: number): void {
  try {
    setPriority(pid, NICENESS)
    // Each part is a session of its own, and where Linux groups by session it weighs these against each other.
    writeFileSync(`/proc/${pid}/autogroup`, String(NICENESS))
  } catch {
    // It is gone already, or this system has no such thing: it only answers later then.
  }
}
