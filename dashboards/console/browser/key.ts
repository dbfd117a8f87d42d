/**
 * The key of whoever looks: given behind the `#` of the URL, which no browser sends, or typed in. Kept for this tab alone, and never
 * put anywhere but into the header of a request.
 */
const KEPT = 'stream-quality-key'
const FRAGMENT = /^#key=([A-Za-z0-9._~-]{1,512})$/

export const readKey = (): string => sessionStorage.getItem(KEPT) ?? ''

export function keepKey(key: string): void {
  if (key === '') sessionStorage.removeItem(KEPT)
  else sessionStorage.setItem(KEPT, key)
}

/** Takes the key out of the URL, so that it is neither shared nor kept in the history. */
export function adoptKey(): void {
  const [, key] = FRAGMENT.exec(location.hash) ?? []
  if (key === undefined) return
  keepKey(key)
  history.replaceState(null, '', location.pathname + location.search)
}
