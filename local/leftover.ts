/**
 * What a supervisor that was killed left running. Each part's pid is kept in a file beside its data; the next start
 * finds it there and ends it, but only after checking that the pid still is that very command and that its supervisor
 * is gone: pids are used again, and a second supervisor on the same data must not shoot down the first one's parts.
 */
import { execFileSync } from 'node:child_process'
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'

const runningSchema = z.object({ pid: z.int().positive(), command: z.string() })
const pidFileSchema = runningSchema.extend({ supervisor: runningSchema })
type Running = z.infer<typeof runningSchema>

export type Leftover = 'none' | 'ended' | 'supervised'

const GRACE_MS = 10_000

const pidFile = (data_dir: string, part: string): string => join(data_dir, 'run', `${part}.json`)

/** `command`: the line the process list shows for it, words joined by blanks. */
export function rememberPid(data_dir: string, part: string, pid: number, command: string): void {
  mkdirSync(join(data_dir, 'run'), { recursive: true })
  const supervisor = { pid: process.pid, command: commandLine(process.pid) }
  writeFileSync(pidFile(data_dir, part), JSON.stringify({ pid, command, supervisor }))
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

const isRunning = (was: Running): boolean => was.command !== '' && commandLine(was.pid) === was.command

function signal(pid: number, name: NodeJS.Signals): void {
  try {
    process.kill(pid, name)
  } catch {
    // It ended between the look and the signal.
  }
}

/** Empty: there is no such process. */
function commandLine(pid: number): string {
  try {
    if (process.platform === 'linux') return readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ').trim()
    return execFileSync('ps', ['-o', 'command=', '-p', String(pid)], { encoding: 'utf8' }).trim()
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
