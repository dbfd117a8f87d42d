/**
 * Ours against ClickHouse's own Kafka engine: the same broker, topic, messages and machine, run after run in turn, to the same result,
 * which is checked. Both cores are busy on either side, so what tells them apart is CPU per event.
 */
import { readConfig } from '../ingest/runtime/config.ts'
import { type Finding, middle, spread, type Table } from './finding.ts'
import { eventsOf, type LoadName } from './load.ts'
import { assertSame, type Run, type Runner, run } from './run.ts'
import { ended, type Ground, INGESTERS, makeTopic, onGround, play, produce } from './stage.ts'

export interface RaceSize {
  readonly sessions: number
  readonly seconds: number
  /** Pairs of runs. */
  readonly rounds: number
}

const NAMES: Readonly<Record<Runner, string>> = {
  ours: 'ours',
  best: 'Kafka engine at its best',
  manual: 'Kafka engine, JSONEachRow',
}

interface Race {
  readonly events: number
  readonly runs: Readonly<Record<Runner, readonly Run[]>>
}

type Tell = (line: string) => void
const NOTES = [
  `${INGESTERS} ingesters against ${INGESTERS} consumers with a thread each.`,
  'Every run ends with the same rows, frames, sums and cells, each column of them: the run fails otherwise. The engine’s rows have no refusals, no checks and no fsync, and it delivers at least once.',
  'Median of runs in turn, their spread beside it. CPU of all processes but the broker, until nothing merges any more. “Ten-second cells alone” leaves out what ours settles beside them (minutes, hours, sessions, the cube).',
]

/** Live-like load from a full topic. */
export async function liveRace(size: RaceSize, tell: Tell): Promise<Finding> {
  return onGround(async ground => {
    const found = await raceOn(ground, 'live', size, [...inTurn(size.rounds), 'manual'], tell)
    return {
      title: 'Ingest: ours against ClickHouse’s own Kafka engine',
      ratios: ratiosOf('live-like', found),
      tables: {
        [`Live-like: ${size.sessions} sessions, an event of each kind a second, ${found.events} events from a full topic`]:
          tableOf(found),
      },
      notes: NOTES,
    }
  })
}

/** The same with an event a frame, and what only consuming them takes. */
export async function oneSampleRace(size: RaceSize, tell: Tell): Promise<Finding> {
  return onGround(async ground => {
    const found = await raceOn(ground, 'one_sample', size, inTurn(size.rounds), tell)
    const alone = await fetching(ground, 'one_sample', found.events)
    return {
      title: 'Ingest: one-sample events',
      ratios: {
        ...ratiosOf('one-sample', found),
        'one-sample: events/s, rows stored, ours / kafkajs that only consumes':
          rate(found, 'ours', ({ rows_s }) => rows_s) / alone.rate,
      },
      tables: {
        [`${found.events} events of one frame`]: {
          ...tableOf(found),
          'kafkajs that only consumes': {
            'events/s, rows': Math.round(alone.rate),
            'CPU-s per M events': alone.cpu_us,
          },
        },
      },
      notes: [],
    }
  })
}

const inTurn = (rounds: number): Runner[] => Array.from({ length: rounds }, () => ['ours', 'best'] as const).flat()

async function raceOn(
  ground: Ground,
  load: LoadName,
  { sessions, seconds }: RaceSize,
  order: readonly Runner[],
  tell: Tell,
): Promise<Race> {
  const events = eventsOf(load, sessions, seconds)
  const runs: Record<Runner, Run[]> = { ours: [], best: [], manual: [] }
  await fill(ground, load, sessions, seconds)
  let first: Run | undefined
  for (const [i, runner] of order.entries()) {
    const found = await run(ground, runner, load, events)
    first ??= found
    assertSame(first, found, NAMES[runner])
    runs[runner].push(found)
    const cpu = ((found.cpu_s * 1e6) / events).toFixed(1)
    tell(
      `${load} ${i + 1}/${order.length}, ${NAMES[runner]}: ${Math.round(events / found.cells_s)} events/s to cells, ${cpu} µs of CPU an event`,
    )
  }
  return { events, runs }
}

