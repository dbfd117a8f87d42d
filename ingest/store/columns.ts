/**
 * The one list of the columns of `events_v1`, and what each takes from an event, a refused message or a gap.
 * Types, the Native block and the INSERT follow from the list; a test holds it to `DESCRIBE TABLE events_v1`.
 */
import {
  type AbrDecisionEvent,
  type BitrateEvent,
  CONTEXT_FIELDS,
  type ContextField,
  type FrameTimesEvent,
  type QualityEvent,
  type SessionEvent,
} from '../contract/events.ts'
import type { Refusal } from '../contract/refusal.ts'
import {
  arrayOfUint32,
  type Column,
  dateTime64,
  enum8,
  int64,
  lowCardinality,
  nativeBlock,
  nullable16,
  nullable32,
  nullableDateTime64,
  string,
  uint8,
  uint16,
  uint32,
  uint64,
  uuid,
} from './native.ts'

/** Where a row stands in the log. */
export interface Position {
  readonly log_id: string
  readonly kafka_partition: number
  readonly kafka_offset: number
  readonly appended_at_ms: number
}

export interface Accepted {
  readonly event: QualityEvent
  /** `started_at_ms`, moved by the clock rule. */
  readonly at_ms: number
  readonly clock_shift_ms: number
  /** How many `ext_…` fields were ignored. */
  readonly extensions: number
}

export interface Refused {
  readonly refusal: Refusal
  readonly key: Uint8Array
  /** The first bytes of the message; `bytes_total` is its length. */
  readonly bytes: Uint8Array
  readonly bytes_total: number
}

export interface Gap {
  /** `expired`: deleted before we read them. `control`: Kafka's own records. */
  readonly gap: 'expired' | 'control'
  /** How many offsets, from the position on. */
  readonly offsets: number
}

const KIND = { frame_times: 1, bitrate: 2, session: 3, abr_decision: 4, rejected: 101, gap: 102 } as const
const SOURCE = { '': 0, client: 1, host: 2, controller: 3 } as const
const STATE = { '': 0, connecting: 1, first_frame: 2, ended: 3 } as const
const END_REASON = {
  '': 0,
  user_quit: 1,
  network: 2,
  host_failure: 3,
  client_crash: 4,
  timeout: 5,
  unknown: 6,
} as const

/** What is stored of a context value that a block sees for the first time: itself, or `(other)`. */
export type AdmitContext = (field: string, value: string) => string

const columnsOf = (admit: AdmitContext) => ({
  log_id: lowCardinality(),
  kafka_partition: uint32(),
  kafka_offset: uint64(),
  offsets: uint64(),
  appended_at: dateTime64(),

  kind: enum8(KIND),
  session_id: uuid(),
  source: enum8(SOURCE),
  seq: uint32(),
  at: dateTime64(),
  sent_at: dateTime64(),
  clock_shift_ms: int64(),
  extensions: uint16(),

  ...(Object.fromEntries(CONTEXT_FIELDS.map(field => [field, lowCardinality(value => admit(field, value))])) as Record<
    ContextField,
    ReturnType<typeof lowCardinality>
  >),

  target_fps: uint16(),
  frame_time_us: arrayOfUint32(),
  open_frame_us: nullable32(),
  final: uint8('Bool'),
  paused: uint8('Bool'),
  frames_dropped: nullable32(),
  frames_generated: nullable32(),
  stage_host_us: nullable32(),
  stage_encode_us: nullable32(),
  stage_network_us: nullable32(),
  stage_jitter_buffer_us: nullable32(),
  stage_decode_us: nullable32(),
  stage_present_us: nullable32(),
  input_latency_us: nullable32(),

  interval_ms: uint32(),
  bitrate_kbps: uint32(),
  target_bitrate_kbps: nullable32(),
  available_kbps: nullable32(),
  rung: lowCardinality(value => admit('rung', value)),
  rung_switches: nullable16(),
  width: nullable16(),
  height: nullable16(),
  encoded_fps: nullable16(),
  rtt_us: nullable32(),
  jitter_us: nullable32(),
  packets_received: nullable32(),
  packets_lost: nullable32(),

  state: enum8(STATE),
  startup_ms: nullable32(),
  end_reason: enum8(END_REASON),

  decision_id: uuid(),
  policy: lowCardinality(value => admit('policy', value)),
  policy_version: lowCardinality(value => admit('policy_version', value)),
  from_rung: lowCardinality(value => admit('rung', value)),
  to_rung: lowCardinality(value => admit('rung', value)),
  as_of: nullableDateTime64(),

  reason: lowCardinality(),
  detail: string(),
  kafka_key: string(),
  bytes: string(),
  bytes_total: uint32(),
})

