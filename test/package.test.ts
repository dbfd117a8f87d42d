/**
 * The package as somebody else installs it: packed, unpacked into a project of theirs, read by plain node and by their compiler.
 * What the papers show of it in TypeScript is what is compiled.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { bitrate } from '../ingest/contract/events.ts'

const ROOT = join(import.meta.dirname, '..')
const run = promisify(execFile)
const root = mkdtempSync(join(tmpdir(), 'stream-quality-package-'))
const theirs = join(root, 'theirs')

const { exports }: { exports: Record<string, unknown> } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
const entries = Object.keys(exports).map(path => path.replace('./', 'stream-quality/'))

beforeAll(async () => {
  await run('npm', ['pack', '--pack-destination', root], { cwd: ROOT })
  const [tarball = ''] = readdirSync(root).filter(name => name.endsWith('.tgz'))
  const installed = join(theirs, 'node_modules', 'stream-quality')
  mkdirSync(installed, { recursive: true })
  await run('tar', ['-xzf', join(root, tarball), '--strip-components=1', '-C', installed])
  // What it depends on is found one directory up, as npm would have put it beside it.
  symlinkSync(join(ROOT, 'node_modules'), join(root, 'node_modules'))
  writeFileSync(join(theirs, 'package.json'), '{"type":"module"}')
}, 300_000)

afterAll(() => rmSync(root, { recursive: true, force: true }))

test('every entry point is there for plain node, and what it emits is an event', async () => {
  writeFileSync(
    join(theirs, 'emit.js'),
    `for (const entry of ${JSON.stringify(entries)}) if (Object.keys(await import(entry)).length === 0) throw new Error(entry)
     const { createEmitter } = await import('stream-quality/emit')
     const emitter = createEmitter({
       session_id: '0f8fad5b-d9cb-469f-a165-70867728950e', source: 'client', context: { game: 'metro' },
       send: async messages => { for (const { value } of messages) console.log(String(value)) },
     })
     emitter.emit({ kind: 'bitrate', started_at_ms: Date.now(), interval_ms: 1000, bitrate_kbps: 14800 })
     await emitter.close(5000)`,
  )
  const { stdout } = await run(process.execPath, ['emit.js'], { cwd: theirs })
  expect(bitrate.parse(JSON.parse(stdout))).toMatchObject({ kind: 'bitrate', bitrate_kbps: 14_800 })
})

test.each(['README.md', 'docs/API.md'])(
  'the TypeScript of %s compiles against it',
  async paper => {
    const blocks = [...readFileSync(join(ROOT, paper), 'utf8').matchAll(/```ts\n([\s\S]*?)```/g)].map(([, ts]) => ts)
    expect(blocks.length).toBeGreaterThanOrEqual(2)
    // What the reader brings along.
    const given = 'declare const session_id: string, key: string, started_at_ms: number'
    writeFileSync(join(theirs, 'readme.ts'), [given, ...blocks].join('\n'))
    const flags = [
      '--noEmit',
      '--strict',
      '--target',
      'es2023',
      '--module',
      'nodenext',
      '--skipLibCheck',
      '--types',
      'node',
    ]
    await run(join(ROOT, 'node_modules/.bin/tsc'), [...flags, 'readme.ts'], { cwd: theirs }).catch(
      (error: { stdout: string }) => expect.fail(error.stdout),
    )
  },
  120_000,
)
