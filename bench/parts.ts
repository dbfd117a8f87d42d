/** The parts of `npm run bench` by name, in their order, each with its size: the whole, and one that only shows that it runs. */
import { DIRECT, FROM_MEMORY } from './abr-rows.ts'
import { emitterCost, printed } from './children.ts'
import type { Finding, Table } from './finding.ts'
import { freshness } from './freshness.ts'
import { liveRace, oneSampleRace } from './race.ts'
import { storedBytes } from './stored-bytes.ts'

type Tell = (line: string) => void
export type Part = (quick: boolean, tell: Tell) => Promise<Finding>

const least = (table: Table, column: string): number =>
  Math.min(...Object.values(table).flatMap(row => (typeof row[column] === 'number' ? [row[column]] : [])))

const cell = (table: Table, row: string, column: string): number => Number(table[row]?.[column] ?? Number.NaN)

export const PARTS = {
  ingest: (quick, tell) =>
    liveRace(quick ? { sessions: 500, seconds: 10, rounds: 1 } : { sessions: 25_000, seconds: 40, rounds: 3 }, tell),
  one_sample: (quick, tell) =>
    oneSampleRace(quick ? { sessions: 20, seconds: 10, rounds: 1 } : { sessions: 800, seconds: 20, rounds: 2 }, tell),
  freshness: (quick, tell) =>
    freshness(
      quick
        ? { too_many: 400, shares: [0.5], seconds: 8 }
        : { too_many: 60_000, shares: [0.25, 0.5, 0.8], seconds: 40 },
      tell,
    ),
  bytes: (quick, tell) => storedBytes(quick ? { sessions: 50, seconds: 40 } : { sessions: 600, seconds: 660 }, tell),
  queries: (quick, tell) =>
    printed(
      'Questions over a fleet’s history',
      'query.ts',
      quick
        ? ['--sessions', 5, '--hours', 1, '--rounds', 2, '--growth-sessions', 2, '--growth-minutes', 5]
        : ['--sessions', 200, '--hours', 1, '--rounds', 20, '--growth-sessions', 50, '--growth-minutes', 40],
      ['How long a question takes', 'How that grows'],
      ([table = {}]) => ({
        'queries: raw frames / ours, median time, the least of all questions': least(table, 'times faster'),
      }),
      tell,
    ),
  abr: (quick, tell) =>
    printed(
      'What bitrate logic is told, under load',
      'abr.ts',
      quick ? ['--sessions', 50, '--requests', 20, '--seconds', 3, '--synthetic', 500] : ['--seconds', 15],
      ['How long an answer takes, and how old it is', 'Cores', 'Many sessions without Kafka'],
      ([table = {}]) => ({
        'bitrate logic: a query to ClickHouse / an answer from memory, median time':
          cell(table, DIRECT, 'p50 ms') / cell(table, FROM_MEMORY, 'p50 ms'),
        '… p99': cell(table, DIRECT, 'p99 ms') / cell(table, FROM_MEMORY, 'p99 ms'),
      }),
      tell,
    ),
  emitter: quick => emitterCost(quick ? 60_000 : 600_000),
} as const satisfies Record<string, Part>
export type PartName = keyof typeof PARTS
