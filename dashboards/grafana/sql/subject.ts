/**
 * Whom a panel is about, in the form that the API's questions take: a condition on cells. Its text holds Grafana's variables where the
 * API binds values, since the plugin knows no other way; they arrive quoted.
 */
import { type Condition, DIMENSIONS } from '../../../query/metrics/filter.ts'
import type { Subject } from '../../../query/metrics/questions.ts'

const about = (condition: Omit<Condition, 'dimensions'>): Subject => ({
  // Of a window only the tier shows in the text: that of hours has a place for every tier, and a span that is empty where it is not read.
  window: { from: 0, to: 0, tier: 'hour', step_s: undefined, now_ms: 0 },
  cut: { hours_from: 0, hours_to: 0, minute: 0, cube_to: 0, holes: [] },
  condition: { ...condition, dimensions: [] },
})

/** Those whom the variables at the top choose; a variable that says All is no condition. */
export const CHOSEN: Subject = about({
  sql: '{chosen:Bool}',
  session_sql: '1',
  params: {},
  one_session: false,
})

/** What stands for `chosen`. */
export const CHOSEN_SQL = DIMENSIONS.map(
  name => `$__conditionalAll(${name} IN (\${${name}:singlequote}), $${name})`,
).join(' AND ')

export const EVERYBODY: Subject = about({ sql: '1', session_sql: '1', params: {}, one_session: false })

/** The session that the variable names; nobody where it is no id. */
export const SESSION_SQL = 'toUUIDOrZero(${session:singlequote})'
const ofSession = `session_id = {id:UUID}`
export const ONE_SESSION: Subject = about({ sql: ofSession, session_sql: ofSession, params: {}, one_session: true })
