/**
 * Two kinds of test files: those that use the real Kafka and ClickHouse of test/support/services.ts, and those that need
 * nothing. Only the first wait for the services to start, so a unit test answers at once and without Java.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { defineConfig } from 'vitest/config'

const root = import.meta.dirname
const files = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
  .filter(file => file.endsWith('.test.ts'))
  .map(file => `test/${file}`)
const usesServices = (file: string): boolean => readFileSync(join(root, file), 'utf8').includes('support/services.ts')

const project = (name: string, include: string[], globalSetup: string[]) => ({
  extends: true as const,
  test: { name, include, globalSetup },
})

export default defineConfig({
  test: {
    root,
    // A process per file: a part lives in the session of the process that started it and dies with it.
    pool: 'forks',
    // The broker, the engine and what a test starts itself need the cores too.
    maxWorkers: 2,
    // Deadlines for what hangs, not for what is slow: the machine may be busy with something else entirely.
    testTimeout: 120_000,
    hookTimeout: 300_000,
    // Broker and engine end in order, which on a busy machine takes its time.
    teardownTimeout: 60_000,
    projects: [
      project(
        'alone',
        files.filter(file => !usesServices(file)),
        [],
      ),
      project('services', files.filter(usesServices), ['test/support/global.ts']),
    ],
  },
})
