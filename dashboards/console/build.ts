/**
 * The console as files: bundled, small, each named after its content, so that a browser may keep it for ever. Takes a directory and
 * fills it; what was there before is gone. The manifest tells the API which files there are and which paths are pages.
 */
import { createHash } from 'node:crypto'
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { build } from 'esbuild'
import type { Manifest } from '../../query/http/console.ts'
import { PAGE_PATHS } from './browser/paths.ts'

const ROOT = join(import.meta.dirname, '../..')
const BROWSER = join(import.meta.dirname, 'browser')

/** @returns the names of the assets */
export async function buildConsole(directory: string): Promise<readonly string[]> {
  const fresh = `${directory}.${process.pid}`
  rmSync(fresh, { recursive: true, force: true })
  const { metafile, outputFiles } = await build({
    entryPoints: [join(BROWSER, 'main.tsx'), join(BROWSER, 'icon.svg')],
    outdir: join(fresh, 'assets'),
    entryNames: '[name]-[hash]',
    bundle: true,
    minify: true,
    format: 'esm',
    target: ['es2022', 'chrome111', 'firefox114', 'safari16.4'],
    jsx: 'automatic',
    jsxImportSource: 'preact',
    loader: { '.svg': 'copy' },
    banner: { js: `/*! Whose work this is: /assets/${LICENCES} */` },
    metafile: true,
    write: false,
    logLevel: 'silent',
  })
  const licences = licencesOf(Object.keys(metafile.inputs))
  const notice = `licences-${createHash('sha256').update(licences).digest('hex').slice(0, 8).toUpperCase()}.txt`
  const files = outputFiles.map(({ path, contents }): [string, Buffer | string] => {
    const name = basename(path)
    const content = Buffer.from(contents)
    return [name, name.endsWith('.js') ? content.toString().replace(LICENCES, notice) : content]
  })
  files.push([notice, licences])
  mkdirSync(join(fresh, 'assets'), { recursive: true })
  for (const [name, content] of files) writeFileSync(join(fresh, 'assets', name), content)
  const assets = files.map(([name]) => name)
  const manifest: Manifest = { pages: [...PAGE_PATHS], assets }
  writeFileSync(join(fresh, 'index.html'), page(assets))
  writeFileSync(join(fresh, 'manifest.json'), JSON.stringify(manifest))
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(dirname(directory), { recursive: true })
  renameSync(fresh, directory)
  return assets
}

/** Stands in the script until the name is known. */
const LICENCES = 'licences.txt'
const PACKAGE = /node_modules\/((?:@[^/]+\/)?[^/]+)\//

/** Of every package that something was taken from. */
function licencesOf(inputs: readonly string[]): string {
  const names = new Set(inputs.flatMap(path => PACKAGE.exec(path)?.[1] ?? []))
  return [...names]
    .sort()
    .map(name => {
      const place = join(ROOT, 'node_modules', name)
      const { version } = JSON.parse(readFileSync(join(place, 'package.json'), 'utf8')) as { version: string }
      return `${name} ${version}\n\n${readFileSync(join(place, 'LICENSE'), 'utf8').trim()}\n`
    })
    .join('\n\n')
}

function page(assets: readonly string[]): string {
  const asset = (ending: string): string => `/assets/${assets.find(name => name.endsWith(ending))}`
  return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Stream quality</title>
<link rel="icon" type="image/svg+xml" href="${asset('.svg')}">
<link rel="stylesheet" href="${asset('.css')}">
<script type="module" src="${asset('.js')}"></script>
</head>
<body>
<div id="console"></div>
<noscript>The console needs JavaScript. What it shows is answered by the API: <a href="/docs">/docs</a>.</noscript>
</body>
</html>
`
}
