/**
 * Who plays, on what, from where: contexts whose values go together as they do in life (a phone is not on ethernet, 3G is cellular),
 * and what each means for link, host and player. All names are made up.
 *
 * Three faults are planted, for dashboards and insights to find: the overloaded host `ecl-h05`, the lossy line of `metrocable`, and
 * client 5.1.2, which stumbles while decoding on TV boxes. The experiment arm `fec-20` repairs up to a fifth of a frame's packets.
 */
import type { Context } from '../../ingest/contract/events.ts'
import type { LinkProfile } from './link.ts'
import type { Player } from './playout.ts'
import { between, pick, pickWeighted, type Random } from './random.ts'
import type { Network } from './traces.ts'

export interface Person {
  readonly context: Context
  readonly network: Network
  readonly target_fps: number
  readonly max_kbps: number
  readonly profile: LinkProfile
  readonly player: Player
  readonly encode_us: number
  /** Stretches the host's frame intervals now and then: 1 is a healthy host. */
  readonly host_load: number
}

interface Region {
  readonly name: string
  readonly prefix: string
  readonly countries: readonly string[]
  /** To the nearest host, beside the access network's own round trip. */
  readonly distance_us: number
  readonly isps: readonly string[]
}

// biome-ignore format: a table
const REGIONS: readonly (readonly [Region, number])[] = [
  [{ name: 'eu-west', prefix: 'ewl', countries: ['FR', 'GB', 'IE'], distance_us: 6_000, isps: ['ligne-claire', 'albion-net', 'metrocable'] }, 30],
  [{ name: 'eu-central', prefix: 'ecl', countries: ['DE', 'PL', 'AT'], distance_us: 8_000, isps: ['rheinkabel', 'vistula', 'metrocable'] }, 25],
  [{ name: 'us-east', prefix: 'use', countries: ['US', 'CA'], distance_us: 10_000, isps: ['bluefin', 'colonial', 'metrocable'] }, 25],
  [{ name: 'ap-northeast', prefix: 'apn', countries: ['JP', 'KR'], distance_us: 5_000, isps: ['hikari-line', 'namsan'] }, 12],
  [{ name: 'sa-east', prefix: 'sae', countries: ['BR', 'AR'], distance_us: 38_000, isps: ['rio-fibra', 'pampas'] }, 8],
]
const HOSTS_PER_REGION = 6
const OVERLOADED_HOST = 'ecl-h05'
const LOSSY_ISP = 'metrocable'
const STUMBLING_CLIENT = '5.1.2'

type Access = 'ethernet' | 'wifi' | 'cellular'

/** Figures of the last mile beside the measured bandwidth. Guesses of ours, chosen so that each network behaves as one expects of it. */
// biome-ignore format: a table
const NETWORKS = {
  ethernet: { network: 'fixed', scale: [1.5, 3], rtt_us: 12_000, queue_us: 80_000, jitter_us: 200, packet_loss: 0.000_002, stalls_per_minute: 0, stall_us: 0 },
  wifi: { network: 'fixed', scale: [1, 2.5], rtt_us: 16_000, queue_us: 120_000, jitter_us: 1_200, packet_loss: 0.000_02, stalls_per_minute: 1, stall_us: 25_000 },
  '4g': { network: '4g', scale: [1, 1.3], rtt_us: 38_000, queue_us: 250_000, jitter_us: 3_000, packet_loss: 0.000_05, stalls_per_minute: 2, stall_us: 35_000 },
  '3g': { network: '3g', scale: [1, 1.5], rtt_us: 100_000, queue_us: 600_000, jitter_us: 8_000, packet_loss: 0.000_3, stalls_per_minute: 4, stall_us: 80_000 },
} as const
const LOSSY_PACKET_LOSS = 0.000_6
const SHARE_OF_3G = 0.12

