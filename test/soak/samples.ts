/** What is looked at every ten seconds of a soak, a line each in a file: a run that was broken off has left all it saw. */
import { appendFileSync, existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import { dirname } from 'node:path'
import { z } from 'zod'

export const PROCESSES = ['ingester', 'api', 'clickhouse', 'kafka'] as const
export type Process = (typeof PROCESSES)[number]

const figure = z.number().nullable()
const sampleSchema = z.object({
  at_ms: z.number(),
  /** Since its begin; of `soak`, the fleet and whoever asks. */
  processes: z.record(z.string(), z.object({ rss_mb: figure, heap_mb: figure, cpu_s: figure })),
  /** The most parts that one partition of each table has. */
  parts: z.record(z.string(), z.number()),
  /** From handing an event to the producer until a query sees it, of each event looked for since the last sample. */
  fresh_ms: z.array(z.number()),
  /** Of each answer of the API since the last sample. */
  took_ms: z.array(z.number()),
  /** Since the begin. */
  asked: z.number(),
  failed: z.number(),
  log_errors: z.number(),
  died: z.number(),
  made: z.number(),
  playing: z.number(),
  /** Records not stored yet. Null: of some partition unknown. */
  lag: figure,
})
export type Sample = z.infer<typeof sampleSchema>

/** Begins an empty file; what is there is kept beside it, the one before that is not. */
export function beginSamples(file: string): void {
  mkdirSync(dirname(file), { recursive: true })
  if (existsSync(file)) renameSync(file, `${file}.1`)
  writeFileSync(file, '')
}

export const appendSample = (file: string, sample: Sample): void => appendFileSync(file, `${JSON.stringify(sample)}\n`)

/** @throws naming the line that is none; but for the last, which may have been broken off */
export function readSamples(file: string): Sample[] {
  const lines = readFileSync(file, 'utf8').split('\n')
  // Behind the last newline stands nothing, or what was being written.
  return lines.slice(0, -1).map((line, n) => {
    try {
      return sampleSchema.parse(JSON.parse(line))
    } catch (error) {
      throw new Error(`${file}, line ${n + 1}: ${error instanceof Error ? error.message : error}`)
    }
  })
}