const FIRST_CAPACITY = 1_024

/** Rows of `events_v1` in the making, column by column. Straight-line code: this runs for every event. */
export class EventRows {
  readonly #admit: AdmitContext
  readonly #columns: ReturnType<typeof columnsOf>
  readonly #entries: readonly (readonly [name: string, column: Column])[]
  readonly #contextColumns: readonly (readonly [field: ContextField, column: ReturnType<typeof lowCardinality>])[]
  readonly #contexts = new Map<QualityEvent['context'], Uint32Array>()
  #rows = 0
  #capacity = 0

  constructor(admit: AdmitContext) {
    this.#admit = admit
    this.#columns = columnsOf(admit)
    this.#entries = Object.entries(this.#columns)
    this.#contextColumns = CONTEXT_FIELDS.map(field => [field, this.#columns[field]] as const)
  }

  get rows(): number {
    return this.#rows
  }

  /** Name and type of each column, in the order of the block. */
  get structure(): readonly (readonly [name: string, type: string])[] {
    return this.#entries.map(([name, column]) => [name, column.type] as const)
  }

  /** The rows as one Native block: views, valid until the next append or clear. */
  block(): Uint8Array[] {
    return nativeBlock(this.#entries, this.#rows)
  }

  clear(): void {
    for (const [, column] of this.#entries) column.clear(this.#rows)
    this.#contexts.clear()
    this.#rows = 0
  }

  append(position: Position, content: Accepted | Refused | Gap): void {
    const row = this.#rows
    if (row === this.#capacity) this.#grow()
    const c = this.#columns
    c.log_id.set(row, position.log_id)
    c.kafka_partition.set(row, position.kafka_partition)
    c.kafka_offset.set(row, position.kafka_offset)
    c.appended_at.set(row, position.appended_at_ms)
    if ('event' in content) this.#event(row, content)
    else this.#noEvent(row, position, content)
    this.#rows = row + 1
  }

  #grow(): void {
    this.#capacity = Math.max(FIRST_CAPACITY, this.#capacity * 2)
    for (const [, column] of this.#entries) column.reserve(this.#capacity)
  }

  #event(row: number, { event, at_ms, clock_shift_ms, extensions }: Accepted): void {
    const c = this.#columns
    c.offsets.set(row, 1)
    c.kind.set(row, KIND[event.kind])
    c.session_id.setText(row, event.session_id)
    c.source.set(row, SOURCE[event.source])
    c.seq.set(row, event.seq)
    c.at.set(row, at_ms)
    c.sent_at.set(row, event.sent_at_ms)
    c.clock_shift_ms.set(row, clock_shift_ms)
    c.extensions.set(row, extensions)
    this.#context(row, event.context)
    if (event.kind === 'frame_times') this.#frameTimes(row, event)
    else if (event.kind === 'bitrate') this.#bitrate(row, event)
    else if (event.kind === 'abr_decision') this.#decision(row, event)
    else this.#session(row, event)
  }

  /** Contexts repeat, as the very same objects (`contract/check.ts`): each is looked up once per block. */
  #context(row: number, context: QualityEvent['context']): void {
    let indexes = this.#contexts.get(context)
    if (!indexes) {
      indexes = Uint32Array.from(this.#contextColumns, ([field, column]) => column.index(context[field] ?? ''))
      this.#contexts.set(context, indexes)
    }
    for (let i = 0; i < indexes.length; i++) this.#contextColumns[i]?.[1].setIndex(row, indexes[i] as number)
  }

  #frameTimes(row: number, event: FrameTimesEvent): void {
    const c = this.#columns
    c.target_fps.set(row, event.target_fps)
    c.frame_time_us.set(row, event.frame_time_us)
    c.open_frame_us.set(row, event.open_frame_us)
    if (event.final) c.final.set(row, 1)
    if (event.paused) c.paused.set(row, 1)
    c.frames_dropped.set(row, event.frames_dropped)
    c.frames_generated.set(row, event.frames_generated)
    const stages = event.stage_us
    if (stages) {
      c.stage_host_us.set(row, stages.host)
      c.stage_encode_us.set(row, stages.encode)
      c.stage_network_us.set(row, stages.network)
      c.stage_jitter_buffer_us.set(row, stages.jitter_buffer)
      c.stage_decode_us.set(row, stages.decode)
      c.stage_present_us.set(row, stages.present)
    }
    c.input_latency_us.set(row, event.input_latency_us)
  }

  #bitrate(row: number, event: BitrateEvent): void {
    const c = this.#columns
    c.interval_ms.set(row, event.interval_ms)
    c.bitrate_kbps.set(row, event.bitrate_kbps)
    c.target_bitrate_kbps.set(row, event.target_bitrate_kbps)
    c.available_kbps.set(row, event.available_kbps)
    c.rung.set(row, event.rung)
    c.rung_switches.set(row, event.rung_switches)
    c.width.set(row, event.width)
    c.height.set(row, event.height)
    c.encoded_fps.set(row, event.encoded_fps)
    c.rtt_us.set(row, event.rtt_us)
    c.jitter_us.set(row, event.jitter_us)
    c.packets_received.set(row, event.packets_received)
    c.packets_lost.set(row, event.packets_lost)
  }

