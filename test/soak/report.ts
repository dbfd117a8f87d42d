/** The tables of a soak, from its samples and, where it was not broken off, the verdict on its events. */
import { cpus } from 'node:os'
import { type Cell, machine, quantile, seconds, table } from '../support/report.ts'
import {
  type Finding,
  findings,
  freshOf,
  type Growth,
  growthOf,
  length_ms,
  mostParts,
  quarters,
  signed,
} from './findings.ts'
import { PROCESSES, type Sample } from './samples.ts'

export function soakReport(samples: readonly Sample[], verdict: readonly Finding[]): string {
  const all = [...findings(samples), ...verdict]
  const [first, last] = [samples[0], samples.at(-1)]
  const took_s = length_ms(samples) / 1_000
  const made = (last?.made ?? 0) - (first?.made ?? 0)
  const lags = samples.flatMap(({ lag }) => (lag === null ? [] : [lag]))
  const busy = [...PROCESSES, 'soak'].map(name => cores(name, first, last, took_s))
  const total = busy.reduce((sum, one) => sum + one, 0)
  return `# Soak

\`npm run soak\`: the whole service for ${(took_s / 60).toFixed(1)} min (${samples.length} samples), ${Math.round(made / took_s)} events a second of about ${last?.playing ?? 0} sessions that come and go, a question to the API every second; as many others as the API remembers played an hour before.
${machine()}.

The processes together used ${total.toFixed(2)} of ${cpus().length} cores, ${((100 * total) / cpus().length).toFixed(0)} % of the machine: ${[...PROCESSES, 'the fleet and whoever asks'].map((name, n) => `${name} ${busy[n]?.toFixed(2)}`).join(', ')}.

${all.map(({ ok, text }) => `- ${ok === null ? 'open' : ok ? 'ok' : 'WRONG'}: ${text}`).join('\n')}
${verdict.length === 0 ? '- open: whether each event was stored once: it was broken off, or these are samples alone\n' : ''}
Memory over the second half (medians of its twelfths; the slope's interval is 99 %):

${table(
  ['', 'first MB', 'last MB', 'most MB', 'slope, MB an hour', 'interval'],
  PROCESSES.flatMap(process => [
    grown(`${process}: RSS`, growthOf(samples, process)),
    grown(`${process}: ${process === 'clickhouse' ? 'counted by it' : 'heap'}`, growthOf(samples, process, 'heap_mb')),
  ]).filter(([, mb]) => mb !== 'NaN'),
)}

By quarter of the run:

${table(
  ['', 'events seen', 'freshness p50', 'p99', 'answers', 'answer p50', 'p99', 'most parts in a partition'],
  quarters(samples).map((quarter, n) => {
    const [ages, took] = [freshOf(quarter), quarter.flatMap(({ took_ms }) => took_ms)]
    const of = (values: readonly number[]): Cell[] => [seconds(quantile(values, 0.5)), seconds(quantile(values, 0.99))]
    return [n + 1, ages.length, ...of(ages), took.length, ...of(took), mostParts(quarter)]
  }),
)}

Records not stored yet: ${quantile(lags, 0.5)} in the median, ${quantile(lags, 1)} at most.`
}

function cores(name: string, first: Sample | undefined, last: Sample | undefined, took_s: number): number {
  const [before, after] = [first?.processes[name]?.cpu_s, last?.processes[name]?.cpu_s]
  return before == null || after == null ? Number.NaN : (after - before) / took_s
}

const grown = (name: string, { first_mb, last_mb, most_mb, slope }: Growth): Cell[] => [
  ...[name, first_mb.toFixed(0), last_mb.toFixed(0), most_mb.toFixed(0)],
  ...(slope === null ? ['', ''] : [signed(slope.slope), `${signed(slope.low)} to ${signed(slope.high)}`]),
]
