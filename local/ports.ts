/**
 * Loopback ports: is one taken, and which is free. A port can be taken between the question and its use; whoever
 * starts a part asks again before each start, so the next attempt takes another one.
 */
import { createServer } from 'node:net'
import { listen, type Place } from '../ingest/runtime/listen.ts'
import { CannotStart } from './child.ts'

/** A port nobody listens on now. */
export const freePort = (): Promise<number> => listenOnce({ host: '127.0.0.1', port: 0, variables: '' })

/** @throws CannotStart naming the port and the variable that moves it */
export async function portMustBeFree(place: Place): Promise<void> {
  await listenOnce(place).catch(error => {
    throw new CannotStart(error.message)
  })
}

async function listenOnce(place: Place): Promise<number> {
  const server = createServer()
  await listen(server, place)
  const address = server.address()
  await new Promise(resolve => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : place.port
}
