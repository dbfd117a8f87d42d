/** The table of a run of kills. */

import { machine, quantile, seconds, table } from '../support/report.ts'
import { WINDOWS } from './proxy.ts'
import { KINDS, nameOf, total } from './shots.ts'
import { isGood, type Tally } from './tally.ts'

export function killsReport(tally: Tally): string {
  const { landed, offsets, fields, took_ms, missed, seed, lost, doubled, different, wrong_cells, wrong_minutes } = tally
  const inside = total(landed) - KINDS.reduce((sum, kind) => sum + (landed[`${kind} random`] ?? 0), 0)
  return `# Kills

\`npm run chaos\`: ${total(landed)} shots, ${inside} of them inside a window, over ${fields} ${fields === 1 ? 'pipeline' : 'pipelines'} of two ingesters, each judged at its end; ${(took_ms / 60_000).toFixed(0)} min, seed ${seed}.
${machine()}.

${table(
  ['offsets', 'lost', 'doubled', 'rows unlike their message', 'cells unlike their rows', 'minutes unlike their cells'],
  [[offsets, lost, doubled, different, wrong_cells, wrong_minutes]],
)}

${isGood(tally) ? 'Exactly once: lost 0, doubled 0, cells = raw.' : 'NOT exactly once.'}

How many landed inside each window (\`test/chaos/proxy.ts\` says what each is), and at any time; ${missed} aimed at a window that did not open in time and are not among them:

${table(
  ['', ...WINDOWS, 'at random'],
  KINDS.map(kind => [kind, ...[...WINDOWS, 'random' as const].map(window => landed[nameOf({ kind, window })] ?? 0)]),
)}

From the shot until whatever died ran again and every partition had stored a record that Kafka took after the shot (sessions end after 2 s here, a broker that died may register again after 3 s):

${table(
  ['', 'p50', 'p90', 'longest'],
  KINDS.map(kind => {
    const all = tally.recovered_ms[kind] ?? []
    return [kind, seconds(quantile(all, 0.5)), seconds(quantile(all, 0.9)), seconds(quantile(all, 1))]
  }),
)}`
}
