/** Light or dark: as the system has it, unless somebody chose. Charts are drawn again when it changes. */
const KEPT = 'stream-quality-theme'
export const THEMES = ['system', 'light', 'dark'] as const
export type Theme = (typeof THEMES)[number]

const DARK = matchMedia('(prefers-color-scheme: dark)')
const listeners = new Set<() => void>()

export const theme = (): Theme => THEMES.find(one => one === localStorage.getItem(KEPT)) ?? 'system'
export const isDark = (): boolean => (theme() === 'system' ? DARK.matches : theme() === 'dark')

export function choose(wanted: Theme): void {
  if (wanted === 'system') localStorage.removeItem(KEPT)
  else localStorage.setItem(KEPT, wanted)
  apply()
}

/** @returns what ends the listening */
export function onTheme(listener: () => void): () => void {
  listeners.add(listener)
  return () => listeners.delete(listener)
}

function apply(): void {
  document.documentElement.dataset.theme = isDark() ? 'dark' : 'light'
  for (const listener of listeners) listener()
}

export function followSystem(): void {
  DARK.addEventListener('change', apply)
  apply()
}
