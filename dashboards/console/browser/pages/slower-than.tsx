/** Which share of frames took longer than a threshold of one's own, and whose they are. */
import { useAsked } from '../asked.ts'
import { Menu, useDimensionChoices } from '../controls.tsx'
import { useDesk } from '../desk.ts'
import { count, plain, saying } from '../format.ts'
import { Answered, Empty, Panel, Scroll } from '../panel.tsx'
import { slowerQuestion } from '../questions.ts'

const THRESHOLDS = [
  ['16667', '16.7 ms (60 Hz)'],
  ['33333', '33.3 ms (30 Hz)'],
  ['50000', '50 ms'],
  ['100000', '100 ms'],
  ['250000', '250 ms'],
] as const
const FALLBACK = '33333'
const FALLBACK_BY = 'access'

export function SlowerThan() {
  const { api, place, go } = useDesk()
  const dimensions = useDimensionChoices()
  const by = dimensions.find(({ value }) => value === place.by)?.value ?? FALLBACK_BY
  const threshold = place.threshold_us === '' ? FALLBACK : place.threshold_us
  const asked = useAsked(slowerQuestion(api, place, threshold, by))
  const own = THRESHOLDS.some(([us]) => us === threshold)
    ? []
    : [{ value: threshold, label: saying(Number(threshold), 'us') }]
  return (
    <Panel
      title="Frames slower than"
      url={asked.url}
      tools={
        <>
          <Menu
            label="Threshold"
            value={threshold}
            choices={[...THRESHOLDS.map(([value, label]) => ({ value, label })), ...own]}
            onChoose={threshold_us => go({ threshold_us })}
          />
          <Menu label="By" value={by} choices={dimensions} onChoose={chosen => go({ by: chosen })} />
        </>
      }
    >
      <Answered asked={asked} height={160}>
        {({ data, meta }) =>
          data.length === 0 ? (
            <Empty>Nothing in this range.</Empty>
          ) : (
            <>
              <Scroll label="Frames slower than the threshold">
                <table>
                  <thead>
                    <tr>
                      <th scope="col">{plain(by)}</th>
                      <th scope="col" class="number">
                        slower
                      </th>
                      <th scope="col" class="number">
                        of frames
                      </th>
                    </tr>
                  </thead>
                  <tbody>
                    {data.map(row => {
                      const name = row[by as keyof typeof row] ?? null
                      return (
                        <tr key={String(name)}>
                          <th scope="row">{name ?? <em>unknown</em>}</th>
                          <td class="number">{saying(row.value, 'pct')}</td>
                          <td class="number">{count(row.n)}</td>
                        </tr>
                      )
                    })}
                  </tbody>
                </table>
              </Scroll>
              {!meta.threshold_exact && (
                <p class="fine">Counted from {saying(meta.threshold_us, 'us')} on, the nearest edge of a bucket.</p>
              )}
            </>
          )
        }
      </Answered>
    </Panel>
  )
}
