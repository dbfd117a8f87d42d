/** Listening where the configuration says; what keeps it from that is said in its words. */
import type { Server } from 'node:net'
import { ConfigError } from './config.ts'

export interface Place {
  readonly host: string
  readonly port: number
  /** `HTTP` for HTTP_HOST and HTTP_PORT. */
  readonly variables: string
}

const LOOPBACK_HOSTS = ['127.0.0.1', '::1', 'localhost']
export const isLoopback = (host: string): boolean => LOOPBACK_HOSTS.includes(host)

/** @throws ConfigError if the place is not to be had */
export async function listen(server: Server, place: Place): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', error => reject(new ConfigError(whyNot(error, place))))
    server.listen(place.port, place.host, resolve)
  })
}

/** Why nobody can listen there, and what to change. */
function whyNot(error: NodeJS.ErrnoException, { host, port, variables }: Place): string {
  switch (error.code) {
    case 'EADDRINUSE':
      return `port ${port} on ${host} is taken: stop what listens there or set ${variables}_PORT to a free one`
    case 'EACCES':
      return `port ${port} may not be used by this user: set ${variables}_PORT to one above 1023`
    case 'EADDRNOTAVAIL':
    case 'ENOTFOUND':
      return `${variables}_HOST: ${host} is no address of this machine`
    default:
      return error.message
  }
}

/** Where this machine reaches what listens there: an address that means "every interface" is no address to go to. */
export function urlOf({ host, port }: Pick<Place, 'host' | 'port'>): string {
  const reached = host === '0.0.0.0' || host === '::' ? '127.0.0.1' : host
  return `http://${reached.includes(':') ? `[${reached}]` : reached}:${port}`
}
