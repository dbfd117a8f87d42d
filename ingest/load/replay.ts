/**
 * Sends refused messages again, once the contract or the bug that refused them is mended. What would be refused again stays where it
 * is; what was cut when it was kept cannot be sent.
 */
import { randomUUID } from 'node:crypto'
import type { TimeLimits } from '../contract/clock.ts'
import type { Reason } from '../contract/refusal.ts'
import type { Store } from '../store/clickhouse.ts'
import { countRejected, noteReplay, type Place, placeKey, type RejectedCount, readRejected } from '../store/rejected.ts'
import { decode } from './decode.ts'

export interface ReplayReport {
  readonly found: readonly RejectedCount[]
  /** Sent, or with `dry_run` what would be. */
  sent: number
  /** Would be refused again today, by today's reason. */
  readonly still_refused: Partial<Record<Reason, number>>
  /** Noted by another replay at the same time. */
  left_to_another: number
}

export interface ReplayOptions {
  readonly store: Store
  readonly reasons: readonly Reason[]
  readonly dry_run: boolean
  readonly limits: TimeLimits
  readonly send: (messages: { key: Buffer; value: Buffer }[]) => Promise<void>
  readonly onProgress?: (report: ReplayReport) => void
}

const PAGE = 1_000
const BEFORE_ALL: Place = { log_id: '', kafka_partition: -1, kafka_offset: -1 }

export async function replay(options: ReplayOptions): Promise<ReplayReport> {
  const { store, reasons, dry_run, limits, send } = options
  const replay_id = randomUUID()
  const report: ReplayReport = {
    found: await countRejected(store, reasons),
    sent: 0,
    still_refused: {},
    left_to_another: 0,
  }
  let after = BEFORE_ALL
  for (;;) {
    const page = await readRejected(store, reasons, after, PAGE)
    const last = page.at(-1)
    if (!last) return report
    after = { log_id: last.log_id, kafka_partition: last.kafka_partition, kafka_offset: last.kafka_offset }
    const good = page.filter(({ bytes, key }) => {
      const content = decode(bytes, key, Date.now(), limits)
      if (!('refusal' in content)) return true
      const { reason } = content.refusal
      report.still_refused[reason] = (report.still_refused[reason] ?? 0) + 1
      return false
    })
    if (dry_run || good.length === 0) {
      report.sent += good.length
    } else {
      const ours = await noteReplay(store, replay_id, good)
      const sending = good.filter(message => ours.has(placeKey(message)))
      await send(sending.map(({ key, bytes }) => ({ key, value: bytes })))
      report.sent += sending.length
      report.left_to_another += good.length - sending.length
    }
    options.onProgress?.(report)
  }
}