// biome-ignore format: a table
const DEVICES = {
  ethernet: [
    [{ platform: 'windows', device: 'desktop', codec: 'av1', fps: 120, max_kbps: 25_000, decode_us: 2_500 }, 30],
    [{ platform: 'windows', device: 'desktop', codec: 'hevc', fps: 60, max_kbps: 25_000, decode_us: 3_000 }, 35],
    [{ platform: 'tv', device: 'tv-box', codec: 'hevc', fps: 60, max_kbps: 15_000, decode_us: 7_000 }, 25],
    [{ platform: 'macos', device: 'laptop', codec: 'hevc', fps: 60, max_kbps: 25_000, decode_us: 3_500 }, 10],
  ],
  wifi: [
    [{ platform: 'windows', device: 'laptop', codec: 'hevc', fps: 60, max_kbps: 15_000, decode_us: 4_000 }, 30],
    [{ platform: 'macos', device: 'laptop', codec: 'hevc', fps: 60, max_kbps: 15_000, decode_us: 3_500 }, 20],
    [{ platform: 'tv', device: 'tv-box', codec: 'h264', fps: 60, max_kbps: 15_000, decode_us: 8_000 }, 25],
    [{ platform: 'ios', device: 'tablet', codec: 'hevc', fps: 60, max_kbps: 10_000, decode_us: 4_000 }, 15],
    [{ platform: 'web', device: 'laptop', codec: 'h264', fps: 60, max_kbps: 10_000, decode_us: 6_000 }, 10],
  ],
  cellular: [
    [{ platform: 'android', device: 'phone', codec: 'h264', fps: 60, max_kbps: 10_000, decode_us: 5_000 }, 55],
    [{ platform: 'ios', device: 'phone', codec: 'hevc', fps: 60, max_kbps: 10_000, decode_us: 4_000 }, 35],
    [{ platform: 'ios', device: 'tablet', codec: 'hevc', fps: 60, max_kbps: 10_000, decode_us: 4_000 }, 10],
  ],
} as const

const ENCODE_US = { h264: 4_500, hevc: 5_500, av1: 6_000 } as const

const GAMES = [
  ['ashen-drift', 35],
  ['quarry-9', 25],
  ['paper-kingdoms', 25],
  ['moth-and-lantern', 15],
] as const
const ACCESSES = [
  ['ethernet', 40],
  ['wifi', 40],
  ['cellular', 20],
] as const
const CLIENT_VERSIONS = [
  ['5.2.0', 55],
  ['5.3.0', 30],
  [STUMBLING_CLIENT, 15],
] as const
const MOBILE_CARRIERS = ['velocell', 'tellmo'] as const
const CARRIER_3G = 'tellmo-3g'
const FPS_ON_3G = 30
const KBPS_ON_3G = 2_500

export function drawPerson(random: Random): Person {
  const region = pickWeighted(random, REGIONS)
  const access: Access = pickWeighted(random, ACCESSES)
  const is3g = access === 'cellular' && random() < SHARE_OF_3G
  const device = pickWeighted<(typeof DEVICES)[Access][number][0]>(random, DEVICES[access])
  const line = NETWORKS[access === 'cellular' ? (is3g ? '3g' : '4g') : access]
  const isp = access !== 'cellular' ? pick(random, region.isps) : is3g ? CARRIER_3G : pick(random, MOBILE_CARRIERS)
  const client_version = pickWeighted(random, CLIENT_VERSIONS)
  const experiment = random() < 0.5 ? 'control' : 'fec-20'
  const host = `${region.prefix}-h${String(1 + Math.floor(random() * HOSTS_PER_REGION)).padStart(2, '0')}`
  return {
    context: {
      game: pickWeighted(random, GAMES),
      platform: device.platform,
      device: device.device,
      client_version,
      codec: device.codec,
      access,
      isp,
      country: pick(random, region.countries),
      region: region.name,
      host,
      host_version: host.endsWith('1') ? '3.9.0' : '3.8.4',
      experiment,
    },
    network: line.network,
    target_fps: is3g ? FPS_ON_3G : device.fps,
    max_kbps: is3g ? KBPS_ON_3G : device.max_kbps,
    profile: {
      scale: between(random, line.scale[0], line.scale[1]),
      base_rtt_us: Math.round(line.rtt_us * between(random, 0.8, 1.3) + region.distance_us),
      queue_us: line.queue_us,
      jitter_us: line.jitter_us * between(random, 0.6, 1.6),
      packet_loss: isp === LOSSY_ISP ? LOSSY_PACKET_LOSS : line.packet_loss,
      stalls_per_minute: line.stalls_per_minute,
      stall_us: line.stall_us,
    },
    player: {
      decode_us: device.decode_us,
      hiccup_chance: client_version === STUMBLING_CLIENT && device.device === 'tv-box' ? 0.004 : 0.000_02,
      hiccup_us: 70_000,
      repairable: experiment === 'fec-20' ? 0.2 : 0.05,
    },
    encode_us: ENCODE_US[device.codec],
    host_load: host === OVERLOADED_HOST ? 2.2 : 1,
  }
}
