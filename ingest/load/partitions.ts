/**
 * How far each of our partitions is: read (its gate), stored, and filled by Kafka. Knows only what it is told; decides nothing.
 */
import type { Progress } from '../store/owner.ts'
import type { Gate } from './gate.ts'
import type { Taken } from './take.ts'

export class Partitions {
  readonly #gates = new Map<number, Gate>()
  readonly #stored = new Map<number, Progress>()
  /** Kafka's end of each partition, since it was first fetched from. */
  readonly #ends = new Map<number, number>()
  #topic_partitions = 1

  take({ gates, progress, topic_partitions }: Taken): void {
    this.leave()
    this.#stored.clear()
    this.#topic_partitions = topic_partitions
    for (const gate of gates) this.#gates.set(gate.partition, gate)
    for (const [partition, at] of progress) this.#stored.set(partition, at)
  }

  /** No partition is ours any more. */
  leave(): void {
    this.#gates.clear()
    this.#ends.clear()
  }

  gate(partition: number): Gate | undefined {
    return this.#gates.get(partition)
  }

  /** False once the partition was taken anew, or is not ours. */
  isCurrent(gate: Gate): boolean {
    return this.#gates.get(gate.partition) === gate
  }

  get numbers(): readonly number[] {
    return [...this.#gates.keys()]
  }

  get stored(): ReadonlyMap<number, Progress> {
    return this.#stored
  }

  noteFetched(partition: number, high_watermark: number): void {
    this.#ends.set(partition, high_watermark)
  }

  noteStored(partition: number, progress: Progress): void {
    this.#stored.set(partition, progress)
  }

  /** Records that Kafka has and that were not read, in the partitions of which that is known. */
  get unread(): number {
    return this.#sum((partition, end) => end - (this.#gates.get(partition)?.next ?? end))
  }

  /** … and that are not stored. */
  get unstored(): number {
    return this.#sum((partition, end) => end - (this.#stored.get(partition)?.next ?? end))
  }

  #sum(of: (partition: number, end: number) => number): number {
    let sum = 0
    for (const [partition, end] of this.#ends) sum += of(partition, end)
    return sum
  }

  /** Records of each partition that are not stored, as far as that is known. */
  get lag(): readonly (readonly [partition: number, records: number])[] {
    return [...this.#ends].flatMap(([partition, end]) => {
      const next = this.#stored.get(partition)?.next
      return next === undefined ? [] : [[partition, Math.max(0, end - next)] as const]
    })
  }

  /** Partitions whose lag is not known: not fetched from since they were taken. */
  get unknown(): number {
    return this.#gates.size - this.#ends.size
  }

  /** All that Kafka had before, in our partitions, is stored. */
  passed_ms(now_ms: number): number {
    let passed_ms = now_ms
    for (const partition of this.#gates.keys()) {
      const end = this.#ends.get(partition)
      const { next = 0, last_appended_at_ms = Number.NEGATIVE_INFINITY } = this.#stored.get(partition) ?? {}
      if (end === undefined || next < end) passed_ms = Math.min(passed_ms, last_appended_at_ms)
    }
    return passed_ms
  }

  /** Of work that any ingester could do: whether the `n`th piece is ours. Pieces go around the topic's partitions. */
  hasTurn(n: number): boolean {
    return this.#gates.has(n % this.#topic_partitions)
  }
}
