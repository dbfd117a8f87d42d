/**
 * The console at `/`: the files of a directory that a build filled, and a manifest of which are there and which paths are its pages.
 * Read once, when the API starts. No key is needed to load it; what it shows it asks below /v1, with the key of whoever looks.
 */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import type { OpenAPIHono } from '@hono/zod-openapi'
import { z } from 'zod'
import { problemAnswer, type RequestEnv } from './problems.ts'
import { CHECKED, type FileType, FOREVER, fileAnswer, served, TYPES } from './served.ts'

const MANIFEST = 'manifest.json'
const manifest = z.strictObject({
  /** Paths as Hono names them, all answered with `index.html`. */
  pages: z.array(z.string().regex(/^\/[a-z/:]*$/)),
  /** Named after their content. */
  assets: z.array(z.string().regex(/^[A-Za-z0-9_-]+\.[a-z]+$/)),
})
export type Manifest = z.infer<typeof manifest>

/** @param directory undefined, or one without a build: `/` says how to get one */
export function addConsole(app: OpenAPIHono<RequestEnv>, directory: string | undefined): void {
  const built = directory === undefined ? undefined : readManifest(directory)
  if (directory === undefined || built === undefined) {
    app.get('/', c => problemAnswer(c, 'unknown_route', 'the console is not built: npm run console, and start again'))
    return
  }
  const page = served('html', readFileSync(join(directory, 'index.html')))
  for (const path of built.pages) app.get(path, c => fileAnswer(c, page, CHECKED))
  for (const name of built.assets) {
    const file = served(typeOf(name), readFileSync(join(directory, 'assets', name)))
    app.get(`/assets/${name}`, c => fileAnswer(c, file, FOREVER))
  }
}

function typeOf(name: string): FileType {
  const ending = name.slice(name.lastIndexOf('.') + 1)
  const type = (Object.keys(TYPES) as FileType[]).find(known => known === ending)
  if (!type) throw new Error(`the console has a file of a kind that is not served: ${name}`)
  return type
}

function readManifest(directory: string): Manifest | undefined {
  let text: string
  try {
    text = readFileSync(join(directory, MANIFEST), 'utf8')
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return undefined
    throw error
  }
  return manifest.parse(JSON.parse(text))
}
