/**
 * The parameters of the routes: each is a schema that validates, types and documents at once. What does not fit becomes a Mistake
 * that names the parameter; `readMistake` is where zod's issues end.
 */
import { z } from '@hono/zod-openapi'
import { SESSION_ID } from '../../ingest/contract/events.ts'
import { ANSWER_TIERS, METRIC_IDS, type MetricId } from '../metrics/catalogue.ts'
import { DIMENSIONS, type Dimension, isDimension, parseFilter } from '../metrics/filter.ts'
import { Mistake, type MistakeCode } from '../metrics/mistake.ts'
import { ORDERS } from '../metrics/questions.ts'
import { parseMoment, parseStep } from '../metrics/range.ts'
import { RUNG, RUNG_METRIC_IDS } from '../metrics/rungs.ts'

const TEXT_MAX = 256
const FILTERS_MAX = 50
const GROUP_DIMENSIONS_MAX = 2

/** What a parameter's misfit is called, where the schema does not say so itself. */
const CODES: Readonly<Record<string, MistakeCode>> = {
  from: 'bad_time',
  to: 'bad_time',
  step: 'bad_step',
  tier: 'bad_tier',
  filter: 'bad_filter',
  group_by: 'unknown_dimension',
  by: 'unknown_dimension',
  limit: 'bad_limit',
  where: 'bad_condition',
  cursor: 'bad_cursor',
  metric: 'unknown_metric',
  order: 'bad_order',
  a: 'bad_filter',
  b: 'bad_filter',
  baseline_from: 'bad_time',
  baseline_to: 'bad_time',
  ladder: 'bad_ladder',
  session_id: 'bad_session_id',
}

/** A text that `parse` makes something of; undefined is a misfit. */
export const parsed = <T>(
  parse: (text: string) => T | undefined,
  expected: string,
  mistake?: MistakeCode,
  chars_max = TEXT_MAX,
) =>
  z
    .string()
    .max(chars_max)
    .transform((text, context): T => {
      const value = parse(text)
      if (value !== undefined) return value
      context.addIssue({ code: 'custom', message: `expected ${expected}`, params: { mistake } })
      return z.NEVER
    })

const MOMENT = 'ISO 8601 with its zone, epoch milliseconds, now, or now-15m'
const anyMoment = parsed(parseMoment, MOMENT)
export const moment = (fallback: string) =>
  anyMoment.prefault(fallback).openapi({
    type: 'string',
    example: fallback,
    description: 'ISO 8601 with its zone, epoch milliseconds, `now`, or `now-15m`',
  })

/** @param fallback in words */
export const momentOf = (fallback: string) =>
  anyMoment.openapi({ type: 'string', example: 'now-15m', description: `${MOMENT}; ${fallback}` })

const LAST_YEAR = 2099
/** A moment in a body: ISO 8601 with its zone, of a time that an event can have. */
export const instant = z.iso
  .datetime({ offset: true })
  .refine(value => {
    const year = new Date(value).getUTCFullYear()
    return year >= 1970 && year <= LAST_YEAR
  }, `must lie between 1970 and ${LAST_YEAR}`)
  .openapi({ example: '2026-01-01T00:00:00.000Z' })

/** A parameter that may be repeated; `parse` throws a Mistake at the first that does not fit. */
export const repeated = <T>(parse: (text: string) => T, chars_max: number, most: number) =>
  z
    .union([z.string().max(chars_max), z.array(z.string().max(chars_max)).max(most)])
    .default([])
    .transform((texts, context): T[] => {
      try {
        return (typeof texts === 'string' ? [texts] : texts).map(parse)
      } catch (error) {
        if (!(error instanceof Mistake)) throw error
        context.addIssue({ code: 'custom', message: error.message, params: { mistake: error.code } })
        return z.NEVER
      }
    })

export const filter = repeated(parseFilter, TEXT_MAX, FILTERS_MAX).openapi({
  type: 'array',
  items: { type: 'string' },
  example: ['region:eu-west', '!isp:examplenet'],
  description:
    '`dimension:value`, repeated: same dimension = or, different = and, `!` excludes; the value is everything after the first colon, empty means unknown; `session_id` is a dimension here',
})

