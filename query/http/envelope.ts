/** The form of every answer, `{ data, meta }`, and of the problem documents beside it: for types and for the OpenAPI document. */
import { z } from '@hono/zod-openapi'
import type { Meta } from '../metrics/answer.ts'
import { METRIC_IDS } from '../metrics/catalogue.ts'
import { DIMENSIONS, type Dimension } from '../metrics/filter.ts'
import { model } from '../metrics/model.ts'
import { problem } from './problems.ts'

export const time = z.iso.datetime().openapi({ example: '2026-01-01T00:00:00.000Z' })

export const meta = z
  .object({
    metric: z.enum(METRIC_IDS).nullable(),
    unit: z.string().nullable(),
    definition_version: z.number().int().nullable(),
    from: time.nullable().openapi({ description: 'Begin of the range, snapped outward to the bucket of the tier' }),
    to: time.nullable().openapi({ description: 'End of the range, exclusive, snapped likewise' }),
    step_s: z.number().int().nullable(),
    tier: z.string().nullable(),
    sessions: z.number().int().nullable(),
    frames: z.number().int().nullable(),
    cells: z.number().int().nullable().openapi({ description: 'Rows of the tier behind the answer' }),
    completeness_pct: z.number().nullable(),
    as_of: time.nullable().openapi({
      description:
        "Kafka's append time of the newest event in the range's last buckets that the answer includes; may say older, never newer. Null where raw events are gone",
    }),
    ingest_lag_ms: z.number().nullable().openapi({ description: 'How long that event took from there into the store' }),
    complete: z
      .boolean()
      .nullable()
      .openapi({ description: 'False while a bucket is still filling or not settled from all its rows' }),
    groups_total: z
      .number()
      .int()
      .optional()
      .openapi({ description: 'How many groups there are; data may show the first' }),
    model: z.object(model).optional().openapi({
      description:
        'Of metrics that stand on opinion scores: ten-second cells that were scored, that lie outside the range of the model, that have no score, and how many have which flag',
    }),
  })
  .openapi('Meta')

/** `reason` and `n` stand beside every value. */
export const value = {
  value: z.number().nullable(),
  reason: z
    .enum(['no_data', 'too_few_values', 'not_reported'])
    .optional()
    .openapi({ description: 'Why there is no value' }),
  n: z
    .number()
    .int()
    .openapi({ description: "How many of what the catalogue calls the metric's `counted` are behind the value" }),
}

const label = z.string().nullable().optional()
/** The dimensions a group is named by; null is unknown. */
export const labels = Object.fromEntries(DIMENSIONS.map(name => [name, label])) as Record<Dimension, typeof label>

/** Of an answer that is about no metric and no range. */
export const NO_META: Meta = {
  ...{ metric: null, unit: null, definition_version: null, from: null, to: null, step_s: null, tier: null },
  ...{ sessions: null, frames: null, cells: null, completeness_pct: null, as_of: null, ingest_lag_ms: null },
  complete: null,
}

const refused = (description: string) => ({ description, content: { 'application/problem+json': { schema: problem } } })

export const PROBLEMS = {
  400: refused('A parameter does not fit; the document names it'),
  401: refused('No key, or not one of ours: send Authorization: Bearer …'),
  403: refused('The key lacks the scope that this route needs; the document names it'),
  404: refused('No such metric or session'),
  413: refused('More URL or body than a request may have'),
  422: refused('Would take too much; the document says what to narrow'),
  429: refused(
    'More requests than this key may make, in all or at once; Retry-After says when to try again. RateLimit and RateLimit-Policy stand in every answer',
  ),
  503: refused('The store does not answer, or too many others ask; Retry-After says when to try again'),
} as const

export const answered = <Row extends z.ZodType>(description: string, row: Row) => answeredWith(description, row, meta)

/** What every answer has, and more. Said flat: who checks answers against the document finds the fields in one place. */
export const metaWith = <More extends z.ZodRawShape>(name: string, more: More) =>
  z.object({ ...meta.shape, ...more }).openapi(name)

/** With more in `meta` than every answer has. */
export const answeredWith = <Row extends z.ZodType, M extends z.ZodType>(description: string, row: Row, meta: M) => ({
  200: { description, content: { 'application/json': { schema: z.object({ data: z.array(row), meta }) } } },
  ...PROBLEMS,
})
