/**
 * Loopback ports: is one taken, and which is free. A port can be taken between the question and its use; whoever
 * starts a part asks again before each start, so the next attempt takes another one.
 */
import { createServer } from 'node:net'
import { listen, type Place } from '../ingest/runtime/listen.ts'
import { CannotStart } from './child.ts'

/** Given to somebody of this process, who may not listen there yet. */
const spokenFor = new Set<number>()

/** A port nobody listens on now, and nobody else here was given. */
export async function freePort(): Promise<number> {
  const port = await listenOnce({ host: '127.0.0.1', port: 0, variables: '' })
  if (spokenFor.has(port)) return freePort()
  spokenFor.add(port)
  return port
}

/** @throws CannotStart naming the port and the variable that moves it */
export async function portMustBeFree(place: Place): Promise<void> {
  await listenOnce(place).catch(error => {
    throw new CannotStart(error.message)
  })
  spokenFor.add(place.port)
}

async function listenOnce(place: Place): Promise<number> {
  const server = createServer()
  await listen(server, place)
  const address = server.address()
  await new Promise(resolve => server.close(resolve))
  return typeof address === 'object' && address !== null ? address.port : place.port
}
