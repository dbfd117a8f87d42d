/**
 * What a client says about a span of its stream, in the contract's words.
 */
import type { BitrateEvent } from '../../ingest/contract/events.ts'
import type { Draft } from '../../ingest/emit/emitter.ts'
import type { FrameMeasures } from '../../ingest/emit/frames.ts'
import type { Person } from './population.ts'
import type { Span } from './stream.ts'

/** Putting the frame on the screen, and reading the input device. */
const PRESENT_US = 8_000
const INPUT_US = 4_000
/** Rendering takes this share of a frame's interval. */
const HOST_SHARE = 0.6

/** Stages and input latency of the frames shown; nothing where none was. */
export function measures(span: Span, { player, target_fps, encode_us }: Person): FrameMeasures {
  if (span.network_us === undefined || span.held_us === undefined) return {}
  const stage_us = {
    host: Math.round((HOST_SHARE * 1_000_000) / target_fps),
    encode: encode_us,
    network: Math.round(span.network_us),
    jitter_buffer: Math.round(span.held_us),
    decode: player.decode_us,
    present: PRESENT_US,
  }
  const back_us = Object.values(stage_us).reduce((sum, stage) => sum + stage, 0)
  return { stage_us, input_latency_us: INPUT_US + Math.round(span.rtt_us / 2) + back_us }
}

export const bitrate = (span: Span, person: Person, from_ms: number, to_ms: number): Draft<BitrateEvent> => ({
  kind: 'bitrate',
  started_at_ms: from_ms,
  interval_ms: to_ms - from_ms,
  bitrate_kbps: Math.round(span.carried_kbps),
  target_bitrate_kbps: Math.round(span.target_kbps),
  available_kbps: Math.round(span.available_kbps),
  rung: span.rung.name,
  rung_switches: span.rung_switches,
  width: span.rung.width,
  height: span.rung.height,
  encoded_fps: person.target_fps,
  rtt_us: Math.round(span.rtt_us),
  jitter_us: Math.round(span.jitter_us),
  packets_received: span.packets_received,
  packets_lost: span.packets_lost,
})