  #session(row: number, event: SessionEvent): void {
    const c = this.#columns
    c.state.set(row, STATE[event.state])
    c.startup_ms.set(row, event.startup_ms)
    if (event.end_reason) c.end_reason.set(row, END_REASON[event.end_reason])
  }

  #decision(row: number, event: AbrDecisionEvent): void {
    const c = this.#columns
    c.target_bitrate_kbps.set(row, event.target_bitrate_kbps)
    c.decision_id.setText(row, event.decision_id)
    c.policy.set(row, event.policy)
    c.policy_version.set(row, event.policy_version)
    c.from_rung.set(row, event.from_rung)
    c.to_rung.set(row, event.to_rung)
    c.as_of.set(row, event.as_of_ms)
    // Of refusals the column has a closed list, which strangers' words must not crowd out.
    if (event.reason !== undefined) c.reason.set(row, this.#admit('reason', event.reason))
  }

  /** What is no event has no time of its own: it is found at Kafka's. */
  #noEvent(row: number, position: Position, content: Refused | Gap): void {
    const c = this.#columns
    c.at.set(row, position.appended_at_ms)
    c.sent_at.set(row, position.appended_at_ms)
    if ('gap' in content) {
      c.kind.set(row, KIND.gap)
      c.offsets.set(row, content.offsets)
      c.reason.set(row, content.gap)
      return
    }
    c.kind.set(row, KIND.rejected)
    c.offsets.set(row, 1)
    c.reason.set(row, content.refusal.reason)
    c.detail.set(row, Buffer.from(content.refusal.detail))
    c.kafka_key.set(row, content.key)
    c.bytes.set(row, content.bytes)
    c.bytes_total.set(row, content.bytes_total)
  }
}
