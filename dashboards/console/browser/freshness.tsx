/**
 * How far what is shown can be trusted, in words with a sign before them: how old the newest event is, whether the range is complete, that
 * there is nothing, or that nobody answers.
 */
import { useEffect, useState } from 'preact/hooks'
import type { Meta } from './desk.ts'
import type { Failure } from './failure.ts'
import { count, digits, length } from './format.ts'

/** Events arrive once a second and are settled within seconds. */
const LATE_MS = 30_000
const STALE_MS = 120_000
const TICK_MS = 1_000

export interface Freshly {
  readonly state: 'fresh' | 'late' | 'stale' | 'empty' | 'away' | 'past'
  readonly sign: string
  readonly words: string
}

type Told = Pick<Meta, 'as_of' | 'sessions' | 'complete' | 'completeness_pct'>

/** Pure. @param moving the range reaches until now */
function freshnessOf(meta: Told, moving: boolean, now_ms: number): Freshly {
  const { as_of, sessions, complete, completeness_pct } = meta
  if (sessions === 0 && as_of === null) return { state: 'empty', sign: '○', words: 'no events in this range' }
  const arrived = completeness_pct === null ? '' : `, ${digits(completeness_pct)}\u00a0% arrived`
  const about = `${count(sessions)} ${sessions === 1 ? 'session' : 'sessions'}${arrived}`
  if (!moving)
    return {
      state: 'past',
      sign: complete === false ? '▲' : '✓',
      words: `${complete === false ? 'not complete yet' : 'complete'}: ${about}`,
    }
  if (as_of === null) return { state: 'stale', sign: '■', words: `age of the newest event unknown, ${about}` }
  const age_ms = Math.max(0, now_ms - Date.parse(as_of))
  const age = `newest event ${length(age_ms)} old`
  if (age_ms > STALE_MS) return { state: 'stale', sign: '■', words: `stale: ${age}, ${about}` }
  if (age_ms > LATE_MS) return { state: 'late', sign: '▲', words: `late: ${age}, ${about}` }
  return { state: 'fresh', sign: '✓', words: `${age}, ${about}` }
}

interface FreshnessProps {
  readonly meta: Told | undefined
  readonly failure: Failure | undefined
  readonly moving: boolean
}

export function Freshness({ meta, failure, moving }: FreshnessProps) {
  const [now, setNow] = useState(Date.now)
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), TICK_MS)
    return () => clearInterval(timer)
  }, [])
  if (failure)
    return (
      <span class="freshness away" role="status">
        <span aria-hidden="true">✕ </span>
        {failure.said}
        {meta ? '; what you see is from before' : ''}
      </span>
    )
  if (!meta) return <span class="freshness" />
  const { state, sign, words } = freshnessOf(meta, moving, now)
  return (
    <span class={`freshness ${state}`}>
      <span aria-hidden="true">{sign} </span>
      {words}
    </span>
  )
}
