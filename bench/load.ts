/**
 * Load, cheap enough to make a million events of. Live-like: every session says one event of each kind a second, 60 frames with the
 * cadence of a real capture, a full context. One sample: what a client says that does not gather, an event a frame.
 */
import { CONTRACT_VERSION } from '../ingest/contract/events.ts'
import { readCaptures } from '../local/fleet/captures.ts'

export interface LoadMessage {
  readonly key: string
  readonly value: string
}

const FRAMES = 60
const ACCESS = ['ethernet', 'wifi', 'cellular']
/** Paced to 60 a second, whatever the game ran at. */
const frameTimes = readCaptures().flatMap(({ frame_time_us }) => {
  const mean = frame_time_us.reduce((sum, interval) => sum + interval, 0) / frame_time_us.length
  return frame_time_us.map(interval => Math.max(1, Math.round((interval / mean) * (1e6 / FRAMES))))
})

const contextOf = (session: number): string =>
  JSON.stringify({
    game: `game-${session % 20}`,
    platform: 'windows',
    device: `desktop-${session % 30}`,
    client_version: `4.12.${session % 5}`,
    codec: 'h265',
    access: ACCESS[session % 3],
    isp: `isp-${session % 40}`,
    country: 'DE',
    region: `eu-${session % 5}`,
    host: `host-${session % 200}`,
    host_version: '2.3.1',
    experiment: session % 2 === 0 ? 'control' : 'b',
  })

const keyOf = (session: number): string => `00000000-0000-4000-8000-${session.toString(16).padStart(12, '0')}`

/** What the session says at its `second`th second: frame times, then bitrate. Never the same frames twice in a row. */
export function saidIn(session: number, second: number, started_at_ms: number): LoadMessage[] {
  const key = keyOf(session)
  const head = (seq: number, kind: string) =>
    `{"v":${CONTRACT_VERSION},"kind":"${kind}","session_id":"${key}","source":"client","seq":${seq},"started_at_ms":${started_at_ms},"sent_at_ms":${started_at_ms + 1_003},"context":${contextOf(session)}`
  const from = (session * 7_919 + second * 61) % (frameTimes.length - FRAMES)
  const kbps = 12_000 + ((session * 31 + second * 17) % 6_000)
  return [
    {
      key,
      value: `${head(second * 2, 'frame_times')},"target_fps":60,"frame_time_us":[${frameTimes.slice(from, from + FRAMES)}],"frames_dropped":${second % 7 === 0 ? 1 : 0},"input_latency_us":${38_000 + (session % 9_000)}}`,
    },
    {
      key,
      value: `${head(second * 2 + 1, 'bitrate')},"interval_ms":1000,"bitrate_kbps":${kbps},"target_bitrate_kbps":${kbps + 800},"available_kbps":${kbps + 9_000},"rung":"1080p60-15m","rung_switches":0,"width":1920,"height":1080,"encoded_fps":60,"rtt_us":${14_000 + (kbps % 9_000)},"jitter_us":${900 + (second % 400)},"packets_received":${1_400 + (kbps % 300)},"packets_lost":${second % 3}}`,
    },
  ]
}

/** An event of one frame, the `frame`th of the session, as small as a useful one can be. */
function saidOf(session: number, frame: number, started_at_ms: number): LoadMessage[] {
  const key = keyOf(session)
  const frame_time_us = frameTimes[(session * 7_919 + frame) % frameTimes.length]
  const context = `{"game":"game-${session % 20}","access":"${ACCESS[session % 3]}","region":"eu-${session % 5}"}`
  return [
    {
      key,
      value: `{"v":${CONTRACT_VERSION},"kind":"frame_times","session_id":"${key}","source":"client","seq":${frame},"started_at_ms":${started_at_ms},"sent_at_ms":${started_at_ms + 20},"context":${context},"target_fps":60,"frame_time_us":[${frame_time_us}]}`,
    },
  ]
}

/** How often a session speaks in a second, how many events each time, and which. */
export const LOADS = {
  live: { per_second: 1, events: 2, said: saidIn },
  one_sample: { per_second: FRAMES, events: 1, said: saidOf },
} as const
export type LoadName = keyof typeof LOADS

export const eventsOf = (load: LoadName, sessions: number, seconds: number): number =>
  sessions * seconds * LOADS[load].per_second * LOADS[load].events
