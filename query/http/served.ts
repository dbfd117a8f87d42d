/**
 * Files that a browser is given: from memory, packed where it takes that, told again only when they changed. Their policy lets a page
 * load and ask nothing elsewhere, and run no script that is not a file of ours.
 */
import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import type { Context } from 'hono'
import type { RequestEnv } from './problems.ts'

export const TYPES = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  svg: 'image/svg+xml',
  png: 'image/png',
  txt: 'text/plain; charset=utf-8',
} as const
export type FileType = keyof typeof TYPES
const PACKED: readonly FileType[] = ['html', 'js', 'css', 'svg', 'txt']

const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self' data:",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
].join('; ')

/** Looked at again each time, loaded again only when it changed. */
export const CHECKED = 'no-cache'
/** The name changes with the content. */
export const FOREVER = 'public, max-age=31536000, immutable'

export interface Served {
  readonly type: string
  readonly body: Uint8Array<ArrayBuffer>
  readonly gzip: Uint8Array<ArrayBuffer> | undefined
  readonly etag: string
}

const bytes = (content: Buffer): Uint8Array<ArrayBuffer> => new Uint8Array(content)

export function served(type: FileType, content: string | Buffer): Served {
  const body = Buffer.from(content)
  const hash = createHash('sha256').update(body).digest('base64url').slice(0, 22)
  const gzip = PACKED.includes(type) ? bytes(gzipSync(body)) : undefined
  return { type: TYPES[type], body: bytes(body), gzip, etag: `"${hash}"` }
}

export function fileAnswer(c: Context<RequestEnv>, { type, body, gzip, etag }: Served, caching: string): Response {
  const packed = gzip !== undefined && /\bgzip\b/.test(c.req.header('accept-encoding') ?? '')
  // Two forms of one file are two things to a cache.
  const tag = packed ? etag.replace(/"$/, '-gzip"') : etag
  const headers = {
    etag: tag,
    'cache-control': caching,
    vary: 'accept-encoding',
    'content-security-policy': POLICY,
    'referrer-policy': 'no-referrer',
  }
  if (c.req.header('if-none-match') === tag) return c.body(null, 304, headers)
  const typed = { ...headers, 'content-type': type }
  return packed ? c.body(gzip, 200, { ...typed, 'content-encoding': 'gzip' }) : c.body(body, 200, typed)
}
