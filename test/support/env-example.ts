/** `.env.example`, printed from the schema of the variables and from what the sources say of who reads them. */
import { z } from 'zod'
import { GROUPS } from '../../ingest/runtime/variables.ts'
import { variablesReadBy } from './readers.ts'

const HEAD = `# Every environment variable, with its default. Nothing has to be set to run everything on one machine.
# A value that does not fit stops the process that is given it, naming the variable. In brackets: what it may be; which commands read it.
# npm start and npm run demo hand on what they are given to the parts that they start.
# To keep settings in a file: cp .env.example .env, change lines, and before a command: set -a; . ./.env; set +a
#
# Written by \`npm run env-example\` from ingest/runtime/variables.ts; not by hand.
`

const property = z.object({
  enum: z.array(z.string()).optional(),
  minimum: z.number().optional(),
  maximum: z.number().optional(),
  maxLength: z.number().optional(),
})

function allowed(schema: z.ZodType): string {
  const { enum: names, minimum, maximum, maxLength } = property.parse(z.toJSONSchema(schema, { io: 'input' }))
  if (names) return names.join(', ')
  if (minimum !== undefined && maximum !== undefined) return `${minimum} to ${maximum}`
  if (maxLength !== undefined) return `at most ${maxLength} characters`
  return ''
}

function defaultOf(schema: z.ZodType): string {
  const value = schema.parse(undefined)
  if (value === undefined) return ''
  return typeof value === 'object' ? JSON.stringify(value) : String(value)
}

/** @param commands the file that each starts with, by name */
export function envExample(commands: Readonly<Record<string, string>>): string {
  const reads = Object.entries(commands).map(([command, file]) => ({ command, read: variablesReadBy(file) }))
  const readersOf = (name: string): string => {
    const readers = reads.filter(({ read }) => read.has(name)).map(({ command }) => command)
    if (readers.length === 0) throw new Error(`${name} is read by nobody`)
    return readers.join(', ')
  }
  const groups = Object.entries(GROUPS).map(([title, group]) => {
    const entries = Object.entries<z.ZodType>(group).map(([name, schema]) => {
      const aside = [allowed(schema), readersOf(name)].filter(Boolean).join('; ')
      return `# ${schema.description} [${aside}]\n# ${name}=${defaultOf(schema)}\n`
    })
    return [`## ${title}\n`, ...entries].join('\n')
  })
  return [HEAD, ...groups].join('\n')
}
