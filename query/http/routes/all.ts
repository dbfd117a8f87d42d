/**
 * Every route of `/v1`, and their types for the typed client.
 *
 * A route is added by `addXRoutes(app, …)`, which *returns* `app.openapi(a, …).openapi(b, …)`, chained, so that its type carries the
 * routes; each of its createRoutes says `security: needs('…')`.
 */
import type { OpenAPIHono } from '@hono/zod-openapi'
import type { Hono } from 'hono'
import type { Log } from '../../../ingest/runtime/log.ts'
import type { Store } from '../../../ingest/store/clickhouse.ts'
import type { Advisor } from '../../abr/advice.ts'
import type { DecisionBook } from '../../abr/decisions.ts'
import type { ExportDesk } from '../export.ts'
import type { RequestEnv } from '../problems.ts'
import { addAbrRoutes } from './abr.ts'
import { addDecisionRoute } from './abr-decisions.ts'
import { addRegretRoute } from './abr-regret.ts'
import { addAnnotationRoutes } from './annotations.ts'
import { addCompareRoute } from './compare.ts'
import { addDistributionRoutes } from './distribution.ts'
import { addErasureRoutes } from './erasure.ts'
import { addExportRoutes } from './export.ts'
import { addInsightRoute } from './insights.ts'
import { addMetricRoutes } from './metrics.ts'
import { addPipelineRoute } from './pipeline.ts'
import { addRejectRoutes } from './rejects.ts'
import { addSessionFrameRoutes } from './session-frames.ts'
import { addSessionListRoutes } from './session-list.ts'
import { addSessionTimelineRoutes } from './session-timeline.ts'
import { addSessionRoutes } from './sessions.ts'

export interface RouteParts {
  readonly desk: ExportDesk
  readonly store: Store
  readonly log: Log
  readonly advisor: Advisor
  readonly book: DecisionBook
  /** Ends what has no end. */
  readonly stopping: AbortSignal
}

export const addRoutes = (app: OpenAPIHono<RequestEnv>, parts: RouteParts) => {
  const { desk, store, log, advisor, book, stopping } = parts
  return [
    addMetricRoutes(app, desk),
    addDistributionRoutes(app, desk),
    addSessionListRoutes(app, desk),
    addCompareRoute(app, desk),
    addInsightRoute(app, desk),
    addAnnotationRoutes(app, desk, store),
    addPipelineRoute(app, desk, store),
    addSessionRoutes(app, desk),
    addSessionTimelineRoutes(app, desk),
    addSessionFrameRoutes(app, desk, log),
    addExportRoutes(app, desk, log),
    addRejectRoutes(app, desk),
    addErasureRoutes(app, store, desk.now),
    addAbrRoutes(app, advisor, desk.now, stopping),
    addDecisionRoute(app, book, desk.now),
    addRegretRoute(app, desk),
  ] as const
}

type Added = ReturnType<typeof addRoutes>[number]
/** Of each of them, as something to be given, since what takes every one of several is their intersection. */
type Taking<One> = One extends OpenAPIHono<RequestEnv, infer Routes> ? (routes: Routes) => void : never
type All = Taking<Added> extends (routes: infer Routes) => void ? Routes : never
/** All routes, for `hc`. */
export type Api = Hono<RequestEnv, All extends object ? All : never>
