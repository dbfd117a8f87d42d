/** What sessions of a kind sustained, from the slowest tenth to the fastest, and how far one had to look to find enough of them. */
import { count, saying } from '../format.ts'
import { Empty } from '../panel.tsx'
import type { priorQuestion } from '../questions.ts'

type Known = Awaited<ReturnType<ReturnType<typeof priorQuestion>['load']>>['prior']

const SUSTAINED = [
  ['p10_kbps', 'nine of ten sustained'],
  ['p25_kbps', 'three of four sustained'],
  ['p50_kbps', 'half sustained'],
  ['p75_kbps', 'one of four sustained'],
  ['p90_kbps', 'one of ten sustained'],
] as const

const levelWords = (level: string): string => (level === 'global' ? 'everybody' : `same ${level.replaceAll('+', ', ')}`)

export function Prior({ prior }: { readonly prior: Known }) {
  if (!prior) return <Empty>Nothing is known of sessions like this one.</Empty>
  const most = Math.max(1, ...SUSTAINED.map(([name]) => prior[name] ?? 0))
  return (
    <>
      <dl class="budget">
        {SUSTAINED.map(([name, label]) => (
          <div key={name} data-figure={name}>
            <dt>{label}</dt>
            <dd>
              <meter min={0} max={most} value={prior[name] ?? 0} aria-hidden="true" />
              <span class="number">{saying(prior[name], 'kbps')}</span>
            </dd>
          </div>
        ))}
      </dl>
      <dl class="figures">
        <div>
          <dt>Begin with</dt>
          <dd>{saying(prior.start_bitrate_kbps, 'kbps')}</dd>
        </div>
        <div>
          <dt>Stay below</dt>
          <dd>{saying(prior.cap_kbps, 'kbps')}</dd>
        </div>
        <div>
          <dt>Round trip, packets lost</dt>
          <dd>
            {saying(prior.rtt_p50_us, 'us')}, {saying(prior.packet_loss_pct, 'pct')}
          </dd>
        </div>
        {prior.levels.map(({ level, n }) => (
          <div key={level}>
            <dt>
              {level === prior.level ? '✓ ' : ''}
              {levelWords(level)}
            </dt>
            <dd>{count(n)} sessions</dd>
          </div>
        ))}
      </dl>
    </>
  )
}
