/** Takes the id of a session, and says what one looks like where it is none. */
import { useEffect, useState } from 'preact/hooks'
import { useDesk } from '../desk.ts'

const SESSION_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

interface SessionFieldProps {
  readonly value: string
  readonly onSession: (id: string) => void
}

export function SessionField({ value, onSession }: SessionFieldProps) {
  const { say } = useDesk()
  const [id, setId] = useState(value)
  useEffect(() => setId(value), [value])
  const give = (event: Event) => {
    event.preventDefault()
    const wanted = id.trim().toLowerCase()
    if (SESSION_ID.test(wanted)) onSession(wanted)
    else say('A session id is a UUID, as in 0f8fad5b-d9cb-469f-a165-70867728950e')
  }
  return (
    <form class="menu" onSubmit={give}>
      <label for="session-id">Session id</label>
      <input
        id="session-id"
        type="search"
        size={22}
        autocomplete="off"
        spellcheck={false}
        value={id}
        onInput={event => setId(event.currentTarget.value)}
      />
      <button type="submit">Open</button>
    </form>
  )
}
