/** The API's vitals, all in one place, each with its sentence. Prometheus text on `/metrics`. */
import { collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

const SECONDS = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export function createQueryVitals() {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  return {
    registry,
    requestSeconds: new Histogram({
      name: 'query_request_seconds',
      help: 'Time from a request to its answer, by route as declared and status',
      labelNames: ['route', 'status'],
      buckets: SECONDS,
      registers,
    }),
    inFlight: new Gauge({ name: 'query_requests_in_flight', help: 'Requests being answered', registers }),
    questionSeconds: new Histogram({
      name: 'query_question_seconds',
      help: 'Time ClickHouse took for a question, by its id and whether it was answered',
      labelNames: ['question', 'answered'],
      buckets: SECONDS,
      registers,
    }),
  }
}

export type QueryVitals = ReturnType<typeof createQueryVitals>
