/** A piece of the page: what it shows, of what it is, where it comes from; and, said plainly, that there is nothing, or why. */
import type { ComponentChildren } from 'preact'
import { useId } from 'preact/hooks'
import type { Asked } from './asked.ts'
import { useDesk } from './desk.ts'
import type { Failure } from './failure.ts'
import { curlOf } from './questions.ts'

interface PanelProps {
  readonly title: string
  readonly unit?: string
  readonly definition?: string
  /** Of the question behind it. */
  readonly url?: string
  readonly tools?: ComponentChildren
  readonly wide?: boolean
  readonly children: ComponentChildren
}

export function Panel({ title, unit, definition, url, tools, wide, children }: PanelProps) {
  const id = useId()
  return (
    <section class={wide ? 'panel wide' : 'panel'} aria-labelledby={id}>
      <header>
        <h2 id={id}>
          {title}
          {unit && <span class="unit"> {unit}</span>}
        </h2>
        <div class="tools">
          {tools}
          {url && <CopyCall url={url} title={title} />}
        </div>
      </header>
      {definition && (
        <details class="definition">
          <summary>What this is</summary>
          <p>{definition}</p>
        </details>
      )}
      {children}
    </section>
  )
}

interface CopyCallProps {
  readonly url: string
  readonly title: string
  /** Where there is room for a sign only. */
  readonly small?: boolean
}

export function CopyCall({ url, title, small }: CopyCallProps) {
  const { say } = useDesk()
  const call = curlOf(url)
  const copy = () =>
    navigator.clipboard.writeText(call).then(
      () => say('Copied as a call of the API; it takes your key from $KEY'),
      () => say(`This browser does not let us copy. The call: ${call}`),
    )
  return (
    <button type="button" class="quiet copy" onClick={copy} title={call} aria-label={`Copy as API call: ${title}`}>
      {small ? <CopySign /> : 'Copy as API call'}
    </button>
  )
}

const CopySign = () => (
  <svg width="13" height="13" viewBox="0 0 13 13" aria-hidden="true">
    <path d="M1.5 9.5v-8h7M4 4h7.5v7.5H4z" fill="none" stroke="currentColor" />
  </svg>
)

const HEADINGS: Readonly<Record<Failure['kind'], string>> = {
  away: 'The API does not answer',
  slow: 'The API takes too long',
  busy: 'The API is busy, or its store is away',
  refused: 'The API cannot answer this as it was put',
  forbidden: 'This key may not see this',
  unauthorized: 'A key is needed',
  unknown: 'There is no such thing',
  fault: 'The API failed',
}

export function Failed({ failure }: { readonly failure: Failure }) {
  return (
    <div class="state failed" role="status">
      <strong>
        <span aria-hidden="true">✕ </span>
        {HEADINGS[failure.kind]}
      </strong>
      <p>{failure.said}.</p>
      {failure.request_id && <p class="fine">Request {failure.request_id}</p>}
    </div>
  )
}

export const Empty = ({ children }: { readonly children: ComponentChildren }) => (
  <div class="state empty">
    <p>{children}</p>
  </div>
)

interface AnsweredProps<Data> {
  readonly asked: Asked<Data>
  /** In CSS pixels, so that nothing jumps when the answer comes. */
  readonly height?: number
  readonly children: (data: Data) => ComponentChildren
}

/** The answer; before that a quiet place for it, and instead of it why there is none. What is old is said to be. */
export function Answered<Data>({ asked, height = 120, children }: AnsweredProps<Data>) {
  if (asked.data !== undefined)
    return (
      <>
        {asked.failure && (
          <p class="fine late" role="status">
            <span aria-hidden="true">▲ </span>Not up to date: {asked.failure.said}
          </p>
        )}
        {children(asked.data)}
      </>
    )
  if (asked.failure) return <Failed failure={asked.failure} />
  return (
    <div class="state waiting" style={{ minHeight: `${height}px` }} role="status">
      <span class="visually-hidden">Waiting for the API</span>
    </div>
  )
}

interface ScrollProps {
  readonly label: string
  readonly tall?: boolean
  readonly children: ComponentChildren
}

/** What may be wider than its place: moved by touch, wheel or, once it has the focus, by keys. */
export const Scroll = ({ label, tall, children }: ScrollProps) => (
  // biome-ignore lint/a11y/noNoninteractiveTabindex: without the focus it could not be moved by keys
  <section class={tall ? 'scroll tall' : 'scroll'} aria-label={label} tabIndex={0}>
    {children}
  </section>
)
