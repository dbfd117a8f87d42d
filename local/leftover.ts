/**
 * What a supervisor that was killed left running. Each part's pid is kept in a file beside its data; the next start
 * finds it there and ends it, but only after checking that the pid still is that very process and that its supervisor
 * is gone: pids are used again, and a second supervisor on the same data must not shoot down the first one's parts.
 * A process is told by when it started, not by its command: a part is first the wrapper it replaces (`setpriv`).
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'

const runningSchema = z.object({ pid: z.int().positive(), started: z.string() })
const pidFileSchema = runningSchema.extend({ supervisor: runningSchema })
type Running = z.infer<typeof runningSchema>

export type Leftover = 'none' | 'ended' | 'supervised'

const GRACE_MS = 10_000

const pidFile = (data_dir: string, part: string): string => join(data_dir, 'run', `${part}.json`)

export function rememberPid(data_dir: string, part: string, pid: number): void {
  mkdirSync(join(data_dir, 'run'), { recursive: true })
  const running = (pid: number): Running => ({ pid, started: startOf(pid) })
  writeFileSync(pidFile(data_dir, part), JSON.stringify({ ...running(pid), supervisor: running(process.pid) }))
}

export function forgetPid(data_dir: string, part: string): void {
  rmSync(pidFile(data_dir, part), { force: true })
}

/** `supervised`: it runs and so does its supervisor, another process than this one. Nothing was done to it. */
export async function endLeftover(data_dir: string, part: string): Promise<Leftover> {
  const left = readPidFile(pidFile(data_dir, part))
  if (left === undefined || !isRunning(left)) return 'none'
  if (left.supervisor.pid !== process.pid && isRunning(left.supervisor)) return 'supervised'
  signal(left.pid, 'SIGTERM')
  signal(left.pid, 'SIGCONT')
  const deadline = performance.now() + GRACE_MS
  while (isRunning(left) && performance.now() < deadline) await sleep(50)
  if (isRunning(left)) signal(left.pid, 'SIGKILL')
  while (isRunning(left)) await sleep(20)
  return 'ended'
}

const isRunning = (was: Running): boolean => was.started !== '' && startOf(was.pid) === was.started

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It ended between the look and the signal.
  }
}

/** Boot and ticks since it on Linux, a date elsewhere. Empty: there is no such process, or it ended. */
function startOf(pid: number): string {
  try {
    if (process.platform !== 'linux')
      return execFileSync('ps', ['-o', 'lstart=', '-p', String(pid)], { encoding: 'utf8' }).trim()
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // The second field is a name, which may hold blanks and brackets: the third is behind its last bracket.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const [state, ticks] = [fields[0], fields[22 - 3]]
    return state === 'Z' ? '' : `${readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim()} ${ticks}`
  } catch {
    return ''
  }
}

function readPidFile(path: string): z.infer<typeof pidFileSchema> | undefined {
  try {
    return pidFileSchema.parse(JSON.parse(readFileSync(path, 'utf8')))
  } catch {
    return undefined
  }
}
