/**
 * `/docs`: the reference page, drawn by Swagger UI from `/openapi.json`. Everything it needs is served from here, from a closed list;
 * its policy lets it load and ask nothing elsewhere and run no script of a page. No key is needed to read; trying a route needs one.
 */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { OpenAPIHono } from '@hono/zod-openapi'
import type { RequestEnv } from './problems.ts'

const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Stream quality: API</title>
<link rel="icon" type="image/png" href="/docs/favicon-32x32.png">
<link rel="stylesheet" href="/docs/swagger-ui.css">
</head>
<body>
<div id="reference"></div>
<noscript>This page needs JavaScript; the document it draws is <a href="/openapi.json">/openapi.json</a>.</noscript>
<script src="/docs/swagger-ui-bundle.js"></script>
<script src="/docs/initializer.js"></script>
</body>
</html>
`
/** The key a reader types in stays in the page. */
const INITIALIZER = `SwaggerUIBundle({
  url: '/openapi.json',
  dom_id: '#reference',
  deepLinking: true,
  docExpansion: 'list',
  defaultModelsExpandDepth: 0,
  tryItOutEnabled: true,
  persistAuthorization: false,
  validatorUrl: null,
})
`
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

const TYPES = {
  html: 'text/html; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  css: 'text/css; charset=utf-8',
  png: 'image/png',
} as const

/** Looked at again each time, loaded again only when it changed. */
const CACHED = 'no-cache'

interface Served {
  readonly type: string
  readonly body: Uint8Array<ArrayBuffer>
  readonly etag: string
}

const served = (type: keyof typeof TYPES, content: string | Buffer): Served => {
  const body = new Uint8Array(Buffer.from(content))
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 22)}"`
  return { type: TYPES[type], body, etag }
}

const resolve = createRequire(import.meta.url).resolve
const packaged = (type: keyof typeof TYPES, file: string) => (): Served =>
  served(type, readFileSync(resolve(`swagger-ui-dist/${file}`)))

const FILES: Readonly<Record<string, () => Served>> = {
  '/docs': () => served('html', PAGE),
  '/docs/initializer.js': () => served('js', INITIALIZER),
  '/docs/swagger-ui.css': packaged('css', 'swagger-ui.css'),
  '/docs/swagger-ui-bundle.js': packaged('js', 'swagger-ui-bundle.js'),
  '/docs/favicon-32x32.png': packaged('png', 'favicon-32x32.png'),
}

export function addDocs(app: OpenAPIHono<RequestEnv>): void {
  app.get('/docs/', c => c.redirect('/docs', 301))
  for (const [path, load] of Object.entries(FILES)) {
    let file: Served | undefined
    app.get(path, c => {
      // The bundle is read when somebody wants it.
      file ??= load()
      const headers = {
        etag: file.etag,
        'cache-control': CACHED,
        'content-security-policy': POLICY,
        'referrer-policy': 'no-referrer',
      }
      if (c.req.header('if-none-match') === file.etag) return c.body(null, 304, headers)
      return c.body(file.body, 200, { ...headers, 'content-type': file.type })
    })
  }
}
