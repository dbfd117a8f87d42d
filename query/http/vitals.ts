/** The API's vitals, all in one place, each with its sentence. Prometheus text on `/metrics`. */
import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'

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
    refusals: new Counter({
      name: 'query_refusals_total',
      help: 'Requests that were not let in: unauthorized, strangers (an address tried too many keys), forbidden, rate, concurrency',
      labelNames: ['reason'],
      registers,
    }),
    shared: new Counter({
      name: 'query_shared_questions_total',
      help: "Questions that were asked, and those that took another one's answer",
      labelNames: ['result'],
      registers,
    }),
    laneRunning: new Gauge({
      name: 'query_lane_running',
      help: 'Questions being asked, by lane',
      labelNames: ['lane'],
      registers,
    }),
    laneWaiting: new Gauge({
      name: 'query_lane_waiting',
      help: 'Questions that wait for their turn, by lane',
      labelNames: ['lane'],
      registers,
    }),
    laneWaitSeconds: new Histogram({
      name: 'query_lane_wait_seconds',
      help: 'How long a question waited for its turn, by lane',
      labelNames: ['lane'],
      buckets: SECONDS,
      registers,
    }),
    laneFull: new Counter({
      name: 'query_lane_full_total',
      help: 'Questions turned away from a full lane or after too long a wait, by lane',
      labelNames: ['lane'],
      registers,
    }),
  }
}

export type QueryVitals = ReturnType<typeof createQueryVitals>
