/**
 * Loopback ports: is one taken, and which is free. A port can be taken between the question and its use; whoever
 * starts a part asks again before each start, so the next attempt takes another one.
 */
import { createServer } from 'node:net'
import { CannotStart } from './child.ts'

const LOOPBACK = '127.0.0.1'

/** A port nobody listens on now. */
export function freePort(): Promise<number> {
  return listenOnce(0)
}

/** @throws CannotStart naming the port and the variable that moves it */
export async function portMustBeFree(port: number, variable: string): Promise<void> {
  await listenOnce(port).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'EACCES')
      throw new CannotStart(`Port ${port} may not be used by this user: set ${variable} to one above 1023`)
    throw new CannotStart(
      `Port ${port} on ${LOOPBACK} is taken: stop what listens there or set ${variable} to a free one`,
    )
  })
}

function listenOnce(port: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
    server.once('error', reject)
    server.listen(port, LOOPBACK, () => {
      const address = server.address()
      const taken = typeof address === 'object' && address !== null ? address.port : port
      server.close(() => resolve(taken))
    })
  })
}
