/** What every panel has at hand: the client, the catalogue, where we are, and the beat at which live pages ask again. */
import { createContext } from 'preact'
import { useContext } from 'preact/hooks'
import type { answer, Client } from '../../../query/client.ts'
import type { MetricId } from '../../../query/metrics/catalogue.ts'
import type { Failure } from './failure.ts'
import type { Place } from './place.ts'
import type { catalogueQuestion } from './questions.ts'

export type Catalogue = Awaited<ReturnType<ReturnType<typeof catalogueQuestion>['load']>>
export type MetricEntry = Catalogue['data'][number]
/** What stands behind an answer. */
export type Meta = Awaited<ReturnType<typeof answer<Awaited<ReturnType<Client['v1']['pipeline']['$get']>>>>>['meta']

export interface Desk {
  readonly api: Client
  readonly place: Place
  /** To another place; `replace`: without a step back to this one. */
  readonly go: (change: Partial<Place>, how?: 'push' | 'replace') => void
  /** To another place as a whole. */
  readonly visit: (place: Place) => void
  /** Counts up each time live pages should ask again. */
  readonly beat: number
  /** Counts up each time everything is to be asked anew: another key. */
  readonly revision: number
  /** Told how each question went. */
  readonly heard: (failure: Failure | undefined) => void
  readonly say: (text: string) => void
}

export const DeskContext = createContext<Desk | undefined>(undefined)
export const CatalogueContext = createContext<Catalogue | undefined>(undefined)

export function useDesk(): Desk {
  const desk = useContext(DeskContext)
  if (!desk) throw new Error('outside of the console')
  return desk
}

export function useCatalogue(): Catalogue {
  const catalogue = useContext(CatalogueContext)
  if (!catalogue) throw new Error('the catalogue is not there yet')
  return catalogue
}

export function useMetric(id: MetricId): MetricEntry {
  const metric = useCatalogue().data.find(entry => entry.id === id)
  if (!metric) throw new Error(`the API does not know ${id}`)
  return metric
}

/** The metric that a URL names, if there is such a one. */
export function useNamedMetric(name: string, fallback: MetricId): MetricEntry {
  const named = useCatalogue().data.find(entry => entry.id === name)
  const other = useMetric(fallback)
  return named ?? other
}
