/**
 * The console as files: bundled, small, each named after its content, so that a browser may keep it for ever. Takes a directory and
 * fills it; what was there before is gone. The manifest tells the API which files there are and which paths are pages.
 */
import { mkdirSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { build } from 'esbuild'
import type { Manifest } from '../../query/http/console.ts'
import { PAGE_PATHS } from './browser/paths.ts'

const BROWSER = join(import.meta.dirname, 'browser')

/** @returns the names of the assets */
export async function buildConsole(directory: string): Promise<readonly string[]> {
  const fresh = `${directory}.${process.pid}`
  rmSync(fresh, { recursive: true, force: true })
  const { metafile } = await build({
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
    metafile: true,
    logLevel: 'silent',
  })
  const assets = Object.keys(metafile.outputs).map(path => basename(path))
  const manifest: Manifest = { pages: [...PAGE_PATHS], assets }
  writeFileSync(join(fresh, 'index.html'), page(assets))
  writeFileSync(join(fresh, 'manifest.json'), JSON.stringify(manifest))
  rmSync(directory, { recursive: true, force: true })
  mkdirSync(dirname(directory), { recursive: true })
  renameSync(fresh, directory)
  return readdirSync(join(directory, 'assets'))
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
