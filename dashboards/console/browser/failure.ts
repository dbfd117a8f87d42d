/** Why there is no answer: what the API said, or that it said nothing. */
import { ApiProblem } from '../../../query/client.ts'

export interface Failure {
  readonly kind: 'away' | 'slow' | 'refused' | 'forbidden' | 'unauthorized' | 'busy' | 'unknown' | 'fault'
  readonly said: string
  readonly request_id: string | undefined
}

export function failureOf(error: unknown): Failure {
  if (error instanceof ApiProblem) {
    const { status, request_id, message } = error
    return { kind: kindOf(status), said: message, request_id }
  }
  if (error instanceof DOMException && error.name === 'TimeoutError')
    return { kind: 'slow', said: 'the API took too long to answer', request_id: undefined }
  return { kind: 'away', said: 'the API does not answer', request_id: undefined }
}

function kindOf(status: number): Failure['kind'] {
  if (status === 401) return 'unauthorized'
  if (status === 403) return 'forbidden'
  if (status === 404) return 'unknown'
  if (status === 429 || status === 503) return 'busy'
  return status >= 500 ? 'fault' : 'refused'
}
