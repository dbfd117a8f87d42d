/**
 * The console as a whole: the place we are at, the client with its key, the pulse that live pages ask again at, and the frame around the
 * page. Nothing but this file changes the URL.
 */
import { useCallback, useEffect, useMemo, useRef, useState } from 'preact/hooks'
import { createClient } from '../../../query/client.ts'
import { useAsked } from './asked.ts'
import { CatalogueContext, type Desk, DeskContext, useDesk } from './desk.ts'
import type { Failure } from './failure.ts'
import { Header } from './header.tsx'
import { adoptKey, keepKey, readKey } from './key.ts'
import { KeyForm } from './key-form.tsx'
import { Abr } from './pages/abr.tsx'
import { Fleet } from './pages/fleet.tsx'
import { FramesPage } from './pages/frames.tsx'
import { Pipeline } from './pages/pipeline.tsx'
import { Session } from './pages/session.tsx'
import { Sessions } from './pages/sessions.tsx'
import { Failed } from './panel.tsx'
import type { Page } from './paths.ts'
import { isLive, type Place, placeOf, urlOf } from './place.ts'
import { catalogueQuestion } from './questions.ts'

/** Cells are settled every few seconds: asking more often shows nothing newer. */
const BEAT_MS = 10_000
const SAID_FOR_MS = 6_000

const TITLES: Readonly<Record<Page, string>> = {
  fleet: 'Fleet',
  frames: 'Frames',
  sessions: 'Sessions',
  session: 'Session',
  abr: 'ABR',
  pipeline: 'Pipeline',
}

export function Console() {
  const [place, setPlace] = useState<Place>(() => placeOf(location.pathname, location.search))
  const [key, setKey] = useState(readKey)
  const [revision, setRevision] = useState(0)
  const [refused, setRefused] = useState(false)
  const [said, setSaid] = useState('')
  const beat = useBeat(isLive(place))
  const api = useMemo(() => createClient({ url: location.origin, key }), [key])

  const takeKey = useCallback((given: string) => {
    keepKey(given)
    setKey(given)
    setRefused(false)
    setRevision(n => n + 1)
  }, [])

  useEffect(() => {
    const back = () => {
      if (location.hash !== '') {
        adoptKey()
        takeKey(readKey())
      }
      setPlace(placeOf(location.pathname, location.search))
    }
    addEventListener('popstate', back)
    return () => removeEventListener('popstate', back)
  }, [takeKey])

  const current = useRef(place)
  current.current = place
  const move = useCallback((next: Place, how: 'push' | 'replace') => {
    const url = urlOf(next)
    if (url !== location.pathname + location.search) {
      if (how === 'push') history.pushState(null, '', url)
      else history.replaceState(null, '', url)
    }
    const leaves = next.page !== current.current.page || next.id !== current.current.id
    setPlace(next)
    if (leaves) scrollTo(0, 0)
  }, [])
  const go = useCallback<Desk['go']>((change, how = 'push') => move({ ...current.current, ...change }, how), [move])
  const visit = useCallback<Desk['visit']>(next => move(next, 'push'), [move])
  const heard = useCallback((failure: Failure | undefined) => {
    if (failure?.kind === 'unauthorized') setRefused(true)
  }, [])

  useEffect(() => {
    const name = place.page === 'session' ? `Session ${place.id.slice(0, 8)}` : TITLES[place.page]
    document.title = `${name} · Stream quality`
  }, [place.page, place.id])
  useEffect(() => {
    if (said === '') return
    const over = setTimeout(() => setSaid(''), SAID_FOR_MS)
    return () => clearTimeout(over)
  }, [said])

  const desk = useMemo<Desk>(
    () => ({ api, place, go, visit, beat, revision, heard, say: setSaid }),
    [api, place, go, visit, beat, revision, heard],
  )
  return (
    <DeskContext.Provider value={desk}>
      {key === '' || refused ? <KeyForm refused={refused} onKey={takeKey} /> : <Known key={revision} />}
      <div class="said" role="status" aria-live="polite">
        {said}
      </div>
    </DeskContext.Provider>
  )
}

/** With what the API knows of metrics and dimensions, without which nothing can be drawn. */
function Known() {
  const { api, place } = useDesk()
  const asked = useAsked(catalogueQuestion(api))
  const catalogue = useMemo(() => asked.data, [asked.data])
  if (!catalogue)
    return (
      <main class="alone">
        {asked.failure ? (
          <>
            <h1>Stream quality</h1>
            <Failed failure={asked.failure} />
            <p class="fine">It is asked again every {BEAT_MS / 1_000} seconds.</p>
          </>
        ) : (
          <p role="status">Asking the API what it knows …</p>
        )}
      </main>
    )
  return (
    <CatalogueContext.Provider value={catalogue}>
      <button type="button" class="skip" onClick={() => document.getElementById('page')?.focus()}>
        To the page
      </button>
      <Header />
      <main id="page" tabIndex={-1} aria-label={TITLES[place.page]}>
        <PageOf page={place.page} />
      </main>
    </CatalogueContext.Provider>
  )
}

function PageOf({ page }: { readonly page: Page }) {
  switch (page) {
    case 'fleet':
      return <Fleet />
    case 'frames':
      return <FramesPage />
    case 'sessions':
      return <Sessions />
    case 'session':
      return <Session />
    case 'abr':
      return <Abr />
    case 'pipeline':
      return <Pipeline />
  }
}

/** Counts up while live and looked at; at once when somebody comes back to look. */
function useBeat(live: boolean): number {
  const [beat, setBeat] = useState(0)
  useEffect(() => {
    if (!live) return
    const next = () => {
      if (document.visibilityState === 'visible') setBeat(n => n + 1)
    }
    const timer = setInterval(next, BEAT_MS)
    document.addEventListener('visibilitychange', next)
    return () => {
      clearInterval(timer)
      document.removeEventListener('visibilitychange', next)
    }
  }, [live])
  return beat
}
