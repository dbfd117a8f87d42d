/** The API's vitals, all in one place, each with its sentence. Prometheus text on `/metrics`. */

import { Counter, collectDefaultMetrics, Gauge, Histogram, Registry } from 'prom-client'
import type { BookVitals } from '../abr/decisions.ts'
import type { LiveVitals } from '../abr/live.ts'
import type { PriorVitals } from '../abr/priors-refresh.ts'

const SECONDS = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10]

export function createQueryVitals() {
  const registry = new Registry()
  const registers = [registry]
  collectDefaultMetrics({ register: registry })
  return {
    registry,
    live: liveVitals(registers),
    priors: priorVitals(registers),
    book: bookVitals(registers),
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

/** Of what adaptive-bitrate logic is told: the live sessions in memory, and the worker that follows the topic for them. */
function liveVitals(registers: Registry[]): LiveVitals {
  const gauge = (name: string, help: string) => new Gauge({ name, help, registers })
  const seconds = (name: string, help: string) => new Histogram({ name, help, buckets: SECONDS, registers })
  const sessions = gauge('abr_live_sessions', 'Sessions whose last ten seconds are in memory')
  const bytes = gauge('abr_live_bytes', 'Memory that their figures take')
  const heard = gauge('abr_heard_timestamp_seconds', 'Up to when all of the topic was heard; 0: unknown')
  const lag = gauge('abr_follower_lag', 'Messages of the topic that were not heard yet')
  const waiting = gauge('abr_follower_waiting_sessions', 'Sessions whose news wait to be taken over')
  const refused = gauge('abr_follower_refused', 'Messages that the contract refuses, since the follower started')
  const leftOut = gauge(
    'abr_follower_left_out',
    'Events of sessions beyond ABR_SESSIONS_MAX, since the follower started',
  )
  const refresh = seconds('abr_refresh_seconds', 'Time the follower took for the figures of those who changed')
  const apply = seconds('abr_apply_seconds', 'Time the requests were held up while they were taken over')
  return {
    handedOver(live, follower, apply_ms) {
      sessions.set(live.size)
      bytes.set(live.bytes)
      heard.set(follower.heard_ms / 1_000)
      lag.set(follower.lag)
      waiting.set(follower.waiting)
      refused.set(follower.refused)
      leftOut.set(follower.left_out)
      refresh.observe(follower.refresh_ms / 1_000)
      apply.observe(apply_ms / 1_000)
    },
  }
}

/** Of what sessions like one sustained: read every minute. */
function priorVitals(registers: Registry[]): PriorVitals {
  const gauge = (name: string, help: string) => new Gauge({ name, help, registers })
  const sessions = gauge('abr_prior_sessions', 'Sessions whose evidence the priors stand on')
  const as_of = gauge('abr_prior_timestamp_seconds', 'When they were read last; 0: never')
  const refresh = gauge('abr_prior_refresh_seconds', 'How long reading and computing them took, pauses included')
  return {
    refreshed(count, seconds) {
      sessions.set(count)
      as_of.set(Date.now() / 1_000)
      refresh.set(seconds)
    },
  }
}

/** Of the ledger: what waits for Kafka is `taken` less `handed_over`. */
function bookVitals(registers: Registry[]): BookVitals {
  const decisions = new Counter({
    name: 'abr_decisions_total',
    help: 'Decisions that were taken into memory, turned away since there was no room, and handed over to Kafka',
    labelNames: ['fate'],
    registers,
  })
  return { noted: (count, fate) => decisions.inc({ fate }, count) }
}

export type QueryVitals = ReturnType<typeof createQueryVitals>
