/** One answer to bitrate logic: what to do and why, how old what it rests on is, and the session's last ten seconds. */
import { Go } from '../controls.tsx'
import { count, saying, type Unit } from '../format.ts'
import type { adviceQuestion } from '../questions.ts'
import { Prior } from './prior.tsx'

type Told = Awaited<ReturnType<ReturnType<typeof adviceQuestion>['load']>>

/** Why a rung is recommended, in words. */
const REASONS: Readonly<Record<Told['recommendation']['reason'], string>> = {
  nothing_known: 'nothing is known of it or of sessions like it',
  cold_start: 'it is new: what sessions like it sustained',
  state_unknown: 'it says too little of its network',
  above_cap: 'it is above what sessions like it sustained',
  freeze: 'its picture stands still',
  loss: 'it loses packets',
  does_not_fit: 'its network does not carry the step it is at',
  settling: 'it changed a moment ago: wait',
  hold: 'the step it is at fits',
  climb: 'its network carries more',
  stale: 'what is known is too old: do what is safe',
}

const FIGURES = [
  ['bitrate_avg_kbps', 'Bitrate received', 'kbps'],
  ['target_bitrate_kbps', 'Asked of the encoder', 'kbps'],
  ['rtt_p50_us', 'Round trip, median', 'us'],
  ['jitter_p50_us', 'Jitter, median', 'us'],
  ['packet_loss_pct', 'Packets lost', 'pct'],
  ['fps_avg', 'Frames per second', 'fps'],
  ['frame_time_p95_us', 'Frame time, 95th percentile', 'us'],
  ['late_frame_pct', 'Late frames', 'pct'],
  ['stutter_time_pct', 'Time in stutters', 'pct'],
  ['freeze_time_pct', 'Time in freezes', 'pct'],
  ['open_frame_us', 'Frame on the screen for', 'us'],
  ['mos_avg', 'Opinion score', 'mos'],
] as const satisfies readonly (readonly [keyof NonNullable<Told['state']>, string, Unit])[]

const AVAILABLE = [
  ['last', 'Available, last'],
  ['harmonic_mean', 'Available, harmonic mean'],
  ['ewma_3s', 'Available, weighted, 3 s'],
  ['ewma_9s', 'Available, weighted, 9 s'],
  ['stdev', 'Available, standard deviation'],
] as const satisfies readonly (readonly [keyof NonNullable<Told['state']>['available_kbps'], string])[]

export function Advice({ advice }: { readonly advice: Told }) {
  const { recommendation, safe_default, state, stale, age_ms, samples, completeness_pct } = advice
  return (
    <>
      <p class="big">
        {recommendation.rung} <small>{saying(recommendation.target_bitrate_kbps, 'kbps')}</small>
      </p>
      <p>Because {REASONS[recommendation.reason]}.</p>
      <p class={stale ? 'stale' : 'fresh'}>
        <span aria-hidden="true">{stale ? '■ ' : '✓ '}</span>
        {age_ms === null ? 'nothing is heard of it' : `${stale ? 'stale: ' : ''}heard of ${saying(age_ms, 'ms')} ago`}
        {age_ms !== null && !stale && `, valid for ${saying(advice.valid_for_ms, 'ms')}`}
      </p>
      {advice.freeze_in_progress && (
        <p class="freeze">
          <span aria-hidden="true">■ </span>Its picture stands still now.
        </p>
      )}
      <dl class="figures">
        <div>
          <dt>Safe when in doubt</dt>
          <dd>
            {safe_default
              ? `${safe_default.rung}, ${saying(safe_default.target_bitrate_kbps, 'kbps')}`
              : 'unknown: nobody said on which rung it is'}
          </dd>
        </div>
        {state && (
          <>
            <div>
              <dt>Rung</dt>
              <dd>{state.rung ?? 'unknown'}</dd>
            </div>
            {AVAILABLE.map(([name, label]) => (
              <div key={name}>
                <dt>{label}</dt>
                <dd>{saying(state.available_kbps[name], 'kbps')}</dd>
              </div>
            ))}
            {FIGURES.map(([name, label, unit]) => (
              <div key={name} data-figure={name}>
                <dt>{label}</dt>
                <dd>{saying(state[name], unit)}</dd>
              </div>
            ))}
          </>
        )}
        <div>
          <dt>Intervals behind it, events that arrived</dt>
          <dd>
            {count(samples)}, {saying(completeness_pct, 'pct')}
          </dd>
        </div>
      </dl>
      <p>
        <Go to="session" id={advice.session_id}>
          The session over time
        </Go>
      </p>
      <details>
        <summary>Sessions like it</summary>
        <Prior prior={advice.prior} />
      </details>
    </>
  )
}
