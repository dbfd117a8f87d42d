/**
 * A question of the API printed as Grafana runs it: the same text, with an expression of Grafana's in the place of each bound parameter,
 * laid out for people. What has no expression stops the generator: no placeholder reaches Grafana, whose plugin binds nothing.
 */
import { format } from 'sql-formatter'

/** Parameter → SQL, which may hold Grafana's variables and macros. */
export type Expressions = Readonly<Record<string, string>>

const PLACEHOLDER = /\{(\w+):[A-Z]\w*(?:\([^{}]*\))?\}/g

/** @throws Error naming a placeholder that nothing stands for */
export function substituted(sql: string, expressions: Expressions): string {
  return sql.replaceAll(PLACEHOLDER, (_, name: string) => {
    const expression = expressions[name]
    if (expression === undefined) throw new Error(`nothing stands for the parameter ${name}`)
    return expression
  })
}

/** Grafana's words, which are no SQL: kept as they are, each in one piece. */
const GRAFANA = [
  String.raw`\$__conditionalAll\(\w+ IN \(\$\{\w+:singlequote\}\), \$\w+\)`,
  String.raw`\$\{[^}]+\}`,
  String.raw`\$\w+`,
].map(regex => ({ regex }))

/** Laying out takes a tenth of a second, and many a text is on several dashboards. */
const known = new Map<string, string>()

export function laidOut(sql: string): string {
  const before = known.get(sql)
  if (before !== undefined) return before
  const text = format(sql, { language: 'clickhouse', expressionWidth: 100, paramTypes: { custom: GRAFANA } })
  known.set(sql, text)
  return text
}

export const printed = (sql: string, expressions: Expressions): string => laidOut(substituted(sql, expressions))
