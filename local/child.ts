/**
 * One child process: in a session of its own, its output in a file, ended by SIGTERM and after a deadline by SIGKILL.
 * On Linux the kernel ends it when the process that started it dies, however that happens.
 */
import { spawn, spawnSync } from 'node:child_process'
import { closeSync } from 'node:fs'
import type { Environment } from '../ingest/runtime/config.ts'

/** Something needed is missing. The message names it and says what to do. */
export class CannotStart extends Error {
  override readonly name = 'CannotStart'
}

export interface Command {
  readonly file: string
  readonly args: readonly string[]
  readonly environment: Environment
  readonly cwd?: string
}

export interface Child {
  readonly pid: number
  /** Aborted when it is gone; the reason says how: `code 1`, `SIGKILL`. */
  readonly gone: AbortSignal
  /** Resolves when it is gone, with how. */
  readonly exit: Promise<string>
  send(signal: NodeJS.Signals): void
  /** Idempotent, the first deadline counts. Resolves when it is gone; true: it had to be killed. */
  end(deadline_ms: number): Promise<boolean>
}

/** @param output descriptor for its stdout and stderr; closed here */
export async function launch(command: Command, output: number): Promise<Child> {
  const [file, ...args] = [...endsWithParent(), command.file, ...command.args] as [string, ...string[]]
  const child = spawn(file, args, {
    detached: true,
    stdio: ['ignore', output, output],
    env: command.environment,
    ...(command.cwd === undefined ? {} : { cwd: command.cwd }),
  })
  const gone = new AbortController()
  const exit = new Promise<string>(resolve => {
    child.once('exit', (code, signal) => {
      const how = signal ?? `code ${code}`
      gone.abort(how)
      resolve(how)
    })
  })
  try {
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve)
      child.once('error', error => reject(new CannotStart(`${command.file} could not be started: ${error.message}`)))
    })
  } finally {
    closeSync(output)
  }
  const pid = child.pid ?? 0
  const send = (signal: NodeJS.Signals): void => {
    child.kill(signal)
  }
  let ending: Promise<boolean> | undefined
  return { pid, gone: gone.signal, exit, send, end: deadline_ms => (ending ??= endChild(exit, send, deadline_ms)) }
}

async function endChild(
  exit: Promise<string>,
  send: (signal: NodeJS.Signals) => void,
  deadline_ms: number,
): Promise<boolean> {
  let killed = false
  const deadline = setTimeout(() => {
    killed = true
    send('SIGKILL')
  }, deadline_ms)
  send('SIGTERM')
  // A stopped process takes its SIGTERM only once it goes on.
  send('SIGCONT')
  await exit
  clearTimeout(deadline)
  return killed
}

let wrapper: readonly string[] | undefined

/**
 * The command that makes its argument die with us. It replaces itself, so the pid is the part's own.
 * Tried once, since not every setpriv knows the option and not every system has one.
 */
function endsWithParent(): readonly string[] {
  const candidate = ['setpriv', '--pdeathsig', 'TERM']
  wrapper ??=
    process.platform === 'linux' && spawnSync('setpriv', [...candidate.slice(1), 'true']).status === 0 ? candidate : []
  return wrapper
}
