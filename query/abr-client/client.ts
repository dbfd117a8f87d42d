/**
 * The read for whoever decides in the middle of a game. Nothing here throws, rejects or waits longer than it was told to: when the API
 * does not answer in time, the last it said is told instead, with its true age, and what is safe once that is too old. Meanwhile the
 * question goes on in the background, is asked again with jitter, and not at all while the API is down.
 */
import type { Context } from '../../ingest/contract/events.ts'
import type { Advice } from '../abr/advice.ts'
import { DEFAULT_LADDER, type Ladder, parseLadder } from '../abr/ladder.ts'
import { recommend } from '../abr/recommend.ts'
import type { Prior, Recommendation, Standing } from '../abr/state.ts'
import { ApiProblem } from '../client.ts'
import { guarded, reasonOf } from './guarded.ts'
import { LastKnown } from './last-known.ts'
import { adviceOf, priorOf } from './read.ts'

export interface AbrClientOptions {
  /** Of the API: `http://127.0.0.1:18080`. */
  readonly url: string
  /** With the scopes `abr:read` and, for decisions, `abr:write`. */
  readonly key: string
  /** How long a caller waits at most. */
  readonly timeout_ms?: number
  /** The service's, if it is not the default one. */
  readonly ladder?: Ladder
  /** Instead of the global one: over a proxy, say. */
  readonly fetch?: typeof fetch
}

/** What to do now, in the words of the API. */
export interface AbrAnswer extends Advice {
  /** Why this is not the API's answer to this question but the last it said; undefined: it is. */
  readonly problem: string | undefined
}

/** Where a session like this one should begin. */
export interface AbrStart {
  readonly recommendation: Recommendation
  readonly prior: Prior | null
  readonly problem: string | undefined
}

export interface AbrClient {
  /** What to do now; `standing`: where the caller stands on the ladder. */
  session(session_id: string, standing?: Standing): Promise<AbrAnswer>
  start(context: Context): Promise<AbrStart>
  /** It ended: what is known of it may go. */
  forget(session_id: string): void
  /** Ends what is under way; every question after it is answered with what is known. */
  close(): void
}

const TIMEOUT_MS = 50
const LATE = 'the API takes longer than this caller waits'

const searchOf = (fields: object): string =>
  new URLSearchParams(
    Object.entries(fields).flatMap(([name, value]): [string, string][] =>
      value === undefined ? [] : [[name, String(value)]],
    ),
  ).toString()

type Heard<Answer> = { readonly answer: Answer } | { readonly problem: string }

export function createAbrClient({ url, key, timeout_ms = TIMEOUT_MS, ...options }: AbrClientOptions): AbrClient {
  const { ladder = parseLadder(DEFAULT_LADDER), fetch: send = fetch } = options
  const known = new LastKnown(ladder)
  const closing = new AbortController()
  const within = guarded(closing.signal)
  /** One question at a time about the same thing: a caller that asks every 100 ms must not pile up. */
  const under_way = new Map<string, Promise<Heard<unknown>>>()

  async function get(path: string, signal: AbortSignal): Promise<unknown> {
    const response = await send(`${url}${path}`, { headers: { authorization: `Bearer ${key}` }, signal })
    if (response.ok) return response.json()
    const problem = (await response.json().catch(() => ({}))) as Record<string, string>
    throw new ApiProblem(response.status, problem, response.headers.get('retry-after'))
  }

  function ask<Answer>(path: string, read: (body: unknown) => Answer): Promise<Heard<Answer>> {
    return within(async signal => read(await get(path, signal))).then(
      answer => ({ answer }),
      error => ({ problem: reasonOf(error) }),
    )
  }

  /** Undefined: not in time. */
  async function inTime<Answer>(asked: Promise<Heard<Answer>>): Promise<Heard<Answer>> {
    let timer: NodeJS.Timeout | undefined
    const late = new Promise<Heard<Answer>>(resolve => {
      timer = setTimeout(resolve, timeout_ms, { problem: LATE })
    })
    const heard = await Promise.race([asked, late])
    clearTimeout(timer)
    return heard
  }

  function askOnce<Answer>(name: string, path: string, read: (body: unknown) => Answer) {
    const earlier = under_way.get(name)
    if (earlier) return { asked: earlier as Promise<Heard<Answer>>, mine: false }
    const asked = ask(path, read)
    under_way.set(name, asked)
    void asked.then(() => under_way.delete(name))
    return { asked, mine: true }
  }

  return {
    async session(session_id, standing) {
      const query = standing ? `?${searchOf({ ...standing })}` : ''
      const { asked, mine } = askOnce(
        session_id,
        `/v1/abr/sessions/${encodeURIComponent(session_id)}${query}`,
        body => {
          const advice = adviceOf(body, session_id)
          known.remember(advice, performance.now())
          return advice
        },
      )
      const heard = await inTime(asked)
      if ('answer' in heard && mine) return { ...heard.answer, problem: undefined }
      // An answer to somebody who stood elsewhere is put through the rules again, for where this one stands.
      const problem = 'answer' in heard ? undefined : heard.problem
      return { ...known.advise(session_id, standing, performance.now()), problem }
    },

    async start(context) {
      const query = searchOf(context)
      const { asked } = askOnce(query, `/v1/abr/prior?${query}`, priorOf)
      const heard = await inTime(asked)
      const prior = 'answer' in heard ? heard.answer : null
      const problem = 'answer' in heard ? undefined : heard.problem
      return { recommendation: recommend(ladder, undefined, prior ?? undefined), prior, problem }
    },

    forget: session_id => known.forget(session_id),
    close: () => closing.abort(),
  }
}