/** Fills a topic of the load's name. */
async function fill(ground: Ground, load: LoadName, sessions: number, seconds: number): Promise<void> {
  await makeTopic(readConfig({ KAFKA_BROKERS: ground.brokers, KAFKA_TOPIC: load }))
  await ended(produce(ground.brokers, sessions, seconds, 0, () => {}, { topic: load, load }))
}

const perEvent = (race: Race, runner: Runner, of: (run: Run) => number): number[] =>
  race.runs[runner].map(found => (of(found) * 1e6) / race.events)
const rates = (race: Race, runner: Runner, of: (run: Run) => number): number[] =>
  race.runs[runner].map(found => race.events / of(found))
const rate = (race: Race, runner: Runner, of: (run: Run) => number): number => middle(rates(race, runner, of))

function ratiosOf(load: string, race: Race): Record<string, number> {
  const cpu = (runner: Runner): number => middle(perEvent(race, runner, ({ cpu_s }) => cpu_s))
  const narrow = middle(perEvent(race, 'ours', ({ cpu_s, beyond_s }) => cpu_s - beyond_s))
  const rows = (found: Run): number => found.rows_s
  const cells = (found: Run): number => found.cells_s
  return {
    [`${load}: events/s, rows stored, ours / Kafka engine at its best`]:
      rate(race, 'ours', rows) / rate(race, 'best', rows),
    [`${load}: events/s, cells complete, ours / Kafka engine at its best`]:
      rate(race, 'ours', cells) / rate(race, 'best', cells),
    [`${load}: CPU per event, ours / Kafka engine at its best`]: cpu('ours') / cpu('best'),
    [`${load}: CPU per event, ten-second cells alone, ours / Kafka engine at its best`]: narrow / cpu('best'),
    ...(race.runs.manual.length > 0 && {
      [`${load}: CPU per event, ours / Kafka engine, JSONEachRow`]: cpu('ours') / cpu('manual'),
    }),
  }
}

function tableOf(race: Race): Table {
  const runners = (Object.keys(race.runs) as Runner[]).filter(runner => race.runs[runner].length > 0)
  return Object.fromEntries(
    runners.map(runner => {
      const found = race.runs[runner]
      const cpu = perEvent(race, runner, ({ cpu_s }) => cpu_s)
      const stored = rates(race, runner, ({ rows_s }) => rows_s)
      const settled = rates(race, runner, ({ cells_s }) => cells_s)
      const row = {
        runs: found.length,
        'events/s, rows': Math.round(middle(stored)),
        'rows, spread': spread(stored.map(Math.round)),
        'events/s, cells': Math.round(middle(settled)),
        'cells, spread': spread(settled.map(Math.round)),
        'CPU-s per M events': middle(cpu),
        'CPU, spread': spread(cpu),
        'of it the ingester': middle(perEvent(race, runner, ({ ingester_cpu_s }) => ingester_cpu_s)),
        'of it minutes and coarser': middle(perEvent(race, runner, ({ beyond_s }) => beyond_s)),
        'broker, CPU-s per M': middle(perEvent(race, runner, ({ broker_cpu_s }) => broker_cpu_s)),
        'peak MB': Math.round(Math.max(...found.map(({ peak_mb }) => peak_mb))),
      }
      return [NAMES[runner], row] as const
    }),
  )
}

async function fetching(ground: Ground, topic: string, events: number): Promise<{ rate: number; cpu_us: number }> {
  let said = ''
  await ended(
    play('fetching.ts', [ground.brokers, topic, events], line => {
      said = line
    }),
  )
  const [seconds = Number.NaN, cpu_s = Number.NaN] = said.split(' ').map(Number)
  return { rate: events / seconds, cpu_us: (cpu_s * 1e6) / events }
}