const dimensionList = (text: string): Dimension[] | undefined => {
  const names = text.split(',')
  return names.every(isDimension) && new Set(names).size === names.length && names.length <= GROUP_DIMENSIONS_MAX
    ? names.filter(isDimension)
    : undefined
}
export const dimensions = parsed(dimensionList, `one or two of ${DIMENSIONS.join(', ')}, with a comma between`).openapi(
  {
    type: 'string',
    example: 'region,codec',
    description: `One or two of ${DIMENSIONS.join(', ')}`,
  },
)

const breakdownBy = parsed(
  text => (text === RUNG ? RUNG : dimensionList(text)),
  `one or two of ${DIMENSIONS.join(', ')}, with a comma between, or ${RUNG}`,
).openapi({
  type: 'string',
  example: 'region,codec',
  description: `One or two of ${DIMENSIONS.join(', ')}; or ${RUNG}, for ${RUNG_METRIC_IDS.join(', ')}`,
})

export const limit = (fallback: number, most: number) =>
  z.coerce.number().int().min(1).max(most).default(fallback).openapi({ description: 'How many groups at most' })

export const range = { from: moment('now-1h'), to: moment('now') }

export const selection = {
  ...range,
  filter,
  tier: z.enum(ANSWER_TIERS).optional().openapi({ description: 'Forces what is otherwise chosen from range and step' }),
}

export const rangeQuery = z.strictObject(range)
export const overallQuery = z.strictObject(selection)
export const timeseriesQuery = z.strictObject({
  ...selection,
  step: parsed(parseStep, 'auto or a whole number of ten seconds, such as 10s, 1m, 1h').prefault('auto').openapi({
    type: 'string',
    example: '1m',
    description: '`auto`, or a whole number of ten seconds: `10s`, `1m`, `1h`',
  }),
  group_by: dimensions.optional(),
  limit: limit(10, 100),
})
export const breakdownQuery = z.strictObject({
  ...selection,
  by: breakdownBy,
  order: z
    .enum(ORDERS)
    .optional()
    .openapi({ description: '`value`: worst first; `impact`: most of what is bad first' }),
  limit: limit(50, 1_000),
})
export const nothing = z.strictObject({})

const metricId = (text: string): MetricId | undefined => METRIC_IDS.find(id => id === text)
const sessionId = (text: string): string | undefined => (SESSION_ID.test(text) ? text : undefined)

export const metricPath = z.object({
  id: parsed(metricId, 'the id of a metric; GET /v1/metrics lists them', 'unknown_metric').openapi({
    type: 'string',
    enum: METRIC_IDS,
    description: 'Of a metric; `GET /v1/metrics` says what each means',
  }),
})
export const sessionPath = z.object({
  id: parsed(sessionId, 'a session id: a lower-case UUID', 'bad_session_id').openapi({
    type: 'string',
    format: 'uuid',
    description: 'Of a session: a lower-case UUID',
  }),
})

interface Issue {
  readonly code: string
  readonly message: string
  readonly path: readonly PropertyKey[]
  readonly keys?: readonly string[]
  readonly params?: { readonly mistake?: MistakeCode | undefined }
}

const isIssue = (value: unknown): value is Issue => typeof value === 'object' && value !== null && 'path' in value

/** The first thing that does not fit, as a Mistake. */
export function readMistake(issues: readonly unknown[]): Mistake {
  const issue = issues.find(isIssue)
  const unknown = issue?.keys?.[0]
  if (unknown !== undefined)
    return new Mistake('unknown_parameter', unknown.slice(0, TEXT_MAX), 'there is no such parameter here')
  const path = issue?.path ?? []
  const name = path.join('.')
  const code = issue?.params?.mistake ?? CODES[String(path.at(-1))] ?? CODES[String(path[0])] ?? 'bad_parameter'
  return new Mistake(code, name === '' ? undefined : name, issue?.message ?? 'does not fit')
}
