/** Asks for a key: at the first visit, and whenever the API says that it does not know the one we have. */
import { useState } from 'preact/hooks'

interface KeyFormProps {
  readonly refused: boolean
  readonly onKey: (key: string) => void
}

export function KeyForm({ refused, onKey }: KeyFormProps) {
  const [key, setKey] = useState('')
  const give = (event: Event) => {
    event.preventDefault()
    if (key.trim() !== '') onKey(key.trim())
  }
  return (
    <main class="alone">
      <form class="panel" onSubmit={give}>
        <h1>Stream quality</h1>
        {refused ? (
          <p role="alert">
            <strong>
              <span aria-hidden="true">✕ </span>The API does not know this key.
            </strong>{' '}
            It may have been replaced.
          </p>
        ) : (
          <p>The API answers to those who have a key.</p>
        )}
        <label for="key">Key</label>
        <input
          id="key"
          type="password"
          autocomplete="off"
          spellcheck={false}
          value={key}
          onInput={event => setKey(event.currentTarget.value)}
        />
        <button type="submit" class="primary">
          Look
        </button>
        <p class="fine">
          On one machine it is in <code>.data/dev-key</code>, and <code>npm start</code> prints a link that has it. It
          stays in this tab and is sent to this API alone.
        </p>
      </form>
    </main>
  )
}
