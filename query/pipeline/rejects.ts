/** Refused messages: why, how many, and a few of them with their Kafka position, so that whoever sends them can be told. */
import { z } from 'zod'
import { REASONS } from '../../ingest/contract/refusal.ts'
import { type Answer, type Desk, freshOf, metaOf } from '../metrics/answer.ts'
import { NOT_SETTLED } from '../metrics/freshness.ts'
import type { Question } from '../metrics/question.ts'
import { type Asked, iso, rawWindow, type Window } from '../metrics/range.ts'
import { moment } from '../metrics/sql.ts'

interface RejectSample {
  readonly log_id: string
  readonly kafka_partition: number
  readonly kafka_offset: number
  readonly appended_at: string
  /** The path of the first field that does not fit and what it should have been. */
  readonly detail: string
  readonly key: string
  /** The first bytes, escaped: printable ASCII as it is, all else `\xNN`. */
  readonly bytes: string
  readonly bytes_total: number
}

export interface RejectReason {
  readonly reason: (typeof REASONS)[number]
  readonly count: number
  readonly first_at: string
  readonly last_at: string
  /** The newest ones. */
  readonly samples: RejectSample[]
}

const SAMPLES = 5
const SAMPLE_BYTES = 256

/** A refused message has no time of its own: it stands at Kafka's append time. */
const REFUSED = `kind = 'rejected' AND t10 >= ${moment('from')} AND t10 < ${moment('to')}`

const reasonRow = z.object({ reason: z.enum(REASONS), refused: z.number(), first_ms: z.number(), last_ms: z.number() })
const paramsOf = ({ from, to }: Window) => ({ from, to })

export const reasonsQuestion = (window: Window): Question<z.infer<typeof reasonRow>> => ({
  id: 'reject_reasons',
  sql: `SELECT reason, count() AS refused,
  toUnixTimestamp64Milli(min(appended_at)) AS first_ms, toUnixTimestamp64Milli(max(appended_at)) AS last_ms
FROM events_v1 WHERE ${REFUSED} GROUP BY reason ORDER BY refused DESC, reason`,
  params: paramsOf(window),
  row: reasonRow,
})

const sampleRow = z.object({
  reason: z.enum(REASONS),
  log_id: z.string(),
  kafka_partition: z.number(),
  kafka_offset: z.number(),
  appended_ms: z.number(),
  detail: z.string(),
  key_hex: z.string(),
  bytes_hex: z.string(),
  bytes_total: z.number(),
})

/** Chosen by position first, so that the bytes of all the others are not read. Bytes travel as hex: they need not be text. */
export const samplesQuestion = (window: Window): Question<z.infer<typeof sampleRow>> => ({
  id: 'reject_samples',
  sql: `SELECT reason, log_id, kafka_partition, kafka_offset, toUnixTimestamp64Milli(appended_at) AS appended_ms, detail,
  hex(substring(kafka_key, 1, {bytes:UInt32})) AS key_hex, hex(substring(bytes, 1, {bytes:UInt32})) AS bytes_hex, bytes_total
FROM events_v1
WHERE ${REFUSED} AND (log_id, kafka_partition, kafka_offset) IN (
  SELECT log_id, kafka_partition, kafka_offset FROM events_v1 WHERE ${REFUSED}
  ORDER BY appended_at DESC, kafka_partition, kafka_offset LIMIT {samples:UInt32} BY reason
)
ORDER BY appended_at DESC, kafka_partition, kafka_offset`,
  params: { ...paramsOf(window), samples: SAMPLES, bytes: SAMPLE_BYTES },
  row: sampleRow,
})

export async function rejects(desk: Desk, asked: Pick<Asked, 'from' | 'to'>): Promise<Answer<RejectReason>> {
  const window = rawWindow(asked, desk.now())
  const [reasons, samples, fresh] = await Promise.all([
    desk.ask(reasonsQuestion(window)),
    desk.ask(samplesQuestion(window)),
    freshOf(desk, window, NOT_SETTLED),
  ])
  const data = reasons.map(({ reason, refused, first_ms, last_ms }) => ({
    reason,
    count: refused,
    first_at: iso(first_ms),
    last_at: iso(last_ms),
    samples: samples.filter(sample => sample.reason === reason).map(readable),
  }))
  const meta = { ...metaOf(null, { window }, fresh, undefined), sessions: null, frames: null, cells: null }
  return { data, meta }
}

const readable = (row: z.infer<typeof sampleRow>): RejectSample => ({
  log_id: row.log_id,
  kafka_partition: row.kafka_partition,
  kafka_offset: row.kafka_offset,
  appended_at: iso(row.appended_ms),
  detail: row.detail,
  key: escaped(row.key_hex),
  bytes: escaped(row.bytes_hex),
  bytes_total: row.bytes_total,
})

const BACKSLASH = 0x5c

export const escaped = (hex: string): string =>
  [...Buffer.from(hex, 'hex')]
    .map(byte => {
      if (byte === BACKSLASH) return '\\\\'
      return byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`
    })
    .join('')
