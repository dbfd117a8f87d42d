/**
 * The frames of a session as they come: read line by line, so that a long answer is no long task, and shown when all of them are there.
 */
import { useEffect, useState } from 'preact/hooks'
import { Frames } from './charts/frame-data.ts'
import { useDesk } from './desk.ts'
import { type Failure, failureOf } from './failure.ts'
import { framesUrl } from './questions.ts'

export interface FramesAsked {
  readonly url: string
  readonly frames: Frames | undefined
  readonly failure: Failure | undefined
}

interface Known extends Omit<FramesAsked, 'url'> {
  readonly id: string
}

/** @param span undefined: more than is given frame by frame, or not known yet */
export function useFrames(
  id: string,
  span: { readonly from: string; readonly to: string } | undefined,
  beat: number,
): FramesAsked {
  const { api, revision } = useDesk()
  const url = span ? framesUrl(api, id, span) : ''
  const [asked, setAsked] = useState<Known>({ id, frames: undefined, failure: undefined })
  // A question is its URL; a beat asks it again.
  useEffect(() => {
    if (!span) return
    const leaving = new AbortController()
    const { signal } = leaving
    read(api.v1.sessions[':id'].frames.$get({ param: { id }, query: span }, { init: { signal } })).then(
      frames => {
        if (!signal.aborted) setAsked({ id, frames, failure: undefined })
      },
      error => {
        if (!signal.aborted) setAsked(before => ({ ...before, failure: failureOf(error) }))
      },
    )
    return () => leaving.abort()
  }, [url, revision, beat])
  // Of a session that still plays the range moves on: what is known of it stays until the rest is there.
  return asked.id === id && url !== '' ? { ...asked, url } : { url, frames: undefined, failure: undefined }
}

async function read(answer: Promise<Response>): Promise<Frames> {
  const frames = new Frames()
  const { body } = await answer
  if (!body) return frames
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let rest = ''
  for (;;) {
    const { done, value } = await reader.read()
    if (done) break
    const text = rest + value
    const end = text.lastIndexOf('\n') + 1
    frames.read(text.slice(0, end))
    rest = text.slice(end)
  }
  return frames
}
