/** What a part of the benchmark found, as tables of numbers, and how that is written down: ratios first. */
type Cell = number | string
/** Of each row its cells by column. */
export type Table = Readonly<Record<string, Readonly<Record<string, Cell>>>>

export interface Finding {
  readonly title: string
  /** What the part is about in one number each; the claim stands in the name. */
  readonly ratios: Readonly<Record<string, number>>
  readonly tables: Readonly<Record<string, Table>>
  readonly notes: readonly string[]
}

/** A finding, and on which machine, when and with which versions it was made. */
export interface Measured {
  readonly measured: string
  readonly finding: Finding
}

const shown = (cell: Cell | undefined): string =>
  typeof cell === 'number' ? String(Number(cell.toPrecision(4))) : (cell ?? '')

export function markdownTable(table: Table): string {
  const columns = [...new Set(Object.values(table).flatMap(row => Object.keys(row)))]
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  const rows = Object.entries(table).map(([name, row]) => line([name, ...columns.map(column => shown(row[column]))]))
  return [line(['', ...columns]), line(['-', ...columns.map(() => '-')]), ...rows].join('\n')
}

export function markdown(found: readonly Measured[]): string {
  const ratios = found.flatMap(({ finding }) =>
    Object.entries(finding.ratios).map(([name, ratio]) => [name, { ratio }] as const),
  )
  const parts = found.map(({ measured, finding: { title, tables, notes } }) =>
    [
      `## ${title}`,
      `Measured on ${measured}`,
      ...Object.entries(tables).map(([caption, table]) => `**${caption}**\n\n${markdownTable(table)}`),
      ...notes,
    ].join('\n\n'),
  )
  const first = ratios.length > 0 ? [markdownTable(Object.fromEntries(ratios))] : []
  return `${['# Benchmark', ...first, ...parts].join('\n\n')}\n`
}

/** Tables that a process printed with `console.table`, in their order. */
export function printedTables(lines: readonly string[]): Table[] {
  const tables: Table[] = []
  let columns: string[] | undefined
  for (const line of lines) {
    if (line.startsWith('┌')) {
      tables.push({})
      columns = undefined
    } else if (line.startsWith('│')) {
      const [name = '', ...cells] = line
        .split('│')
        .slice(1, -1)
        .map(cell => cell.trim().replace(/^'(.*)'$/, '$1'))
      const named = columns
      if (named === undefined) columns = cells
      else {
        const row = Object.fromEntries(cells.map((cell, i) => [named[i] ?? '', asCell(cell)]))
        tables.push({ ...tables.pop(), [name]: row })
      }
    }
  }
  return tables
}

const asCell = (text: string): Cell => (text !== '' && Number.isFinite(Number(text)) ? Number(text) : text)

/** The middle one of what several runs gave; and how far they lie apart. */
export function middle(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b)
  const half = sorted.length >> 1
  return sorted.length % 2 === 1
    ? (sorted[half] ?? Number.NaN)
    : ((sorted[half - 1] ?? Number.NaN) + (sorted[half] ?? Number.NaN)) / 2
}
export const spread = (values: readonly number[]): string =>
  [Math.min(...values), Math.max(...values)].map(value => shown(value)).join('–')
