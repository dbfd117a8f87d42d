/** Every file that Grafana reads, as text by path. The same sources give the same bytes: no clock, no chance, no order of a directory. */
import { stringify } from 'yaml'
import type { Retention } from '../../ingest/store/migrate.ts'
import { objectiveRules } from './alerts/objectives.ts'
import { pipelineRules } from './alerts/pipeline-rules.ts'
import { provisioned, type Rule } from './alerts/rule.ts'
import { dashboards } from './dashboards/all.ts'
import { type Described, dashboardOf, placed } from './layout.ts'
import { metricsOf } from './model.ts'
import { CONTACT_POINTS, DATASOURCES, FOLDER, POLICIES, PROVIDERS, TEMPLATES } from './provisioning.ts'

/** Committed, so that Grafana needs nothing but files; a test holds them fresh. */
export const OUT = 'dashboards/grafana/provisioned'

export const rules = (kept: Retention): Rule[] => [...objectiveRules(kept), ...pipelineRules(kept)]

/** @throws Error where no panel shows what a rule is about */
function panelOf({ uid, shown }: Rule, described: readonly Described[]): number {
  const on = described.find(dashboard => dashboard.uid === shown.dashboard)
  const found = (on ? placed(on) : []).find(({ drawn }) =>
    shown.metric ? metricsOf(drawn.target).includes(shown.metric) : drawn.title === shown.title,
  )
  if (!found) throw new Error(`no panel shows what ${uid} is about`)
  return found.id
}

function alertRules(kept: Retention, described: readonly Described[]) {
  const group = (name: string, interval: string, of: readonly Rule[]) => ({
    orgId: 1,
    name,
    folder: FOLDER,
    interval,
    rules: of.map(rule => provisioned(rule, panelOf(rule, described))),
  })
  return {
    apiVersion: 1,
    groups: [group('objectives', '1m', objectiveRules(kept)), group('pipeline', '1m', pipelineRules(kept))],
  }
}

const GENERATED = '# Written by `npm run dashboards`; not by hand.\n'
const yaml = (content: unknown): string => `${GENERATED}${stringify(content, { lineWidth: 0 })}`

export function files(kept: Retention): ReadonlyMap<string, string> {
  const described = dashboards(kept)
  return new Map([
    ...described.map(
      one => [`dashboards/${one.uid}.json`, `${JSON.stringify(dashboardOf(one, described), null, 2)}\n`] as const,
    ),
    ['provisioning/datasources/stream-quality.yaml', yaml(DATASOURCES)],
    ['provisioning/dashboards/stream-quality.yaml', yaml(PROVIDERS)],
    ['provisioning/alerting/rules.yaml', yaml(alertRules(kept, described))],
    ['provisioning/alerting/contact-points.yaml', yaml(CONTACT_POINTS)],
    ['provisioning/alerting/templates.yaml', yaml(TEMPLATES)],
    ['provisioning/alerting/policies.yaml', yaml(POLICIES)],
  ])
}
