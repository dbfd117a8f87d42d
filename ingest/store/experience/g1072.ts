/**
 * ITU-T G.1072 (01/2020 with Cor.1): the opinion score of cloud gaming from what was measured of the stream and its network.
 * Each equation stands once, as a formula; `scoreOf` computes it for single values and `scoreSql` prints it for settling.
 * Fitted on H.264 up to 1920×1080 at 60 fps. Not monotone in the frame rate at a fixed bitrate, nor in the video class.
 */
import { below, clamp, compile, exp, greatest, ln, minus, over, printSql, product, sum, type Term } from './formula.ts'

export const VIDEO_CLASSES = ['low', 'medium', 'high'] as const
/** How much the encoder has to do for the game's pictures. */
export type VideoClass = (typeof VIDEO_CLASSES)[number]
export const INTERACTION_CLASSES = ['low', 'medium', 'high'] as const
/** How much the game's player minds delay and lost frames. The Recommendation treats medium as high. */
export type InteractionClass = (typeof INTERACTION_CLASSES)[number]

export interface Classes {
  readonly video: VideoClass
  readonly interaction: InteractionClass
}

/** Of a game nobody classed: the strictest. */
export const DEFAULT_CLASSES: Classes = { video: 'high', interaction: 'high' }

/** Frame loss as measured, or the packet loss from which equation (2) models it. */
export type FrameLoss = { readonly flr_pct: number } | { readonly packet_loss_pct: number }

export type Inputs = FrameLoss & {
  readonly bitrate_mbps: number
  readonly fps: number
  readonly pixels: number
  readonly delay_ms: number
  /** Packet loss that shows as slices of a broken picture. */
  readonly slice_loss_pct?: number
}

/** Where the model was fitted. Pixels have no lower end. */
export const RANGE = {
  bitrate: { low: 0.3, high: 50 },
  fps: { low: 10, high: 60 },
  resolution: { low: 0, high: 1_920 * 1_080 },
  rtt: { low: 0, high: 400 },
} as const
export const MOS_MIN = 1.3
export const MOS_MAX = 4.64

const [br, fr, px, delay, flr, slice] = ['bitrate_mbps', 'fps', 'pixels', 'delay_ms', 'flr', 'slice_loss_pct']

/** (2): what packet loss makes of frames. */
const MODELLED_FLR: Term = below(
  delay,
  16,
  0,
  product(
    100,
    minus(
      1,
      exp(
        product(
          -1,
          sum(0.08526, product(0.00073, fr), product(1.425e-4, br, fr)),
          minus(product(0.09656, delay), 1.5),
          'packet_loss_pct',
        ),
      ),
    ),
  ),
)

/** Of (3) and (4): c0 + c1·fr² + c2·fr + c3·ln(FLR + 1). */
const ofFrameLoss = ([c0, c1, c2, c3]: readonly [number, number, number, number], most: number): Term =>
  clamp(sum(c0, product(c1, fr, fr), product(c2, fr), product(c3, ln(sum(flr, 1)))), 0, most)
const videoQuality = (interaction: InteractionClass): Term =>
  ofFrameLoss(interaction === 'low' ? [29.13, 0.01344, -1.283, 6.724] : [47.03, 0.01747, -1.823, 10.7], 61.29)
const lostFrames = (interaction: InteractionClass): Term =>
  ofFrameLoss(interaction === 'low' ? [23.43, 0.008574, -0.9253, 5.855] : [54.71, 0.02589, -2.485, 9.306], 68.98)

/** (5): f0 / (1 + exp(f1 − f2·D)) + f3. */
function delayed(interaction: InteractionClass): Term {
  const [f0, f1, f2, f3] = interaction === 'low' ? [47.97, 2.097, 0.01073, -4.567] : [90, 1.191, 0.009775, -18.73]
  return clamp(sum(over(f0, sum(1, exp(minus(f1, product(f2, delay))))), f3), 0, 68.98)
}

/** v0 … v13 of (6) and (7); v10 occurs in neither. */
const V: Readonly<Record<VideoClass, readonly number[]>> = {
  low: [
    ...[52.505238, -28.0170325, -2.68405109, 5.46647668, 12.4214486, -28.0191642, 0.215799183],
    ...[19.7091683, 3358.30546, 28.369915, 4.60029723e-4, 0.0234972977, 0.00164739513, 0.0895913579],
  ],
  medium: [
    ...[37.9882097, -13.7207634, 8.57836656, 3.2658129, 6.83275916, -127.997288, 0.479594798],
    ...[0.612878511, 0.00139396166, 56.2892863, 4.6e-4, 0.00475669545, 0.0581327058, 2.38014343],
  ],
  high: [
    ...[47.7463038, -12.0699723, 9.05167501, 3.41919377, 7.62306351, -167.837954, 0.0760332685],
    ...[1.57176227, 3.68595885, 74.0570804, 4.59999348e-4, 0.00406000335, 2.58892015e-8, 0.868406685],
  ],
}
const v = (video: VideoClass, i: number): number => V[video][i] ?? Number.NaN

/** (6): the coding itself, from bits per pixel. */
function coding(video: VideoClass): Term {
  const complexity = sum(product(v(video, 4), exp(product(v(video, 5), 'bpp'))), v(video, 6))
  const quality = sum(
    product(v(video, 0), exp(product(v(video, 1), 'bpp'))),
    product(v(video, 2), complexity),
    v(video, 3),
  )
  // The Recommendation's outer clamp, to 78.78, cannot bind.
  return clamp(quality, 0, 65)
}
/** (7): transmission, where loss shows as slices. */
function transmission(video: VideoClass): Term {
  const l = over(product(minus(v(video, 9), 'i_cod'), slice), sum(product('i_cod', v(video, 11)), slice))
  const e = minus(product(v(video, 12), exp(product(v(video, 13), l))), v(video, 12))
  return greatest(0, product(v(video, 7), ln(sum(product(v(video, 8), e), 1))))
}

