/** The pages and where they are. Read by the build as well, which tells the API; so nothing of a browser is used here. */
const PAGES = {
  fleet: '/',
  frames: '/frames',
  sessions: '/sessions',
  session: '/sessions/:id',
  abr: '/abr',
  pipeline: '/pipeline',
} as const
export type Page = keyof typeof PAGES
export const PAGE_PATHS: readonly string[] = Object.values(PAGES)

const SESSION = /^\/sessions\/([^/]+)$/

/** Anything else is the fleet. */
export function pageOf(pathname: string): { readonly page: Page; readonly id: string } {
  const [, id] = SESSION.exec(pathname) ?? []
  if (id !== undefined) return { page: 'session', id: decodeURIComponent(id) }
  const known = (Object.keys(PAGES) as Page[]).find(page => PAGES[page] === pathname)
  return { page: known ?? 'fleet', id: '' }
}

export const pathOf = (page: Page, id: string): string => PAGES[page].replace(':id', encodeURIComponent(id))
