/** A small line without axes beside a number: only its form tells something. Gaps stay gaps. */
interface SparkProps {
  readonly values: readonly (number | null)[]
}

const WIDTH = 120
const HEIGHT = 30
const PAD = 2

export const Spark = ({ values }: SparkProps) => (
  <svg class="spark" viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" aria-hidden="true">
    <path d={pathOf(values)} />
  </svg>
)

/** Of what there is, but not so close that noise looks like a change. */
function boundsOf(known: readonly number[]): [number, number] {
  const [low, high] = [Math.min(...known), Math.max(...known)]
  const lacks = Math.max(0, 0.1 * Math.abs(high) - (high - low))
  return [low - lacks / 2, high + lacks / 2]
}

function pathOf(values: readonly (number | null)[]): string {
  const known = values.filter(value => value !== null)
  const [low, high] = boundsOf(known)
  const x = (i: number): number => PAD + (i * (WIDTH - 2 * PAD)) / Math.max(1, values.length - 1)
  const y = (value: number): number => HEIGHT - PAD - ((value - low) / (high - low || 1)) * (HEIGHT - 2 * PAD)
  let pen = 'M'
  return values
    .map((value, i) => {
      if (value === null) {
        pen = 'M'
        return ''
      }
      const step = `${pen}${x(i).toFixed(1)} ${y(value).toFixed(1)}`
      pen = 'L'
      return step
    })
    .join('')
}
