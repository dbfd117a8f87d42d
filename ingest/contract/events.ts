/**
 * What a client says: the only definition of an event. Types, JSON Schema and the compiled checker (`check.ts`) follow from it.
 *
 * One topic, keyed by `session_id`; a message's value is one JSON object. `frame_times` and `bitrate` come once a second by
 * convention. Units are in the names. A field that is absent is unknown; unknown is never 0.
 * Terms: W3C webrtc-stats (jitter, packets lost, rtt), PresentMon (`MsBetweenDisplayChange` is our `frame_time_us`).
 */
import { z } from 'zod'

export const CONTRACT_VERSION = 1

const UINT16 = 65_535
const UINT32 = 4_294_967_295

const uint16 = z.int().min(0).max(UINT16)
const uint32 = z.int().min(0).max(UINT32)
/** 1970 … 2100: what `DateTime64(3)` and a person's clock can mean. Epoch seconds fall out later (`clock.ts`). */
const epochMs = z.int().min(0).max(4_102_444_800_000)
/** Printable: no control, format, surrogate or unassigned characters. */
const label = z.string().regex(/^[^\p{C}]{1,64}$/u)

/** The ladder step asked for, e.g. `1080p60-15m`. */
export const rungName = z.string().regex(/^[^\p{C}]{1,32}$/u)

/** Lower-case RFC 9562 text. */
export const SESSION_ID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/

/** What the session is: the dimensions every figure can be filtered and grouped by. */
export const CONTEXT_FIELDS = [
  'game',
  'platform',
  'device',
  'client_version',
  'codec',
  'access',
  'isp',
  'country',
  'region',
  'host',
  'host_version',
  'experiment',
] as const
export type ContextField = (typeof CONTEXT_FIELDS)[number]

export const context = z.strictObject({
  game: label.optional(),
  platform: label.optional(),
  device: label.optional(),
  client_version: label.optional(),
  codec: label.optional(),
  access: z.enum(['ethernet', 'wifi', 'cellular']).optional(),
  isp: label.optional(),
  country: label.optional(),
  region: label.optional(),
  host: label.optional(),
  host_version: label.optional(),
  experiment: label.optional(),
} satisfies Record<ContextField, z.ZodType>)

export const SOURCES = ['client', 'host', 'controller'] as const

const envelope = {
  v: z.literal(CONTRACT_VERSION),
  session_id: z.string().regex(SESSION_ID),
  source: z.enum(SOURCES),
  /**
   * 0, 1, 2 … per (session_id, source), given when the event is made: a gap is a lost event, a repeat is a resend. Of `abr_decision` it
   * says nothing: those are told apart by their `decision_id`.
   */
  seq: uint32,
  /** Start of what the event covers, on the speaker's clock. */
  started_at_ms: epochMs,
  /** When it was handed over, on the speaker's clock. */
  sent_at_ms: epochMs,
  context,
}

/** Longest frame that is still an interval and not a broken clock: one minute. */
export const FRAME_TIME_MAX_US = 60_000_000
export const FRAMES_MAX = 2_048

export const STAGES = ['host', 'encode', 'network', 'jitter_buffer', 'decode', 'present'] as const

export const frameTimes = z.strictObject({
  ...envelope,
  kind: z.literal('frame_times'),
  /** The frame rate the stream is meant to run at. */
  target_fps: z.int().min(10).max(480),
  /** Present-to-present interval of each frame the player saw, in order. An interval belongs to the event in which it ends. */
  frame_time_us: z.array(z.int().min(1).max(FRAME_TIME_MAX_US)).max(FRAMES_MAX),
  /** Time since the last present when the event was closed: how a freeze in progress is said. */
  open_frame_us: uint32.optional(),
  /** Last event of the session: the open frame counts, as nothing will end it. */
  final: z.boolean().optional(),
  /** Backgrounded or suspended: long intervals are pauses, not freezes. */
  paused: z.boolean().optional(),
  frames_dropped: uint32.optional(),
  frames_generated: uint32.optional(),
  stage_us: z
    .strictObject({
      host: uint32.optional(),
      encode: uint32.optional(),
      network: uint32.optional(),
      jitter_buffer: uint32.optional(),
      decode: uint32.optional(),
      present: uint32.optional(),
    } satisfies Record<(typeof STAGES)[number], z.ZodType>)
    .optional(),
  /** Input to photon, mean. */
  input_latency_us: uint32.optional(),
})

export const bitrate = z.strictObject({
  ...envelope,
  kind: z.literal('bitrate'),
  /** Length covered. */
  interval_ms: z.int().min(100).max(60_000),
  /** Video received. */
  bitrate_kbps: uint32,
  /** What the encoder was asked for. */
  target_bitrate_kbps: uint32.optional(),
  /** The congestion controller's estimate. */
  available_kbps: uint32.optional(),
  rung: rungName.optional(),
  rung_switches: uint16.optional(),
  width: uint16.optional(),
  height: uint16.optional(),
  encoded_fps: uint16.optional(),
  rtt_us: uint32.optional(),
  jitter_us: uint32.optional(),
  packets_received: uint32.optional(),
  packets_lost: uint32.optional(),
})

export const SESSION_STATES = ['connecting', 'first_frame', 'ended'] as const
export const END_REASONS = ['user_quit', 'network', 'host_failure', 'client_crash', 'timeout', 'unknown'] as const

export const session = z.strictObject({
  ...envelope,
  kind: z.literal('session'),
  state: z.enum(SESSION_STATES),
  /** With `first_frame`: request to first frame. */
  startup_ms: uint32.optional(),
  /** With `ended`. Without it an outage looks like "fewer sessions, all good". */
  end_reason: z.enum(END_REASONS).optional(),
})

/** What bitrate logic decided, and on what grounds: so that it can be told afterwards whether that was good. It is no part of a session's quality. */
export const abrDecision = z.strictObject({
  ...envelope,
  kind: z.literal('abr_decision'),
  source: z.literal('controller'),
  /** Chosen by whoever decides. The same one again is the same decision, and counts once. */
  decision_id: z.string().regex(SESSION_ID),
  /** Who decides, and which version of it. Without a colon: `policy:version` names both. */
  policy: z.string().regex(/^[^\p{C}:]{1,64}$/u),
  policy_version: label,
  from_rung: rungName.optional(),
  to_rung: rungName,
  /** What the encoder is asked for from now on. */
  target_bitrate_kbps: uint32,
  /** The newest event that was known when it was decided, on Kafka's clock: `as_of` of the answer it rests on. */
  as_of_ms: epochMs.optional(),
  reason: label.optional(),
})

/** Every kind of event by its name. */
export const EVENT_SCHEMAS = { frame_times: frameTimes, bitrate, session, abr_decision: abrDecision } as const

export type Kind = keyof typeof EVENT_SCHEMAS
export type FrameTimesEvent = z.infer<typeof frameTimes>
export type BitrateEvent = z.infer<typeof bitrate>
export type SessionEvent = z.infer<typeof session>
export type AbrDecisionEvent = z.infer<typeof abrDecision>
export type QualityEvent = FrameTimesEvent | BitrateEvent | SessionEvent | AbrDecisionEvent
export type Context = z.infer<typeof context>

/** Fields beginning so are ignored and counted, in an event and in its context: a newer client can be rolled out first. */
export const EXTENSION_PREFIX = 'ext_'
