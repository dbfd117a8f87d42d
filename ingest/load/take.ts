/**
 * Taking partitions: from being assigned to knowing exactly where to go on, in the right log. What `store/owner.ts` knows of the data
 * and what Kafka knows of its log are put side by side here.
 */
import type { Log } from '../runtime/log.ts'
import type { Store } from '../store/clickhouse.ts'
import { beginLog, claim, currentLog, type Lease, type Progress, readProgress } from '../store/owner.ts'
import { compareEnds, type Gate } from './gate.ts'
import type { KafkaSource } from './kafka.ts'

/** The topic is not the one whose offsets we stored. */
export class TopicRecreated extends Error {
  override readonly name = 'TopicRecreated'
}

export interface TakeOptions {
  readonly store: Store
  readonly source: KafkaSource
  readonly topic: string
  /** After the topic was deleted and created again: begin a new log instead of stopping. */
  readonly accept_new_log: boolean
  readonly log: Log
}

export interface Taken {
  readonly lease: Lease
  readonly gates: readonly Gate[]
  /** Where each partition stood at the take. */
  readonly progress: ReadonlyMap<number, Progress>
  /** How many partitions the topic has. */
  readonly topic_partitions: number
}

/**
 * @throws TopicRecreated where that is not accepted; NotAssigned once `current` says no; what the store or Kafka throws
 */
export async function takePartitions(
  options: TakeOptions,
  partitions: readonly number[],
  current: () => boolean,
): Promise<Taken> {
  const { store, source, topic } = options
  const { log_id, incarnation } = await currentLog(store, topic)
  const lease = await claim(store, log_id, partitions, current)
  const stored = await readProgress(store, log_id, partitions)
  const ends = await source.logEnds()
  const gates: Gate[] = []
  const progress = new Map<number, Progress>()
  for (const partition of partitions) {
    const end = ends.get(partition)
    if (!end) throw new Error(`partition ${partition} is assigned, but Kafka does not list it`)
    // Nothing stored, ever: from the earliest record there is.
    const { next = end.low, last_appended_at_ms } = stored.get(partition) ?? {}
    const canVerify = last_appended_at_ms !== undefined && end.low < next
    const gate: Gate = { partition, next, verify_appended_at_ms: canVerify ? last_appended_at_ms : undefined }
    if (!compareEnds(gate, end.low, end.high).ok) {
      await acceptOtherLog(options, incarnation, partition, `it ends at ${end.high}, but ${next} offsets are stored`)
      return takePartitions(options, partitions, current)
    }
    gates.push(gate)
    progress.set(partition, { next, last_appended_at_ms })
  }
  return { lease, gates, progress, topic_partitions: ends.size }
}

/** Begins a new log, where that is allowed. @throws TopicRecreated where it is not */
export async function acceptOtherLog(
  { store, topic, accept_new_log, log }: TakeOptions,
  incarnation: number,
  partition: number,
  what: string,
): Promise<void> {
  if (!accept_new_log) {
    throw new TopicRecreated(
      `topic ${topic}, partition ${partition}: ${what}. The topic was deleted and created again; start with --accept-new-log to begin a new log beside the stored one`,
    )
  }
  await beginLog(store, topic, incarnation + 1)
  log.warn({ topic, incarnation: incarnation + 1 }, 'new_log_begun')
}
