/**
 * One JSON line per change of state, on stderr: a fixed snake_case name and fields, nothing per message.
 * Never a secret, never a player's data: callers log counts, positions and codes.
 */
import { type Logger, pino } from 'pino'

export type Log = Logger

export function createLog(process_name: string, level: string): Log {
  return pino(
    {
      level,
      base: { process: process_name, pid: process.pid },
      messageKey: 'event',
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: label => ({ level: label }) },
    },
    pino.destination({ fd: 2, sync: true }),
  )
}
