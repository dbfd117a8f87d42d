/** What a page is set with: menus, a link that keeps the range, chips of filters. */
import type { ComponentChildren } from 'preact'
import { useId } from 'preact/hooks'
import { type MetricEntry, useCatalogue, useDesk } from './desk.ts'
import { plain } from './format.ts'
import type { Page } from './paths.ts'
import { elsewhere, type Place, urlOf } from './place.ts'

export interface Choice {
  readonly value: string
  readonly label: string
}

interface MenuProps {
  readonly label: string
  readonly value: string
  readonly choices: readonly Choice[]
  readonly onChoose: (value: string) => void
}

export function Menu({ label, value, choices, onChoose }: MenuProps) {
  const id = useId()
  return (
    <span class="menu">
      <label for={id}>{label}</label>
      <select id={id} value={value} onChange={event => onChoose(event.currentTarget.value)}>
        {choices.map(choice => (
          <option key={choice.value} value={choice.value} selected={choice.value === value}>
            {choice.label}
          </option>
        ))}
      </select>
    </span>
  )
}

export const metricChoices = (metrics: readonly MetricEntry[]): Choice[] =>
  metrics.map(({ id, title }) => ({ value: id, label: title }))

export function useDimensionChoices(): Choice[] {
  return useCatalogue().dimensions.map(({ id }) => ({ value: id, label: plain(id) }))
}

interface GoProps {
  readonly to: Page
  readonly id?: string
  readonly set?: Partial<Omit<Place, 'page' | 'id'>>
  readonly current?: boolean
  readonly class?: string
  readonly children: ComponentChildren
}

/** A real link: it may be opened in another tab, and its URL says where it leads. */
export function Go({ to, id = '', set = {}, current, class: name, children }: GoProps) {
  const { place, visit } = useDesk()
  const there = elsewhere(place, to, id, set)
  const follow = (event: MouseEvent) => {
    if (event.button !== 0 || event.ctrlKey || event.metaKey || event.shiftKey || event.altKey) return
    event.preventDefault()
    visit(there)
  }
  return (
    <a href={urlOf(there)} onClick={follow} class={name} aria-current={current ? 'page' : undefined}>
      {children}
    </a>
  )
}

/** A filter in words: `region is eu-west`. */
function filterWords(text: string): string {
  const exclude = text.startsWith('!')
  const colon = text.indexOf(':')
  const value = text.slice(colon + 1)
  return `${plain(text.slice(exclude ? 1 : 0, colon))} ${exclude ? 'is not' : 'is'} ${value === '' ? 'unknown' : value}`
}

export function Filters() {
  const { place, go } = useDesk()
  const { dimensions } = useCatalogue()
  const choices = dimensions.flatMap(({ id, values }) =>
    values.map(value => ({ value: `${id}:${value}`, label: `${plain(id)}: ${value}` })),
  )
  const add = (text: string) => {
    if (text !== '' && !place.filter.includes(text)) go({ filter: [...place.filter, text] })
  }
  return (
    <div class="filters">
      <Menu label="Only" value="" choices={[{ value: '', label: 'everybody' }, ...choices]} onChoose={add} />
      {place.filter.map(text => (
        <button
          type="button"
          class="chip"
          key={text}
          onClick={() => go({ filter: place.filter.filter(one => one !== text) })}
          aria-label={`Remove filter: ${filterWords(text)}`}
        >
          {filterWords(text)} <span aria-hidden="true">×</span>
        </button>
      ))}
    </div>
  )
}
