/**
 * Which variables a command reads, read off its code: bundled, so that only what can be reached from its file is looked at, and in that
 * each `config.NAME`. What follows from several variables (`config.brokers`) reads those that its function looks at.
 */
import { join } from 'node:path'
import { buildSync } from 'esbuild'
import { FOLLOWING } from '../../ingest/runtime/config.ts'
import { DEFAULTS, type Variables, variables } from '../../ingest/runtime/variables.ts'

/** The variables that each name of `Config` rests on. */
const ORIGINS: Readonly<Record<string, readonly string[]>> = {
  ...Object.fromEntries(Object.keys(variables.shape).map(name => [name, [name]])),
  ...Object.fromEntries(Object.entries(FOLLOWING).map(([name, follow]) => [name, lookedAt(follow)])),
}

function lookedAt(follow: (values: Variables) => unknown): string[] {
  const seen = new Set<string>()
  follow(
    new Proxy(DEFAULTS, {
      get(values, name) {
        seen.add(String(name))
        return Reflect.get(values, name)
      },
    }),
  )
  return [...seen]
}

function codeOf(file: string): string {
  const { outputFiles } = buildSync({
    entryPoints: [join(import.meta.dirname, '..', '..', file)],
    ...{ bundle: true, write: false, platform: 'node', format: 'esm', target: 'node20', minifyWhitespace: true },
    packages: 'external',
    // They hand configuration out.
    external: ['*/runtime/config.ts', '*/runtime/variables.ts'],
  })
  return outputFiles.map(({ text }) => text).join('\n')
}

/** @param file that a process starts with */
export function variablesReadBy(file: string): Set<string> {
  const code = codeOf(file)
  /** As a field of what was read or handed on; esbuild numbers names that several files have. A default is no reading. */
  const isRead = (name: string): boolean => new RegExp(String.raw`\b(?:config|variables)\d*\.${name}\b`).test(code)
  return new Set(Object.entries(ORIGINS).flatMap(([name, origins]) => (isRead(name) ? origins : [])))
}
