/**
 * A question on the screen: asked when it changes and at each beat while the page is live. What was answered stays while it is asked
 * again, also where that fails: then the page says since when.
 */
import { useEffect, useRef, useState } from 'preact/hooks'
import { useDesk } from './desk.ts'
import { type Failure, failureOf } from './failure.ts'
import type { Question } from './questions.ts'

export interface Asked<Data> {
  readonly url: string
  readonly data: Data | undefined
  /** Of the last try. */
  readonly failure: Failure | undefined
  readonly asking: boolean
}

const NOTHING = { data: undefined, failure: undefined, asking: true }

/** For `again`: what is over, or takes long, is asked once. */
export const ONCE = 0

interface Running {
  readonly url: string
  readonly revision: number
  readonly leaving: AbortController
}

/**
 * @param question undefined: not yet known what to ask
 * @param again asked again whenever this changes; default: at each beat
 */
export function useAsked<Data>(question: Question<Data> | undefined, again?: number): Asked<Data> {
  const { beat, heard, revision } = useDesk()
  const url = question?.url ?? ''
  const [answered, setAnswered] = useState<Asked<Data>>({ url, ...NOTHING })
  const running = useRef<Running | undefined>(undefined)
  const latest = useRef(question)
  latest.current = question

  // A question is its URL; a beat asks it again.
  useEffect(() => {
    const asked = latest.current
    // Who is slower than the beat is not asked twice at once.
    if (running.current?.url === url && running.current.revision === revision) return
    running.current?.leaving.abort()
    running.current = undefined
    if (!asked) return
    const mine = { url, revision, leaving: new AbortController() }
    running.current = mine
    void outcome(asked, mine.leaving.signal).then(({ data, failure }) => {
      if (running.current !== mine) return
      running.current = undefined
      heard(failure)
      setAnswered(before => ({
        url,
        data: data ?? (before.url === url ? before.data : undefined),
        failure,
        asking: false,
      }))
    })
  }, [url, revision, again ?? beat])

  // Another page: nobody waits for this answer any more.
  useEffect(
    () => () => {
      running.current?.leaving.abort()
      running.current = undefined
    },
    [],
  )

  return answered.url === url ? answered : { url, ...NOTHING }
}

const outcome = <Data>(
  question: Question<Data>,
  signal: AbortSignal,
): Promise<{ readonly data?: Data; readonly failure: Failure | undefined }> =>
  question.load(signal).then(
    data => ({ data, failure: undefined }),
    error => ({ failure: failureOf(error) }),
  )
