/** An alert rule before Grafana's own shape: a number from one SQL statement, and the bound beyond which somebody is told. */
import type { MetricId } from '../../../query/metrics/catalogue.ts'
import { DATASOURCE_UID, PLUGIN, queryData } from '../query.ts'

const SEVERITIES = ['page', 'ticket'] as const

export interface Rule {
  readonly uid: string
  readonly title: string
  readonly severity: (typeof SEVERITIES)[number]
  /** Backend macros only: an alert has no variables. One row with one number, or none: then there is nothing to tell. */
  readonly sql: string
  /** What `sql` looks back upon. */
  readonly range_s: number
  readonly above: number
  readonly for: string
  /** One sentence: what is wrong, in the words of whoever is woken. */
  readonly summary: string
  /** The greatest value that the number can have, where it has one: a bound at or beyond it never fires. */
  readonly most?: number
  /** The panel that shows it: of this dashboard, the first with this metric or title. */
  readonly shown: { readonly dashboard: string; readonly metric?: MetricId; readonly title?: string }
}

/** Grafana puts the variable in while it reads the file. */
const RUNBOOK = '${RUNBOOK_URL}'
/** The section of the runbook: rules of one objective share it. */
const sectionOf = ({ uid }: Pick<Rule, 'uid'>): string => uid.replace(/-(fast|slow|ticket)$/, '')

/** As file provisioning reads it (the SDK's builders write what the HTTP API takes, which is another form). */
export function provisioned(rule: Rule, panel_id: number) {
  return {
    uid: rule.uid,
    title: rule.title,
    condition: 'B',
    data: [
      {
        refId: 'A',
        relativeTimeRange: { from: rule.range_s, to: 0 },
        datasourceUid: DATASOURCE_UID,
        model: queryData('A', { sql: rule.sql, format: 'table' }, { type: PLUGIN, uid: DATASOURCE_UID }),
      },
      {
        refId: 'B',
        relativeTimeRange: { from: 0, to: 0 },
        datasourceUid: '__expr__',
        model: {
          refId: 'B',
          type: 'threshold',
          datasource: { type: '__expr__', uid: '__expr__' },
          expression: 'A',
          conditions: [{ evaluator: { type: 'gt', params: [rule.above] } }],
        },
      },
    ],
    noDataState: 'OK',
    execErrState: 'Error',
    for: rule.for,
    annotations: { summary: rule.summary, runbook_url: `${RUNBOOK}#${sectionOf(rule)}` },
    labels: { severity: rule.severity, service: 'stream-quality' },
    dashboardUid: rule.shown.dashboard,
    panelId: panel_id,
  }
}
