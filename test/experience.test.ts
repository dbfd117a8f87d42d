/**
 * The opinion score: G.1072 as its authors compute it, the same in SQL as in TypeScript, and honest about what it cannot say.
 */

import { readFileSync } from 'node:fs'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ConfigError, readConfig } from '../ingest/runtime/config.ts'
import { openStore, type Store } from '../ingest/store/clickhouse.ts'
import { GAME_CLASSES_SQL, keepClasses } from '../ingest/store/experience/classes.ts'
import {
  type Classes,
  DEFAULT_CLASSES,
  type FrameLoss,
  type InteractionClass,
  MOS_MAX,
  MOS_MIN,
  scoreOf,
  VIDEO_CLASSES,
  type VideoClass,
} from '../ingest/store/experience/g1072.ts'
import { type Measured, SCORE_SQL, scoreCell } from '../ingest/store/experience/score.ts'
import { migrate } from '../ingest/store/migrate.ts'
import { RETENTION } from './support/seed.ts'
import { ownDatabase } from './support/services.ts'

interface Vector {
  readonly bitrate_mbps: number
  readonly resolution: string
  readonly fps: number
  readonly delay_ms: number
  readonly packet_loss_freeze_pct: number
  readonly packet_loss_slice_pct: number
  readonly interaction_class: string
  readonly video_class: string
  readonly expected: Readonly<
    Record<'flr' | 'I_cod' | 'I_tras' | 'I_tvq' | 'I_frames' | 'I_delay' | 'R' | 'MOS', number>
  >
}
const { vectors } = JSON.parse(readFileSync(new URL('./data/g1072_vectors.json', import.meta.url), 'utf8')) as {
  vectors: Vector[]
}

let store: Store
beforeAll(async () => {
  const config = ownDatabase('experience')
  await migrate(config, RETENTION)
  store = openStore(config)
})
afterAll(() => store?.close())

const GOOD = { bitrate_mbps: 20, fps: 60, pixels: 1_920 * 1_080, delay_ms: 20 }
const mos = (of: Partial<typeof GOOD>, loss: FrameLoss = { flr_pct: 0 }, classes = DEFAULT_CLASSES): number =>
  scoreOf({ ...GOOD, ...of, ...loss }, classes).mos

describe('G.1072', () => {
  test.each(vectors)(
    '$bitrate_mbps Mbit/s $resolution@$fps, $delay_ms ms, $video_class, $interaction_class: to the sixth digit in every term',
    vector => {
      const [width = 0, height = 0] = vector.resolution.split('x').map(Number)
      const lines = scoreOf(
        {
          bitrate_mbps: vector.bitrate_mbps,
          fps: vector.fps,
          pixels: width * height,
          delay_ms: vector.delay_ms,
          packet_loss_pct: vector.packet_loss_freeze_pct,
          slice_loss_pct: vector.packet_loss_slice_pct,
        },
        {
          video: vector.video_class.toLowerCase() as VideoClass,
          interaction: vector.interaction_class.toLowerCase() as InteractionClass,
        },
      )
      const { flr, I_cod, I_tras, I_tvq, I_frames, I_delay, R, MOS } = vector.expected
      const wanted = {
        flr,
        i_cod: I_cod,
        i_trans: I_tras,
        i_tvq: I_tvq,
        i_frames: I_frames,
        i_delay: I_delay,
        r: R,
        mos: MOS,
      }
      for (const [name, value] of Object.entries(wanted))
        expect(Math.abs(lines[name as keyof typeof lines] - value), name).toBeLessThan(1e-6)
    },
  )

  const inputs = fc.record({
    bitrate_mbps: fc.double({ min: 0.3, max: 50, noNaN: true }),
    fps: fc.integer({ min: 10, max: 60 }),
    pixels: fc.constantFrom(640 * 480, 1_280 * 720, 1_920 * 1_080),
    delay_ms: fc.integer({ min: 0, max: 400 }),
  })
  const classes: fc.Arbitrary<Classes> = fc.record({
    video: fc.constantFrom(...VIDEO_CLASSES),
    interaction: fc.constantFrom('low' as const, 'medium' as const, 'high' as const),
  })
  const flr_pct = fc.double({ min: 0, max: 100, noNaN: true })

  test('lies between 1.3 and 4.64, and never rises with delay or with lost frames, nor falls with bitrate', () => {
    fc.assert(
      fc.property(
        inputs,
        classes,
        flr_pct,
        flr_pct,
        fc.integer({ min: 0, max: 400 }),
        (given, of, less, more, delay) => {
          const at = (changed: Partial<typeof GOOD>, flr: number) => mos({ ...given, ...changed }, { flr_pct: flr }, of)
          const score = at({}, less)
          expect(score).toBeGreaterThanOrEqual(MOS_MIN)
          expect(score).toBeLessThanOrEqual(MOS_MAX)
          expect(at({}, Math.max(less, more))).toBeLessThanOrEqual(score + 1e-12)
          expect(at({ delay_ms: Math.max(given.delay_ms, delay) }, less)).toBeLessThanOrEqual(score + 1e-12)
          expect(at({ bitrate_mbps: Math.min(50, given.bitrate_mbps * 1.5) }, 0)).toBeGreaterThanOrEqual(
            at({}, 0) - 1e-12,
          )
        },
      ),
      { numRuns: 500 },
    )
  })

  test('is not monotone in the frame rate at a fixed bitrate: nobody should sort by it', () => {
    const at = (fps: number) => mos({ bitrate_mbps: 2, fps, pixels: 1_280 * 720 }, { flr_pct: 0 })
    const rates = [20, 30, 40, 50, 60].map(at)
    expect(rates).not.toEqual([...rates].sort((a, b) => a - b))
  })

  test('is not monotone in the class of the pictures either: at a good bitrate the highest is not the strictest', () => {
    const as = (bitrate_mbps: number) =>
      VIDEO_CLASSES.map(video => mos({ bitrate_mbps }, { flr_pct: 0 }, { video, interaction: 'high' }))
    const [low = 0, medium = 0, high = 0] = as(20)
    expect(low).toBeGreaterThan(high)
    expect(high).toBeGreaterThan(medium)
    const poor = as(2)
    expect(poor).toEqual([...poor].sort((a, b) => b - a))
  })

  test('takes medium interaction for high', () => {
    fc.assert(
      fc.property(inputs, flr_pct, (given, flr) => {
        const as = (interaction: InteractionClass) => mos(given, { flr_pct: flr }, { video: 'medium', interaction })
        expect(as('medium')).toBe(as('high'))
      }),
    )
  })
})

