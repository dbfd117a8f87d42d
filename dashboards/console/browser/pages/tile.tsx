/** One big number: what it is now, whether that is better or worse than just before, and its course. A press shows it over time. */
import type { MetricId } from '../../../../query/metrics/catalogue.ts'
import { ONCE, useAsked } from '../asked.ts'
import { Spark } from '../charts/spark.tsx'
import { useDesk, useMetric } from '../desk.ts'
import { digits, say } from '../format.ts'
import { isMoving, type Place } from '../place.ts'
import { overallQuestion, type Part, timeseriesQuestion } from '../questions.ts'

const POINTS = 90

export function Tile({ id }: { readonly id: MetricId }) {
  const { api, place, go } = useDesk()
  const { title, unit, better } = useMetric(id)
  const now = useAsked(overallQuestion(api, id, place))
  const course = useAsked(timeseriesQuestion(api, id, place, POINTS))
  const earlier = before(place)
  // What is over does not change: it is not asked again at each beat.
  const past = useAsked(earlier && overallQuestion(api, id, earlier), ONCE)
  const value = now.data?.data[0]?.value ?? null
  const { number, unit: said } = say(value, unit)
  const trend = trendOf(value, past.data?.data[0]?.value ?? null, better)
  return (
    <button
      type="button"
      class={`tile${now.failure && !now.data ? ' failed' : ''}`}
      aria-pressed={place.metric === id}
      onClick={() => go({ metric: id })}
      data-metric={id}
    >
      <span class="name">{title}</span>
      <span class="value">
        {now.data || now.failure ? <data value={value === null ? '' : String(value)}>{number}</data> : '…'}
        <small> {said}</small>
      </span>
      <span class={`trend ${trend?.kind ?? ''}`}>
        {now.failure && !now.data
          ? `✕ ${now.failure.said}`
          : value === null && now.data
            ? 'not known in this range'
            : (trend?.words ?? '\u00a0')}
      </span>
      <Spark values={course.data?.data.map(point => point.value) ?? []} />
    </button>
  )
}

/** The stretch of the same length before a range that moves. */
function before({ from, to, filter }: Place): Part | undefined {
  const [, amount, unit] = /^now-(\d+)([smhd])$/.exec(from) ?? []
  if (amount === undefined || !isMoving({ to }) || to !== 'now') return undefined
  return { from: `now-${2 * Number(amount)}${unit}`, to: from, filter }
}

export interface Trend {
  readonly kind: 'better' | 'worse' | 'other' | 'same'
  readonly words: string
}

/** Below this much nobody calls it a change. */
const SAME_PCT = 2

/** Pure. In a sign, a number and a word: whoever sees no colours reads it as well. */
function trendOf(now: number | null, past: number | null, better: 'higher' | 'lower' | 'neither'): Trend | undefined {
  if (now === null || past === null) return undefined
  if (past === 0) return now === 0 ? { kind: 'same', words: '= as before' } : undefined
  const pct = (100 * (now - past)) / Math.abs(past)
  if (Math.abs(pct) < SAME_PCT) return { kind: 'same', words: '= as before' }
  const sign = pct > 0 ? '↑' : '↓'
  const much = `${sign} ${digits(Math.abs(pct))}\u00a0%`
  if (better === 'neither') return { kind: 'other', words: `${much} ${pct > 0 ? 'more' : 'less'}` }
  const good = pct > 0 === (better === 'higher')
  return { kind: good ? 'better' : 'worse', words: `${much} ${good ? 'better' : 'worse'}` }
}
