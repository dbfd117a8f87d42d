/**
 * The read for whoever decides in the middle of a game. Nothing here rejects or waits longer than it was told to: when the API does not
 * answer in time, the last it said is told instead, with its true age, and what is safe once that is too old. Meanwhile the question goes
 * on in the background, is asked again with jitter, and not at all while the API is down.
 */
import type { Context } from '../../ingest/contract/events.ts'
import type { Advice, PriorAdvice } from '../abr/advice.ts'
import { DEFAULT_LADDER, type Ladder } from '../abr/ladder.ts'
import { recommend } from '../abr/recommend.ts'
import type { Standing } from '../abr/state.ts'
import { guarded, reasonOf } from './guarded.ts'
import { LastKnown } from './last-known.ts'
import { type Decision, Ledger } from './ledger.ts'
import { adviceOf, priorOf } from './read.ts'
import { requests } from './request.ts'

export interface AbrClientOptions {
  /** Of the API: `http://127.0.0.1:18080`. */
  readonly url: string
  /** With the scopes `abr:read` and, for decisions, `abr:write`. */
  readonly key: string
  /** How long a caller waits at most. */
  readonly timeout_ms?: number
  /** Instead of the global one: over a proxy, say. */
  readonly fetch?: typeof fetch
}

export interface Asking {
  /** What is known of the session by whoever asks; counts until it has spoken itself. */
  readonly context?: Context
  /** Steps to choose from, if they are not those of the service. */
  readonly ladder?: Ladder
}

/** What to do now, in the words of the API. */
export interface AbrAnswer extends Advice {
  /** Why this is not the API's answer to this question but the last it said; undefined: it is. */
  readonly problem: string | undefined
}
export interface AbrStart extends Pick<PriorAdvice, 'recommendation' | 'prior'> {
  readonly problem: string | undefined
}

export interface AbrClient {
  /** What to do now. @param standing where the session stands on the ladder */
  session(session_id: string, standing?: Standing, asking?: Asking): Promise<AbrAnswer>
  /** Where a session like this one should begin. */
  start(asking: Asking): Promise<AbrStart>
  /** Into the ledger, in the background. False: there is no room, it is not noted. */
  decided(decision: Decision): boolean
  /** It ended: what is known of it may go. */
  forget(session_id: string): void
  /** Hands over the decisions that wait, for a second at most, and ends what is under way. Whoever asks later is told what is known. */
  close(): Promise<void>
}

const TIMEOUT_MS = 50
const LATE = 'no answer for as long as the caller waits'

type Heard<Answer> = { readonly answer: Answer } | { readonly problem: string }

export function createAbrClient({ url, key, timeout_ms = TIMEOUT_MS, ...options }: AbrClientOptions): AbrClient {
  const known = new LastKnown()
  const closing = new AbortController()
  const within = guarded(closing.signal)
  const request = requests(url, key, options.fetch ?? fetch)
  const ledger = new Ledger(decisions => within(signal => request('/v1/abr/decisions', signal, { decisions })))
  /** One question at a time about the same thing: a caller that asks every 100 ms must not pile up. */
  const under_way = new Map<string, Promise<Heard<unknown>>>()

  function ask<Answer>(name: string, path: string, read: (body: unknown) => Answer) {
    const earlier = under_way.get(name)
    if (earlier) return { asked: earlier as Promise<Heard<Answer>>, mine: false }
    const asked = within(async signal => read(await request(path, signal))).then(
      (answer): Heard<Answer> => ({ answer }),
      (error): Heard<Answer> => ({ problem: reasonOf(error) }),
    )
    under_way.set(name, asked)
    void asked.then(() => under_way.delete(name))
    return { asked, mine: true }
  }

  async function inTime<Answer>(asked: Promise<Heard<Answer>>): Promise<Heard<Answer>> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<Heard<Answer>>(resolve => {
      timer = setTimeout(resolve, timeout_ms, { problem: LATE })
    })
    const heard = await Promise.race([asked, late])
    clearTimeout(timer)
    return heard
  }

  return {
    async session(session_id, standing, { context = {}, ladder } = {}) {
      const path = `/v1/abr/sessions/${encodeURIComponent(session_id)}?${searchOf(context, ladder, standing)}`
      const { asked, mine } = ask(session_id, path, body => {
        const advice = adviceOf(body, session_id)
        known.remember(advice, performance.now())
        return advice
      })
      const heard = await inTime(asked)
      if ('answer' in heard && mine) return { ...heard.answer, problem: undefined }
      // An answer to somebody who stood elsewhere is put through the rules again, for where this one stands.
      const problem = 'answer' in heard ? undefined : heard.problem
      return { ...known.advise(session_id, standing, ladder ?? DEFAULT_LADDER, performance.now()), problem }
    },

    async start({ context = {}, ladder }) {
      const path = `/v1/abr/prior?${searchOf(context, ladder)}`
      const heard = await inTime(ask(path, path, priorOf).asked)
      if ('answer' in heard) return { ...heard.answer, problem: undefined }
      return { recommendation: recommend(ladder ?? DEFAULT_LADDER, undefined, undefined), prior: null, ...heard }
    },

    decided: decision => ledger.note(decision),
    forget: session_id => known.forget(session_id),
    close: async () => {
      await ledger.close()
      closing.abort()
    },
  }
}

/** Of a context what the routes ask for. */
function searchOf({ game, device, access, isp, region }: Context, ladder?: Ladder, standing?: Standing): string {
  const fields = {
    ...{ game, device, access, isp, region, ...standing },
    ladder: ladder?.map(({ name, bitrate_kbps }) => `${name}:${bitrate_kbps}`).join(','),
  }
  const known = Object.entries(fields).flatMap(([name, value]): [string, string][] =>
    value === undefined || value === Number.POSITIVE_INFINITY ? [] : [[name, String(value)]],
  )
  return new URLSearchParams(known).toString()
}
