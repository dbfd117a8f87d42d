/** `/v1/export`: the rows of a breakdown or of the session list as a file, sent while they are read. */
import { createRoute, type OpenAPIHono, z } from '@hono/zod-openapi'
import type { Log } from '../../../ingest/runtime/log.ts'
import { METRIC_IDS } from '../../metrics/catalogue.ts'
import { Mistake } from '../../metrics/mistake.ts'
import { ORDERS } from '../../metrics/questions.ts'
import { iso } from '../../metrics/range.ts'
import { NEWEST } from '../../sessions/list.ts'
import { PROBLEMS } from '../envelope.ts'
import { EXPORT_ROWS_MAX, type Export, type ExportDesk, exportBreakdown, exportSessions } from '../export.ts'
import { dimensions, overallQuery } from '../parameters.ts'
import type { RequestEnv } from '../problems.ts'
import { needs } from '../scopes.ts'
import { bodyOf, CONTENT_TYPES, FORMATS } from '../table.ts'
import { where } from './session-list.ts'

const WHATS = ['breakdown', 'sessions'] as const

const exportQuery = overallQuery.extend({
  what: z.enum(WHATS),
  format: z.enum(FORMATS).default('csv'),
  metric: z.enum(METRIC_IDS).optional().openapi({ description: 'Of a breakdown' }),
  by: dimensions.optional(),
  where,
  order: z
    .enum([...ORDERS, NEWEST, ...METRIC_IDS])
    .optional()
    .openapi({ description: 'As of the route that answers the same: of a breakdown, or of sessions' }),
  limit: z.coerce
    .number()
    .int()
    .min(1)
    .max(EXPORT_ROWS_MAX)
    .optional()
    .openapi({
      description: `How many rows at most. Without it there are all; more than ${EXPORT_ROWS_MAX} are refused`,
    }),
})
type ExportQuery = z.output<typeof exportQuery>

const header = (description: string) => ({ description, schema: { type: 'string' as const } })

const exportRoute = createRoute({
  method: 'get',
  path: '/v1/export',
  security: needs('sessions:read'),
  summary: 'The rows of a breakdown or of the session list as CSV or NDJSON',
  request: { query: exportQuery },
  responses: {
    200: {
      description:
        "A row per group or session, with the columns of the first line of CSV or the fields of each line of NDJSON; unknown is empty or null. In CSV a text that a spreadsheet would take for a formula has a ' in front. If the store fails on the way the connection ends before the body does, which curl and fetch report as a failure, and there are fewer rows than X-Rows says",
      headers: {
        'content-disposition': header('A file name that says what and of when'),
        'x-rows': header('How many rows there are in the body'),
        'x-rows-total': header('How many there would be without a limit'),
      },
      content: { 'text/csv': { schema: z.string() }, 'application/x-ndjson': { schema: z.string() } },
    },
    ...PROBLEMS,
  },
})

/** @throws Mistake naming what is missing, or what belongs to the other table */
function exported(desk: ExportDesk, query: ExportQuery): Promise<Export> {
  const { what, metric, by, where, order, limit, filter, from, to, tier } = query
  const asked = { from, to, tier, filters: filter }
  if (what === 'breakdown') {
    if (metric === undefined) throw new Mistake('unknown_metric', 'metric', 'a breakdown is of a metric')
    if (by === undefined) throw new Mistake('unknown_dimension', 'by', 'a breakdown is by one or two dimensions')
    if (where.length > 0)
      throw new Mistake('bad_condition', 'where', 'conditions choose sessions; a breakdown has none')
    const known = ORDERS.find(one => one === order)
    if (order !== undefined && known === undefined)
      throw new Mistake('bad_order', 'order', `a breakdown is ordered by ${ORDERS.join(' or ')}`)
    return exportBreakdown(desk, { ...asked, metric }, by, known, limit)
  }
  for (const [name, given] of Object.entries({ metric, by }))
    if (given !== undefined) throw new Mistake('bad_parameter', name, 'belongs to a breakdown')
  if (order === 'value' || order === 'impact')
    throw new Mistake('bad_order', 'order', `sessions are ordered by ${NEWEST} or by a metric`)
  return exportSessions(desk, { ...asked, where, order: order ?? NEWEST }, limit)
}

const compact = (epoch_s: number): string => iso(epoch_s * 1_000).replace(/[-:]|\.\d+/g, '')

export const addExportRoutes = (app: OpenAPIHono<RequestEnv>, desk: ExportDesk, log: Log) =>
  app.openapi(exportRoute, async c => {
    const query = c.req.valid('query')
    const { format, what } = query
    const table = await exported(desk, query)
    const name = [what, query.metric ?? [], compact(table.window.from), compact(table.window.to)].flat().join('_')
    const request_id = c.get('request_id')
    const cut = (error: unknown) => log.error({ request_id, error: String(error) }, 'export_cut')
    return c.body(bodyOf(table, format, cut), 200, {
      'content-type': CONTENT_TYPES[format],
      'content-disposition': `attachment; filename="${name}.${format}"`,
      'x-rows': String(table.rows_count),
      'x-rows-total': String(table.rows_total),
    })
  })
