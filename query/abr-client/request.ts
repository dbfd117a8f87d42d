/** One request, and its answer or the problem it is. */
import { ApiProblem } from '../client.ts'

export type Request = (path: string, signal: AbortSignal, body?: object) => Promise<unknown>

export const requests =
  (url: string, key: string, send: typeof fetch): Request =>
  async (path, signal, body) => {
    const headers = { authorization: `Bearer ${key}`, ...(body ? { 'content-type': 'application/json' } : {}) }
    const response = await send(
      `${url}${path}`,
      body ? { method: 'POST', headers, signal, body: JSON.stringify(body) } : { headers, signal },
    )
    if (response.ok) return response.json()
    const problem = (await response.json().catch(() => ({}))) as Record<string, string>
    throw new ApiProblem(response.status, problem, response.headers.get('retry-after'))
  }