const CELL: Measured = {
  frames: 600,
  frame_time_sum_us: 10_000_000,
  kbps: 20_000,
  fps: 60,
  pixels: 1_920 * 1_080,
  rtt_us: 20_000,
}
const scored = (of: Partial<Measured>) => scoreCell({ ...CELL, ...of }, DEFAULT_CLASSES)

describe('a cell', () => {
  test('with an unknown input has no score, and says which: unknown is not 0', () => {
    for (const [input, flag] of [
      ['kbps', 'missing:bitrate'],
      ['fps', 'missing:fps'],
      ['pixels', 'missing:resolution'],
      ['rtt_us', 'missing:rtt'],
    ] as const)
      expect(scored({ [input]: null })).toEqual({ mos: null, flags: [flag] })
    expect(scored({ rtt_us: 0 }).mos).toBeGreaterThan(4)
  })

  test('of less than 5 s of frame time has none', () => {
    expect(scored({ frames: 299, frame_time_sum_us: 4_999_999 })).toEqual({ mos: null, flags: ['too_short'] })
    expect(scored({ frames: 300, frame_time_sum_us: 5_000_000 }).flags).toEqual([])
  })

  test('outside the range is scored at its edge, and flagged: 120 fps is no catastrophe', () => {
    const fast = scored({ fps: 120, frames: 1_200 })
    expect(fast.flags).toEqual(['out_of_range:fps'])
    expect(fast.mos).toBeGreaterThan(4.4)
    expect(mos({ fps: 120 })).toBeLessThan(2.5)
    for (const [changed, flag] of [
      [{ kbps: 60_000 }, 'out_of_range:bitrate'],
      [{ kbps: 0 }, 'out_of_range:bitrate'],
      [{ pixels: 3_840 * 2_160 }, 'out_of_range:resolution'],
      [{ rtt_us: 500_000 }, 'out_of_range:rtt'],
    ] as const)
      expect(scored(changed).flags).toEqual([flag])
    expect(scored({ rtt_us: 500_000 }).mos).toBe(scored({ rtt_us: 400_000 }).mos)
  })

  test('lost as many frames as its own rate says, not the one it was clamped to', () => {
    const half = scored({ fps: 120, frames: 600 })
    expect(half.mos).toBe(mos({}, { flr_pct: 50 }))
    expect(half.mos).toBeLessThan(mos({}) - 1)
  })

  test('that presents more than was encoded lost none, and 60.4 fps are 60', () => {
    expect(scored({ fps: 60.4, frames: 604 })).toEqual({ mos: mos({}), flags: [] })
    expect(scored({ fps: 30, frames: 600 }).mos).toBe(mos({ fps: 30 }))
  })

  test('has the same score and flags in SQL as in TypeScript, whatever its inputs and its game', async () => {
    const low = { video: 'low', interaction: 'low' } as const
    const medium = { video: 'medium', interaction: 'high' } as const
    await keepClasses(store, { "chess's \\": low, puzzle: medium })
    const games = [
      ['anything', DEFAULT_CLASSES],
      ["chess's \\", low],
      ['puzzle', medium],
    ] as const
    const grid = games.flatMap(([game, classes]) =>
      [null, 0, 300, 2_000, 9_999, 50_000, 80_000].flatMap(kbps =>
        [null, 0, 9, 30, 59.6, 60.4, 61, 120].flatMap(fps =>
          [null, 307_200, 2_073_600, 8_294_400].flatMap(pixels =>
            [null, 0, 15_999, 80_000, 401_000].flatMap(rtt_us =>
              [0, 200, 590, 1_200].map(frames => ({
                game,
                classes,
                measured: { frames, frame_time_sum_us: frames === 0 ? 0 : 10_000_000, kbps, fps, pixels, rtt_us },
              })),
            ),
          ),
        ),
      ),
    )
    const numbers = (of: (measured: Measured) => number | null) => grid.map(({ measured }) => of(measured))
    const rows = await store.query<{ unscored: string[]; outside: string[]; millionths: number }>(
      `SELECT score.1 AS unscored, score.2 AS outside, score.3 AS millionths FROM (
        SELECT ${SCORE_SQL} AS score FROM (
          SELECT arrayJoin(arrayZip({frames:Array(UInt64)}, {times:Array(UInt64)}, {kbps:Array(Nullable(Float64))}, {fps:Array(Nullable(Float64))},
              {pixels:Array(Nullable(Float64))}, {rtts:Array(Nullable(Float64))}, {games:Array(String)})) AS row,
            row.1 AS cell_frames, row.2 AS cell_frame_time_sum_us, toUInt64(ifNull(row.3, 0) * 10000) AS cell_received_bits,
            toUInt64(if(isNull(row.3), 0, 10000)) AS cell_interval_ms, row.4 AS of_encoded_fps, nan AS of_target_fps, row.5 AS of_pixels,
            row.6 AS of_rtt_us, row.7 AS cell_game))`,
      {
        frames: grid.map(({ measured }) => measured.frames),
        times: grid.map(({ measured }) => measured.frame_time_sum_us),
        kbps: numbers(({ kbps }) => kbps),
        fps: numbers(({ fps }) => fps),
        pixels: numbers(({ pixels }) => pixels),
        rtts: numbers(({ rtt_us }) => rtt_us),
        games: grid.map(({ game }) => game),
      },
    )
    expect(rows).toHaveLength(grid.length)
    const wrong = rows.filter(({ unscored, outside, millionths }, i) => {
      const point = grid[i]
      if (point === undefined) return true
      const { mos, flags } = scoreCell(point.measured, point.classes)
      return (
        [...unscored, ...outside].join() !== flags.join() ||
        (unscored.length === 0) !== (mos !== null) ||
        Math.abs(millionths - (mos ?? 0) * 1e6) > 0.5 + 1e-3
      )
    })
    expect(wrong).toEqual([])
  })
})

describe('the classes of games', () => {
  test('are those written last, and written only when they are others', async () => {
    const classes = { chess: { video: 'low' as const } }
    expect(await keepClasses(store, classes)).toBe(true)
    expect(await keepClasses(store, classes)).toBe(false)
    expect(await store.query(GAME_CLASSES_SQL)).toEqual([{ game: 'chess', video: 'low', interaction: 'high' }])
    expect(await keepClasses(store, {})).toBe(true)
    expect(await store.query(GAME_CLASSES_SQL)).toEqual([])
  })

  test('come from the configuration, which refuses what is no class', () => {
    expect(readConfig({ G1072_CLASSES: '{"chess":{"video":"low"}}' }).G1072_CLASSES).toEqual({
      chess: { video: 'low' },
    })
    for (const text of ['{', '{"chess":{"video":"lowest"}}', '{"chess":{"colour":"low"}}', '[]'])
      expect(() => readConfig({ G1072_CLASSES: text })).toThrow(ConfigError)
  })
})
