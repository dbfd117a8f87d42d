/** `/v1/annotations`: what happened, to be drawn over charts. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import type { Store } from '../../../ingest/store/clickhouse.ts'
import { ANNOTATION_KINDS, annotate, annotations } from '../../annotations/annotations.ts'
import type { Desk } from '../../metrics/answer.ts'
import { DIMENSIONS } from '../../metrics/filter.ts'
import { answered, meta, NO_META, PROBLEMS, time } from '../envelope.ts'
import { instant, limit, range } from '../parameters.ts'
import { problem, type RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'

const TITLE_MAX = 200
const TEXT_MAX = 4_000
const LABEL_MAX = 256

/** Half a surrogate pair is no text: it would come back as another one. */
const HALF_A_CHARACTER = /\p{Surrogate}/u
const text = (least: number, most: number) =>
  z
    .string()
    .min(least)
    .max(most)
    .refine(value => !HALF_A_CHARACTER.test(value), 'must be text')

const newAnnotation = z
  .strictObject({
    id: z.uuid().toLowerCase().openapi({ description: 'Chosen by whoever writes: the same again is the same answer' }),
    at: instant,
    until: instant.nullable().default(null),
    kind: z.enum(ANNOTATION_KINDS),
    title: text(1, TITLE_MAX),
    text: text(0, TEXT_MAX).default(''),
    dimensions: z
      .partialRecord(z.enum(DIMENSIONS), text(1, LABEL_MAX))
      .default({})
      .openapi({ description: 'Whom it is about; empty: everybody' }),
  })
  .openapi('NewAnnotation')

const annotation = z
  .object({
    id: z.uuid(),
    at: time,
    until: time.nullable(),
    kind: z.enum(ANNOTATION_KINDS),
    title: z.string(),
    text: z.string(),
    dimensions: z.partialRecord(z.enum(DIMENSIONS), z.string()),
    created_at: time,
    created_by: z.string().nullable(),
  })
  .openapi('Annotation')

const listRoute = createRoute({
  method: 'get',
  path: '/v1/annotations',
  security: needs('metrics:read'),
  summary: 'Deploys, incidents and notes that reach into the range, the newest first',
  request: { query: z.strictObject({ ...range, limit: limit(100, 1_000) }) },
  responses: answered('Annotations', annotation),
})

const refused = (description: string) => ({ description, content: { 'application/problem+json': { schema: problem } } })

const writeRoute = createRoute({
  method: 'post',
  path: '/v1/annotations',
  security: needs('admin'),
  summary: 'Note a deploy, an incident, anything; repeatable',
  request: {
    query: z.strictObject({}),
    body: { required: true, content: { 'application/json': { schema: newAnnotation } } },
  },
  responses: {
    201: {
      description: 'It is there, now or already',
      content: { 'application/json': { schema: z.object({ data: z.array(annotation), meta }) } },
    },
    ...PROBLEMS,
    409: refused('Another annotation has this id'),
    413: refused('The body is too large'),
  },
})

export const addAnnotationRoutes = (app: OpenAPIHono<RequestEnv>, desk: Desk, store: Store) =>
  app
    .openapi(listRoute, async c => {
      const { limit: most, ...asked } = c.req.valid('query')
      const { data, from, to } = await annotations(desk, asked, most)
      return c.json({ data, meta: { ...NO_META, from, to } }, 200)
    })
    .openapi(writeRoute, async c => {
      const { at, until, ...given } = c.req.valid('json')
      const until_ms = until === null ? null : Date.parse(until)
      const annotation = { ...given, at_ms: Date.parse(at), until_ms }
      const written = await annotate(desk, store, annotation, c.get('key_id') ?? '')
      return c.json({ data: [written], meta: NO_META }, 201)
    })
