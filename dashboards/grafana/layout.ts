/**
 * A dashboard from rows of panels. Every row is open and says what it shows, its panels fill the 24 columns of each line, ids count up in
 * the order of reading, and what could differ between two runs is left out.
 */
import type { Builder } from '@grafana/grafana-foundation-sdk/cog'
import {
  type AnnotationQuery,
  type Dashboard,
  DashboardBuilder,
  DashboardCursorSync,
  type DashboardLink,
  DashboardLinkType,
  RowBuilder,
  type VariableModel,
} from '@grafana/grafana-foundation-sdk/dashboard'
import type { Drawn } from './panels.ts'
import { DATASOURCE, queryData } from './query.ts'
import { ANNOTATIONS_SQL } from './sql/pipeline.ts'

export const COLUMNS = 24
const TAG = 'stream-quality'

interface Row {
  readonly title: string
  readonly panels: readonly Drawn[]
}

interface Mark {
  readonly name: string
  readonly sql: string
  readonly color: string
}

export interface Described {
  readonly uid: string
  readonly title: string
  /** The one question it answers. */
  readonly question: string
  readonly from: string
  readonly refresh: string
  readonly variables: readonly Builder<VariableModel>[]
  readonly rows: readonly Row[]
  readonly marks?: readonly Mark[]
}

/** Deploys, incidents, notes: on every dashboard. */
const ANNOTATED: Mark = { name: 'Deploys and incidents', sql: ANNOTATIONS_SQL, color: 'blue' }

const markOf = ({ name, sql, color }: Mark): Builder<AnnotationQuery> => ({
  build: () => ({
    name,
    enable: true,
    hide: false,
    iconColor: color,
    datasource: DATASOURCE,
    target: queryData('Anno', { sql, format: 'table' }) as unknown as NonNullable<AnnotationQuery['target']>,
  }),
})

const linkTo = (uid: string, title: string): Builder<DashboardLink> => ({
  build: () => ({
    title,
    type: DashboardLinkType.Link,
    icon: 'dashboard',
    tooltip: '',
    url: `/d/${uid}`,
    tags: [],
    asDropdown: false,
    targetBlank: false,
    includeVars: true,
    keepTime: true,
  }),
})

/** A panel with its id and place. */
export interface Placed {
  readonly drawn: Drawn
  readonly id: number
}

/** In the order of reading; row headings have ids as well. */
export const placed = ({ rows }: Pick<Described, 'rows'>): Placed[] => {
  let id = 0
  return rows.flatMap(({ panels }) => {
    id++
    return panels.map(drawn => ({ drawn, id: ++id }))
  })
}

/** @param others in the order of a hunt, itself among them */
export function dashboardOf(described: Described, others: readonly Pick<Described, 'uid' | 'title'>[]): Dashboard {
  const builder = new DashboardBuilder(described.title)
    .uid(described.uid)
    .description(described.question)
    .tags([TAG])
    .readonly()
    .timezone('browser')
    .time({ from: described.from, to: 'now' })
    .refresh(described.refresh)
    .tooltip(DashboardCursorSync.Crosshair)
    .variables([...described.variables])
    .annotations([markOf(ANNOTATED), ...(described.marks ?? []).map(markOf)])
    .links(others.filter(({ uid }) => uid !== described.uid).map(({ uid, title }) => linkTo(uid, title)))
  const ids = placed(described)
  let y = 0
  let next = 0
  let row_id = 0
  for (const { title, panels } of described.rows) {
    row_id++
    builder.withRow(new RowBuilder(title).id(row_id).gridPos({ x: 0, y, w: COLUMNS, h: 1 }))
    y++
    let [x, height] = [0, 0]
    for (const drawn of panels) {
      if (x + drawn.width > COLUMNS) {
        y += height
        x = 0
        height = 0
      }
      const id = ids[next++]?.id ?? 0
      const panel = { ...drawn.build(id).build(), gridPos: { x, y, w: drawn.width, h: drawn.height } }
      builder.withPanel({ build: () => panel })
      x += drawn.width
      height = Math.max(height, drawn.height)
      row_id = id
    }
    y += height
  }
  return builder.build()
}
