/** Parts that are processes of their own, each with its own tables: what a frame costs the client, queries, bitrate logic. */
import { type Finding, printedTables, type Table } from './finding.ts'
import { ended, play } from './stage.ts'

/** Megabytes: nothing is collected before the young generation is full. */
const YOUNG = ['--expose-gc', '--min-semi-space-size=512', '--max-semi-space-size=512']

export async function emitterCost(frames: number): Promise<Finding> {
  let said = ''
  await ended(play('emitter-cost.ts', [frames], line => (said = line), YOUNG))
  const { emitter, naive } = JSON.parse(said) as Record<'emitter' | 'naive', { ns: number; bytes: number }>
  const row = ({ ns, bytes }: { ns: number; bytes: number }) => ({ 'CPU, ns per frame': ns, 'bytes allocated': bytes })
  return {
    title: 'What a frame costs the client',
    ratios: { 'client: CPU per frame, ours / an object a frame and JSON each second': emitter.ns / naive.ns },
    tables: {
      [`${frames} frames at 60 a second, sent to nobody`]: {
        'FrameCollector and emitter, checked and numbered': row(emitter),
        'an object a frame, JSON.stringify each second': row(naive),
      },
    },
    notes: [],
  }
}

/** A bench of its own, and the tables it prints. */
export async function printed(
  title: string,
  file: string,
  args: readonly (string | number)[],
  captions: readonly string[],
  ratiosOf: (tables: readonly Table[]) => Record<string, number>,
  tell: (line: string) => void,
): Promise<Finding> {
  const lines: string[] = []
  await ended(
    play(file, args, line => {
      lines.push(line)
      if (!/^[┌│├└]/.test(line)) tell(line.trim().slice(0, 160))
    }),
  )
  const found = printedTables(lines)
  if (found.length === 0) throw new Error(`${file} printed no table`)
  const tables: Record<string, Table> = {}
  for (const [i, table] of found.entries()) tables[captions[i] ?? `${title}, ${i + 1}`] = table
  return { title, ratios: ratiosOf(found), tables, notes: [] }
}
