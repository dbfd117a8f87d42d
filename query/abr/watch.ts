/**
 * Some sessions followed: what is told of each at first, and again whenever it changed materially, went stale or silent. Endless, until
 * `signal`; a heartbeat says that nothing happened.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import { type Advice, type Advisor, type Asked, adviceOn, isMaterial } from './advice.ts'

/** Age and silence come with time alone: looked for this often. */
const LOOK_EVERY_MS = 500
/** News of many sessions come together. */
const GATHER_MS = 50
const HEARTBEAT_EVERY_MS = 5_000

export async function* watch(
  advisor: Advisor,
  asked: readonly Asked[],
  now: () => number,
  signal: AbortSignal,
): AsyncGenerator<Advice | 'heartbeat'> {
  const told = new Map<string, Advice>()
  const watched = new Set(asked.map(({ session_id }) => session_id))
  let wake = (): void => {}
  const stop = advisor.sessions.listen(changed => {
    for (const id of changed) if (watched.has(id)) return wake()
  })
  try {
    for (let spoken_ms = now(); !signal.aborted; ) {
      for (const one of asked) {
        const advice = adviceOn(advisor, one, now())
        if (!isMaterial(told.get(one.session_id), advice)) continue
        told.set(one.session_id, advice)
        spoken_ms = now()
        yield advice
      }
      if (now() - spoken_ms >= HEARTBEAT_EVERY_MS) {
        spoken_ms = now()
        yield 'heartbeat'
      }
      const news = new Promise<void>(resolve => {
        wake = resolve
      })
      await Promise.race([news, pause(LOOK_EVERY_MS, signal)])
      await pause(GATHER_MS, signal)
    }
  } finally {
    stop()
  }
}

const pause = (ms: number, signal: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { signal, ref: false }).catch(() => {})
