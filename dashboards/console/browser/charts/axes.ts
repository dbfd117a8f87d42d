/** Axes that say their unit at each tick, and times of day as people write them. */
import type uPlot from 'uplot'
import { day, saying, timeOfDay, type Unit } from '../format.ts'
import { ink } from './palette.ts'

export const FONT = '12px system-ui, sans-serif'
const WIDTH = 74
const DAY_S = 86_400

const times = (splits: readonly number[], step_s: number): string[] =>
  splits.map((s, i) => {
    const ms = s * 1_000
    const before = splits[i - 1]
    const newDay = before !== undefined && new Date(before * 1_000).getDate() !== new Date(ms).getDate()
    if (step_s >= DAY_S || newDay) return day(ms)
    return timeOfDay(ms, step_s < 60)
  })

const common = () => ({
  stroke: ink().muted,
  font: FONT,
  grid: { stroke: ink().grid, width: 1 },
  ticks: { stroke: ink().grid, width: 1, size: 4 },
})

export const timeAxis = (): uPlot.Axis => ({
  ...common(),
  size: 34,
  space: 76,
  values: (_u, splits, _axis, _space, step_s) => times(splits, step_s),
})

export const valueAxis = (unit: Unit): uPlot.Axis => ({
  ...common(),
  size: WIDTH,
  space: 34,
  values: (_u, splits) => splits.map(value => (value === null ? '' : saying(value, unit))),
})

const round: uPlot.Axis.Filter = (_u, splits) =>
  splits.map(value => {
    const first = Number(value.toExponential(0).charAt(0))
    return first === 1 || first === 2 || first === 5 ? value : null
  })

/** Room on the right, the same in every chart: those that lie below each other share their times. */
export const RIGHT = 24

/** Of a logarithmic scale: 1, 2 and 5 of each decade, or there is no room. */
export const logAxis = (unit: Unit): uPlot.Axis => ({
  ...valueAxis(unit),
  filter: round,
  grid: { stroke: ink().grid, width: 1, filter: round },
  ticks: { stroke: ink().grid, width: 1, size: 4, filter: round },
})
