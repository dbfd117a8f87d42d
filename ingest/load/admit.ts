/**
 * Strangers choose context values. Each distinct one grows dictionaries and drop-down lists, so per field and day only so many new
 * ones are stored as they are; the rest become `(other)`.
 */
import type { AdmitContext } from '../store/columns.ts'

export const OTHER = '(other)'
export const NEW_VALUES_PER_FIELD_AND_DAY = 10_000

const DAY_MS = 86_400_000

export function createAdmission(onOther: (field: string) => void, now: () => number = Date.now): AdmitContext {
  const seen = new Map<string, Set<string>>()
  let day = Math.floor(now() / DAY_MS)
  return (field, value) => {
    const today = Math.floor(now() / DAY_MS)
    if (today !== day) {
      seen.clear()
      day = today
    }
    let values = seen.get(field)
    if (!values) {
      values = new Set()
      seen.set(field, values)
    }
    if (values.has(value)) return value
    if (values.size >= NEW_VALUES_PER_FIELD_AND_DAY) {
      onOther(field)
      return OTHER
    }
    values.add(value)
    return value
  }
}
