/**
 * Shutdown is a list: steps run once, in the order given, each with a deadline of its own.
 * A step that fails or overruns is reported and the next one still runs; a second signal ends at once.
 */
import type { Log } from './log.ts'

export interface ShutdownStep {
  readonly name: string
  readonly deadline_ms: number
  run(): Promise<unknown> | unknown
}

/** Runs the steps in order. Returns the names of those that failed or overran. */
export async function runShutdown(steps: readonly ShutdownStep[], log: Log): Promise<string[]> {
  const failed: string[] = []
  for (const step of steps) {
    let timer: NodeJS.Timeout | undefined
    const deadline = new Promise<never>((_, reject) => {
      timer = setTimeout(() => reject(new Error(`took longer than ${step.deadline_ms} ms`)), step.deadline_ms)
    })
    try {
      await Promise.race([step.run(), deadline])
    } catch (error) {
      failed.push(step.name)
      log.error({ step: step.name, error: String(error) }, 'shutdown_step_failed')
    } finally {
      clearTimeout(timer)
    }
  }
  return failed
}

/** Calls `stop` on the first SIGINT or SIGTERM, and exits with its answer; the second signal exits at once. */
export function onSignal(stop: (signal: NodeJS.Signals) => Promise<number>): void {
  let stopping = false
  const handle = (signal: NodeJS.Signals) => {
    if (stopping) process.exit(130)
    stopping = true
    stop(signal).then(
      code => process.exit(code),
      () => process.exit(1),
    )
  }
  process.on('SIGINT', handle)
  process.on('SIGTERM', handle)
}
