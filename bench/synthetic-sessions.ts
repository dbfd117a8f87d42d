/** Many live sessions without Kafka: the memory they take, how long their figures take, and for how long requests are held up by them. */
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { Follower } from '../query/abr/follower.ts'
import { LiveSessions } from '../query/abr/live.ts'
import { STATE_WINDOW_S } from '../query/abr/state.ts'
import { saidIn } from './load.ts'
import { percentile } from './stage.ts'

const MB = 1024 * 1024

setFlagsFromString('--expose-gc')
const collectGarbage = runInNewContext('gc') as () => void

function inUse(): number {
  collectGarbage()
  const { heapUsed, external } = process.memoryUsage()
  return heapUsed + external
}

/** Every session says all of its window; then everybody changes once more, and is handed over. */
export function synthetic(sessions: number): Record<string, string> {
  const now_ms = Date.now()
  const begin_ms = now_ms - STATE_WINDOW_S * 1_000
  const limits = { too_old_ms: 86_400_000, from_future_ms: 86_400_000 }
  const follower = new Follower({
    ...{ brokers: [], topic: '', group_id: '', log_level: 'silent', limits, sessions_max: sessions },
  })
  const live = new LiveSessions()
  const everybody = (second: number): void => {
    for (let n = 0; n < sessions; n++)
      for (const { key, value } of saidIn(n, second, begin_ms + 1_000 * second))
        follower.hear(Buffer.from(value), Buffer.from(key), now_ms)
  }
  const handOver = (): { refresh_ms: number[]; apply_ms: number[] } => {
    const [refresh_ms, apply_ms]: [number[], number[]] = [[], []]
    for (let waiting = 1; waiting > 0; ) {
      const handover = follower.handover(now_ms)
      if (!handover) break
      waiting = handover.follower.waiting
      refresh_ms.push(handover.follower.refresh_ms)
      const begun = performance.now()
      // What going from one thread to the other costs both of them: here it is counted whole.
      live.apply(structuredClone(handover))
      apply_ms.push(performance.now() - begun)
    }
    return { refresh_ms, apply_ms }
  }
  const before = inUse()
  for (let second = 0; second < STATE_WINDOW_S; second++) everybody(second)
  handOver()
  const after = inUse()
  everybody(STATE_WINDOW_S)
  const { refresh_ms, apply_ms } = handOver()
  const all_ms = refresh_ms.reduce((a, b) => a + b, 0)
  return {
    sessions: String(live.size),
    memory: `${((after - before) / MB).toFixed(0)} MB, ${((after - before) / sessions / 1024).toFixed(1)} kB a session`,
    'figures of everybody': `${all_ms.toFixed(0)} ms, ${((1_000 * all_ms) / sessions).toFixed(1)} µs each, in ${refresh_ms.length} pieces`,
    'requests held up by a piece': `p50 ${percentile(apply_ms, 0.5).toFixed(2)} ms, at most ${Math.max(...apply_ms).toFixed(2)} ms`,
  }
}
