/**
 * Colours that people with any colour vision tell apart (after Okabe & Ito; the lighter ones for dark ground), and that never stand alone:
 * the fifth line and on are dashed, what is bad has a shape and a word.
 */
import { isDark } from '../theme.ts'

const LIGHT = ['#0063a6', '#b35900', '#007a5a', '#a33d7f', '#5a6b7b', '#8a6d00', '#3f4fa8', '#b02a30']
const DARK = ['#6cb8f5', '#f0a04b', '#4fc9a3', '#e08ec4', '#a9b8c6', '#d9c05a', '#9aa8f0', '#f28b8b']

export interface Ink {
  readonly text: string
  readonly muted: string
  readonly grid: string
  readonly ground: string
  readonly stutter: string
  readonly freeze: string
  readonly band: string
}
const INKS: Readonly<Record<'light' | 'dark', Ink>> = {
  light: {
    ...{ text: '#1b2733', muted: '#526272', grid: '#e3e8ed', ground: '#ffffff' },
    ...{ stutter: '#a85400', freeze: '#b3152a', band: '#0063a633' },
  },
  dark: {
    ...{ text: '#e6edf3', muted: '#9fb0c0', grid: '#2a3642', ground: '#18212b' },
    ...{ stutter: '#f5a64b', freeze: '#ff7a85', band: '#6cb8f53d' },
  },
}

export const ink = (): Ink => INKS[isDark() ? 'dark' : 'light']
export const lineColour = (i: number): string => (isDark() ? DARK : LIGHT)[i % LIGHT.length] ?? '#888888'
export const lineDash = (i: number): number[] => (i < 4 ? [] : i < 8 ? [6, 3] : [2, 3])

/** From few to many: of one hue, so that it reads alike to everybody, lighter or darker as the ground asks. */
export function heat(part: number): string {
  const p = Math.max(0, Math.min(1, part))
  const mix = (a: number, b: number): number => Math.round(a + (b - a) * p)
  const [from, to] = isDark() ? DARK_HEAT : LIGHT_HEAT
  return `rgb(${mix(from[0], to[0])} ${mix(from[1], to[1])} ${mix(from[2], to[2])})`
}
const LIGHT_HEAT = [
  [216, 232, 244],
  [4, 44, 92],
] as const
const DARK_HEAT = [
  [28, 52, 74],
  [190, 228, 255],
] as const
