/** The runbook taken apart: its sections, what it names, and what it tells to paste. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'

export const RUNBOOK = readFileSync(join(import.meta.dirname, '../../dashboards/RUNBOOK.md'), 'utf8')

const BLOCK = /```sh\n([\s\S]*?)```\n/g
const [prelude = '', ...blocks] = [...RUNBOOK.matchAll(BLOCK)].map(([, block = '']) => block)
const prose = RUNBOOK.replaceAll(BLOCK, '')

/** Section by the name of its anchor. */
export const SECTIONS: ReadonlyMap<string, string> = new Map(
  RUNBOOK.split(/^## /m)
    .slice(1)
    .map(section => [section.split('\n', 1)[0] ?? '', section] as const),
)

/** Everything in `code`. */
export const CODES: readonly string[] = [...new Set([...prose.matchAll(/`([^`]+)`/g)].map(([, code = '']) => code))]

/** Everything in _italics_: names in Grafana. */
export const ITALICS: readonly string[] = [
  ...new Set([...prose.replaceAll(/`[^`]+`/g, '').matchAll(/\b_([^_]+)_(?!\w)/g)].map(([, name = '']) => name)),
]

/** What is pasted first: it defines the others' words. */
export const PRELUDE = prelude
const isCall = (line: string): boolean => /^(ask|vital|sql|curl) /.test(line)
/** One call each, from blocks and from the text. */
export const CALLS: readonly string[] = [
  ...new Set([...blocks.flatMap(block => block.trim().split('\n')), ...CODES.filter(isCall)]),
]
