/** The catalogue's units in Grafana's words. Values are drawn as the API gives them; Grafana scales what it shows (16,700 µs as 16.7 ms). */
import type { Metric } from '../../query/metrics/catalogue.ts'

const UNITS: Readonly<Record<Metric['unit'], string>> = {
  us: 'µs',
  ms: 'ms',
  fps: 'suffix: fps',
  pct: 'percent',
  per_minute: 'suffix: /min',
  kbps: 'Kbits',
  gb_per_hour: 'suffix: GB/h',
  mos: 'suffix: MOS',
  sessions: 'suffix: sessions',
  minutes: 'm',
}
const isCatalogued = (unit: string): unit is Metric['unit'] => Object.hasOwn(UNITS, unit)

/** One of the catalogue's, or a name that Grafana knows. */
export const grafanaUnit = (unit: string): string => (isCatalogued(unit) ? UNITS[unit] : unit)