const R: Term = clamp(
  sum(
    100,
    product(-0.788, 'i_cod'),
    product(-0.896, 'i_trans'),
    product(-0.227, 'i_tvq'),
    product(-0.625, 'i_frames'),
    product(-0.848, 'i_delay'),
  ),
  0,
  100,
)
const MOS: Term = clamp(
  sum(MOS_MIN, product((MOS_MAX - MOS_MIN) / 100, 'r'), product('r', minus('r', 60), minus(100, 'r'), 7e-6)),
  MOS_MIN,
  MOS_MAX,
)

/** A line of the calculation: its name, and its formula, which may depend on a class. */
type Line = readonly [name: string, formula: (classes: Classes) => Term, dependsOn?: keyof Classes]

/** In order: each may name the inputs and the lines before it. */
const LINES: readonly Line[] = [
  ['bpp', () => over(product(br, 1e6), product(px, fr))],
  ['i_cod', ({ video }) => coding(video), 'video'],
  ['i_trans', ({ video }) => transmission(video), 'video'],
  ['i_tvq', ({ interaction }) => videoQuality(interaction), 'interaction'],
  ['i_frames', ({ interaction }) => lostFrames(interaction), 'interaction'],
  ['i_delay', ({ interaction }) => delayed(interaction), 'interaction'],
  ['r', () => R],
  ['mos', () => MOS],
]

/** Every line by its name: the loss it was computed with, the impairments, R and the score itself. */
export type Lines = Readonly<
  Record<'flr' | 'i_cod' | 'i_trans' | 'i_tvq' | 'i_frames' | 'i_delay' | 'r' | 'mos', number>
>

/** What a calculation knows, each at its place: the inputs, then line by line. */
const NAMES = [br, fr, px, delay, slice, 'packet_loss_pct', flr, ...LINES.map(([name]) => name)] as const
const placeOf = (name: string): number => NAMES.indexOf(name)
const FIRST_LINE = NAMES.length - LINES.length
type Computed = (values: Float64Array) => number
const modelledFlr = compile(MODELLED_FLR, placeOf)
/** The lines of each pair of classes, made when first asked for. */
const made = new Map<string, readonly Computed[]>()
function linesOf(classes: Classes): readonly Computed[] {
  const key = `${classes.video} ${classes.interaction}`
  const lines = made.get(key) ?? LINES.map(([, formula]) => compile(formula(classes), placeOf))
  made.set(key, lines)
  return lines
}

/** One score. The inputs are taken as they are: clamping them to `RANGE` and saying so is the caller's. */
export function scoreOf(inputs: Inputs, classes: Classes): Lines {
  const { bitrate_mbps, fps, pixels, delay_ms, slice_loss_pct = 0 } = inputs
  const packet_loss_pct = 'packet_loss_pct' in inputs ? inputs.packet_loss_pct : Number.NaN
  const values = new Float64Array(NAMES.length)
  values.set([bitrate_mbps, fps, pixels, delay_ms, slice_loss_pct, packet_loss_pct])
  const at = (name: string): number => values[placeOf(name)] ?? Number.NaN
  values[placeOf(flr)] = 'flr_pct' in inputs ? inputs.flr_pct : modelledFlr(values)
  for (const [i, line] of linesOf(classes).entries()) values[FIRST_LINE + i] = line(values)
  return {
    flr: at(flr),
    i_cod: at('i_cod'),
    i_trans: at('i_trans'),
    i_tvq: at('i_tvq'),
    i_frames: at('i_frames'),
    i_delay: at('i_delay'),
    r: at('r'),
    mos: at('mos'),
  }
}

/** SQL of each input. */
export type SqlInputs = Readonly<Record<'bitrate_mbps' | 'fps' | 'pixels' | 'delay_ms' | 'flr', string>>

/**
 * The score of each row, with no loss that shows as slices, of which a cell knows nothing. As one expression: each line is the
 * argument of a lambda, since as an alias ClickHouse would copy its formula wherever the name occurs, and take a second to read it all.
 * @param classes SQL of the class of a row
 */
export function scoreSql(inputs: SqlInputs, classes: Readonly<Record<keyof Classes, string>>): string {
  const nameOf = (name: string): string => (name === 'i_trans' ? '0' : name)
  const lines = LINES.filter(([name]) => name !== 'i_trans').map(([name, formula, dependsOn]) => {
    const print = (video: VideoClass, interaction: InteractionClass): string =>
      printSql(formula({ video, interaction }), nameOf)
    if (dependsOn === 'video')
      return [
        name,
        `multiIf(video = 'low', ${print('low', 'high')}, video = 'medium', ${print('medium', 'high')}, ${print('high', 'high')})`,
      ] as const
    if (dependsOn === 'interaction')
      return [name, `if(interaction = 'low', ${print('high', 'low')}, ${print('high', 'high')})`] as const
    return [name, print('high', 'high')] as const
  })
  const within = lines.reduceRight((body, [name, sql]) => `arrayMap(${name} -> ${body}, [${sql}])[1]`, 'mos')
  const given = Object.entries({ ...inputs, ...classes })
  return `arrayMap((${given.map(([name]) => name).join(', ')}) -> ${within}, ${given.map(([, sql]) => `[${sql}]`).join(', ')})[1]`
}
