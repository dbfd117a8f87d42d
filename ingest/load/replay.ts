/**
 * Sends refused messages again, once the contract or the bug that refused them is mended. What would be refused again stays where it
 * is; what was cut when it was kept cannot be sent.
 */
import { randomUUID } from 'node:crypto'
import { check } from '../contract/check.ts'
import type { TimeLimits } from '../contract/clock.ts'
import type { Reason } from '../contract/refusal.ts'
import type { Store } from '../store/clickhouse.ts'
import {
  countRejected,
  noteReplay,
  type Place,
  placeKey,
  type RejectedCount,
  type RejectedMessage,
  readRejected,
} from '../store/rejected.ts'
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
    const now = Date.now()
    const good = page.flatMap(message => {
      const handedOver = stampedAnew(message, now)
      const content = decode(handedOver.bytes, message.key, now, limits)
      if (!('refusal' in content)) return [handedOver]
      const { reason } = content.refusal
      report.still_refused[reason] = (report.still_refused[reason] ?? 0) + 1
      return []
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

/**
 * The message as handed over now, on its speaker's clock. With the old stamp, the time since it was refused would pass for a wrong
 * clock, and the event would be counted today instead of when it was. What is no event stays as it is: still refused.
 */
function stampedAnew(message: RejectedMessage, now_ms: number): RejectedMessage {
  const { event } = check(message.bytes)
  if (!event) return message
  const sent_at_ms = event.sent_at_ms + now_ms - message.appended_at_ms
  const said: object = JSON.parse(message.bytes.toString('utf8'))
  return { ...message, bytes: Buffer.from(JSON.stringify({ ...said, sent_at_ms })) }
}
