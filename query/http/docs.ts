/**
 * `/docs`: the reference page, drawn by Swagger UI from `/openapi.json`. Everything it needs is served from here, from a closed list;
 * its policy lets it load and ask nothing elsewhere and run no script of a page. No key is needed to read; trying a route needs one.
 */
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import type { OpenAPIHono } from '@hono/zod-openapi'
import type { RequestEnv } from './problems.ts'
import { CHECKED, type FileType, fileAnswer, type Served, served } from './served.ts'

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
const require = createRequire(import.meta.url)
const packaged = (type: FileType, file: string) => (): Served => served(type, readFileSync(file))

const FILES: Readonly<Record<string, () => Served>> = {
  '/docs': () => served('html', PAGE),
  '/docs/initializer.js': () => served('js', INITIALIZER),
  '/docs/swagger-ui.css': packaged('css', require.resolve('swagger-ui-dist/swagger-ui.css')),
  '/docs/swagger-ui-bundle.js': packaged('js', require.resolve('swagger-ui-dist/swagger-ui-bundle.js')),
  '/docs/favicon-32x32.png': packaged('png', require.resolve('swagger-ui-dist/favicon-32x32.png')),
}

export function addDocs(app: OpenAPIHono<RequestEnv>): void {
  app.get('/docs/', c => c.redirect('/docs', 301))
  for (const [path, load] of Object.entries(FILES)) {
    let file: Served | undefined
    app.get(path, c => {
      // The bundle is read when somebody wants it.
      file ??= load()
      return fileAnswer(c, file, CHECKED)
    })
  }
}
