/**
 * What pages ask the API. A question knows its URL, so that it can be copied and compared, and how to ask it: over the typed client, so
 * a route that changes is a console that does not compile.
 */

import { answer, type Client } from '../../../query/client.ts'
import type { MetricId } from '../../../query/metrics/catalogue.ts'
import { type Place, stepFor } from './place.ts'

export interface Question<Data> {
  /** Without the key. */
  readonly url: string
  readonly load: (signal: AbortSignal) => Promise<Data>
}

export type Part = Pick<Place, 'from' | 'to' | 'filter'>

const part = ({ from, to, filter }: Part) => ({ from, to, filter: [...filter] })
/** What is not said is not sent. */
const known = <T extends Record<string, string>>(given: T): Partial<T> =>
  Object.fromEntries(Object.entries(given).filter(([, value]) => value !== '')) as Partial<T>

export const catalogueQuestion = (api: Client) => ({
  url: api.v1.metrics.$url().href,
  load: (signal: AbortSignal) => answer(api.v1.metrics.$get({ query: {} }, { init: { signal } })),
})
export const overallQuestion = (api: Client, id: MetricId, range: Part) => {
  const args = { param: { id }, query: part(range) }
  const route = api.v1.metrics[':id']
  return { url: route.$url(args).href, load: (signal: AbortSignal) => answer(route.$get(args, { init: { signal } })) }
}
export const timeseriesQuestion = (
  api: Client,
  id: MetricId,
  range: Part,
  points: number,
  group_by = '',
  limit = '',
) => {
  const step = stepFor(range, points, Date.now())
  const args = { param: { id }, query: { ...part(range), step, ...known({ group_by, limit }) } }
  const route = api.v1.metrics[':id'].timeseries
  return { url: route.$url(args).href, load: (signal: AbortSignal) => answer(route.$get(args, { init: { signal } })) }
}
export const breakdownQuestion = (api: Client, id: MetricId, range: Part, by: string, limit = '12') => {
  const args = { param: { id }, query: { ...part(range), by, limit } }
  const route = api.v1.metrics[':id'].breakdown
  return { url: route.$url(args).href, load: (signal: AbortSignal) => answer(route.$get(args, { init: { signal } })) }
}
export const distributionQuestion = (api: Client, id: MetricId, range: Part) => {
  const args = { param: { id }, query: { ...part(range), buckets: '60' } }
  const route = api.v1.metrics[':id'].distribution
  return { url: route.$url(args).href, load: (signal: AbortSignal) => answer(route.$get(args, { init: { signal } })) }
}
export const heatmapQuestion = (api: Client, id: MetricId, range: Part) => {
  const args = { param: { id }, query: { ...part(range), buckets: '40' } }
  const route = api.v1.metrics[':id'].heatmap
  return { url: route.$url(args).href, load: (signal: AbortSignal) => answer(route.$get(args, { init: { signal } })) }
}
export const slowerQuestion = (api: Client, range: Part, threshold_us: string, by: string) => {
  const args = { query: { ...part(range), threshold_us, limit: '12', ...known({ by }) } }
  const route = api.v1.frames['slower-than']
  return { url: route.$url(args).href, load: (signal: AbortSignal) => answer(route.$get(args, { init: { signal } })) }
}
export const annotationsQuestion = (api: Client, { from, to }: Part) => {
  const args = { query: { from, to } }
  const route = api.v1.annotations
  return { url: route.$url(args).href, load: (signal: AbortSignal) => answer(route.$get(args, { init: { signal } })) }
}
export const insightsQuestion = (api: Client, range: Part) => {
  const args = { query: part(range) }
  const route = api.v1.insights
  return { url: route.$url(args).href, load: (signal: AbortSignal) => answer(route.$get(args, { init: { signal } })) }
}
type Order = NonNullable<Parameters<Client['v1']['sessions']['$get']>[0]['query']['order']>
export const sessionsQuestion = (api: Client, range: Part, order: string, where: readonly string[], cursor = '') => {
  // The API refuses an order it does not know, and says so.
  const args = {
    query: { ...part(range), order: order as Order, where: [...where], limit: '50', ...known({ cursor }) },
  }
  const route = api.v1.sessions
  return { url: route.$url(args).href, load: (signal: AbortSignal) => answer(route.$get(args, { init: { signal } })) }
}
export const sessionQuestion = (api: Client, id: string) => {
  const args = { param: { id }, query: {} }
  const route = api.v1.sessions[':id']
  return { url: route.$url(args).href, load: (signal: AbortSignal) => answer(route.$get(args, { init: { signal } })) }
}
type Span = { readonly from: string; readonly to: string }
export const timelineQuestion = (api: Client, id: string, span: Span) => {
  const args = { param: { id }, query: known({ ...span }) }
  const route = api.v1.sessions[':id'].timeline
  return { url: route.$url(args).href, load: (signal: AbortSignal) => answer(route.$get(args, { init: { signal } })) }
}
export const framesUrl = (api: Client, id: string, span: Span): string =>
  api.v1.sessions[':id'].frames.$url({ param: { id }, query: known({ ...span }) }).href
export const pipelineQuestion = (api: Client) => ({
  url: api.v1.pipeline.$url().href,
  load: (signal: AbortSignal) => answer(api.v1.pipeline.$get({ query: {} }, { init: { signal } })),
})
export const rejectsQuestion = (api: Client, { from, to }: Part) => {
  const args = { query: { from, to } }
  const route = api.v1.rejects
  return { url: route.$url(args).href, load: (signal: AbortSignal) => answer(route.$get(args, { init: { signal } })) }
}

export const LIKE = ['isp', 'region', 'access', 'device', 'game'] as const
type Like = { readonly [name in (typeof LIKE)[number]]?: string }

/** What the API calls `access` is a closed list; it refuses what is not in it, and says so. */
type Access = 'ethernet' | 'wifi' | 'cellular'
const likeness = ({ access, ...like }: Like) => ({
  ...like,
  ...(access === undefined ? {} : { access: access as Access }),
})

export const adviceQuestion = (api: Client, id: string) => {
  const args = { param: { id }, query: {} }
  const route = api.v1.abr.sessions[':id']
  return { url: route.$url(args).href, load: (signal: AbortSignal) => answer(route.$get(args, { init: { signal } })) }
}
export const priorQuestion = (api: Client, like: Like) => {
  const args = { query: likeness(like) }
  const route = api.v1.abr.prior
  return { url: route.$url(args).href, load: (signal: AbortSignal) => answer(route.$get(args, { init: { signal } })) }
}

/** What a terminal takes; the key is whoever's it is. */
export const curlOf = (url: string): string => `curl -s -H "Authorization: Bearer $KEY" '${url.replaceAll("'", '%27')}'`
