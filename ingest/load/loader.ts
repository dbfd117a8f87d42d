/**
 * The loop from Kafka to the table: fetched batches in, one fenced insert at a time out (`batches.ts`), offsets committed only after the
 * rows were read back.
 *
 * A *term* is the time between two joins of the group. Everything begun in an earlier term notices that at its next step and stops:
 * its rows are dropped (they will be read again, by us or by the next owner) or, if already sent, found by the next take.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { TimeLimits } from '../contract/clock.ts'
import type { FlushReason, IngestVitals } from '../runtime/vitals.ts'
import type { Batch, OffsetRange } from '../store/batch.ts'
import { DISK_FULL, errorCode, worthRetrying } from '../store/clickhouse.ts'
import { currentLog, type Lease, NotAssigned, noteProgress } from '../store/owner.ts'
import { createAdmission } from './admit.ts'
import { Batches } from './batches.ts'
import { decode } from './decode.ts'
import { backOff, deliver } from './deliver.ts'
import { compareEnds, fetchPosition, type Gate, place, verifySameLog } from './gate.ts'
import { type FetchedBatch, heartbeating, type Listener } from './kafka.ts'
import { Partitions } from './partitions.ts'
import { acceptOtherLog, type TakeOptions, TopicRecreated, takePartitions } from './take.ts'

export interface LoaderOptions extends TakeOptions {
  readonly flush: { readonly rows: number; readonly bytes: number; readonly age_ms: number }
  readonly limits: TimeLimits
  readonly vitals: IngestVitals
  /** The loader cannot go on: the process must end. Kafka remembers what is not stored. */
  readonly onFatal: (error: Error) => void
}

const NOTE_PROGRESS_EVERY_MS = 60_000
/** While a backlog is worked off, batches are filled instead of sent at the configured age: fewer and larger parts. */
const FLUSH_AGE_CATCHING_UP_MS = 2_000
/** Messages decoded in one go before other work of the process gets its turn. */
const YIELD_EVERY = 1_000

/** How far what is stored is behind Kafka. */
export interface Behind {
  /** There is more to read than one batch holds. */
  readonly beyond_a_batch: boolean
  /** Records that Kafka has and the table has not. */
  readonly unstored: number
  /** How long the oldest record of the last batch had waited. */
  readonly stored_age_ms: number
  /** All that Kafka had before, as far as it is ours to store, is stored. */
  readonly passed_ms: number
}

export class Loader implements Listener {
  readonly #options: LoaderOptions
  readonly #batches: Batches

  /** Rises with every join and every loss of partitions. */
  #term = 0
  #taking: Promise<void> = Promise.resolve()
  #lease: Lease | undefined
  /** The group has more members than partitions: it takes over when one of them goes. */
  #isSpare = false
  #heartbeats = 0

  readonly #partitions = new Partitions()
  #oldestAt_ms = Number.POSITIVE_INFINITY
  #progressNoted_at_ms = 0
  /** How long the oldest record of the last batch had waited. */
  #storedAge_ms = 0
  #stopping = false

  constructor(options: LoaderOptions) {
    this.#options = options
    this.#batches = new Batches({
      admit: createAdmission(field => options.vitals.contextOther.inc({ field })),
      most: options.flush,
      age_ms: () => this.#flushAge_ms(),
      store: (batch, reason) => this.#store(batch, this.#term, reason).catch(error => this.#fatal(error)),
    })
  }

  /** Undefined once partitions are taken, or the group has none for us; otherwise what is being waited for. */
  notReady(): string | undefined {
    return this.#lease || this.#isSpare ? undefined : 'waiting for partitions to be assigned and taken'
  }

  /** Start of the oldest event stored since this was last asked: how far back cells may have changed. */
  takeOldestAt(): number {
    const oldest = this.#oldestAt_ms
    this.#oldestAt_ms = Number.POSITIVE_INFINITY
    return oldest
  }

  behind(): Behind {
    return {
      beyond_a_batch: this.#isBeyondABatch(),
      unstored: this.#partitions.unstored,
      stored_age_ms: this.#storedAge_ms,
      passed_ms: this.#partitions.passed_ms(Date.now()),
    }
  }

  #isBeyondABatch(): boolean {
    return this.#partitions.unread > this.#options.flush.rows
  }

  /** Whether the `n`th piece of work that ingesters share is ours. */
  hasTurn(n: number): boolean {
    return this.#partitions.hasTurn(n)
  }

  // — joining, taking —

  onAssigned(partitions: readonly number[]): void {
    this.#options.log.info({ partitions: partitions.length }, 'partitions_assigned')
    this.#beginTerm(partitions)
  }

  onHeartbeat(): void {
    this.#heartbeats++
  }

  onCrash(error: Error, restarts: boolean): void {
    this.#options.log.warn({ error: error.message, restarts }, 'consumer_failed')
    if (!restarts) this.#options.onFatal(error)
  }

  /** Everything of the last term is void; the partitions are taken anew. Takes follow one another. */
  #beginTerm(partitions: readonly number[], afterHeartbeat = false): void {
    const term = ++this.#term
    this.#lease = undefined
    this.#isSpare = partitions.length === 0
    this.#partitions.leave()
    this.#options.vitals.partitions.set(0)
    this.#options.vitals.lag.reset()
    this.#options.vitals.lagUnknown.set(partitions.length)
    this.#taking = this.#taking
      .then(() => this.#take(term, partitions, afterHeartbeat))
      .catch(error => this.#fatal(error))
  }

  async #take(term: number, partitions: readonly number[], afterHeartbeat: boolean): Promise<void> {
    const { source, log, vitals } = this.#options
    const current = () => this.#term === term && !this.#stopping
    // An insert of the last term sees that its term is over and ends; its rows are judged by what the take finds.
    await this.#batches.storing
    this.#batches.discard()
    if (afterHeartbeat) {
      // Another writer has claimed what we thought ours: only the group can say that it is.
      const seen = this.#heartbeats
      while (current() && this.#heartbeats === seen) await sleep(100)
    }
    if (partitions.length === 0) return
    for (let attempt = 0; current(); attempt++) {
      try {
        const taken = await takePartitions(this.#options, partitions, current)
        if (!current()) return
        const { lease, gates } = taken
        this.#lease = lease
        this.#partitions.take(taken)
        for (const gate of gates) source.seek(gate.partition, fetchPosition(gate))
        vitals.takes.inc()
        vitals.partitions.set(partitions.length)
        log.info({ partitions: partitions.length, log_id: lease.log_id }, 'partitions_taken')
        return
      } catch (error) {
        if (error instanceof NotAssigned) return
        if (error instanceof TopicRecreated || !worthRetrying(error)) throw error
        this.#reportRetry(error, attempt, 'take_failed')
        await backOff(attempt, current)
      }
    }
  }

  // — batches in —

  async onBatch(fetched: FetchedBatch): Promise<void> {
    const gate = await this.#gateOf(fetched)
    if (!gate) return
    if (place(gate, fetched.fetched_offset) === 'elsewhere') return this.#sendBack(gate, fetched)
    let decoded = 0
    for (const message of fetched.messages) {
      const offset = Number(message.offset)
      const appended_at_ms = Number(message.timestamp)
      if (gate.verify_appended_at_ms !== undefined) {
        if (!verifySameLog(gate, offset, appended_at_ms)) return this.#foundOtherLog(gate)
        gate.verify_appended_at_ms = undefined
        continue
      }
      if (offset < gate.next) continue
      if (this.#stopping) return
      if (offset > gate.next)
        this.#append(gate, offset - gate.next, appended_at_ms, { gap: 'control', offsets: offset - gate.next }, 0)
      const content = decode(message.value, message.key, appended_at_ms, this.#options.limits)
      this.#append(gate, 1, appended_at_ms, content, message.value?.length ?? 0)
      if (++decoded % YIELD_EVERY === 0 || this.#batches.isFull) {
        await this.#batches.room(fetched.heartbeat)
        // A new term has its own gates: the rest of this fetch is not wanted any more.
        if (!this.#partitions.isCurrent(gate)) return
      }
    }
    if (fetched.last_offset >= gate.next && gate.verify_appended_at_ms === undefined) {
      const offsets = fetched.last_offset + 1 - gate.next
      this.#append(gate, offsets, Date.now(), { gap: 'control', offsets }, 0)
    }
    this.#partitions.noteFetched(gate.partition, fetched.high_watermark)
    this.#reportLag()
  }

  onUndelivered(partition: number, first: number, last: number): void {
    const gate = this.#partitions.gate(partition)
    // Anywhere but where we stand: what follows will come from ahead, and be sent back.
    if (!gate || first !== gate.next || gate.verify_appended_at_ms !== undefined) return
    const offsets = last + 1 - first
    this.#append(gate, offsets, Date.now(), { gap: 'control', offsets }, 0)
  }

  #reportLag(): void {
    const { vitals } = this.#options
    for (const [partition, records] of this.#partitions.lag) vitals.lag.set({ partition }, records)
    vitals.lagUnknown.set(this.#partitions.unknown)
  }

  /** The gate of the partition, waiting for a take in progress; undefined if the partition is not ours. */
  async #gateOf({ partition, heartbeat }: FetchedBatch): Promise<Gate | undefined> {
    for (;;) {
      const gate = this.#partitions.gate(partition)
      if (gate || this.#stopping) return gate
      const taking = this.#taking
      await heartbeating(taking, heartbeat)
      if (taking === this.#taking) return this.#partitions.gate(partition)
    }
  }

  async #sendBack(gate: Gate, fetched: FetchedBatch): Promise<void> {
    const { source, vitals, log } = this.#options
    const end = (await source.logEnds()).get(gate.partition)
    if (!this.#partitions.isCurrent(gate) || !end) return
    const ends = compareEnds(gate, end.low, end.high)
    if (!ends.ok) return this.#foundOtherLog(gate)
    if (ends.expired !== undefined) {
      const offsets = ends.expired - gate.next
      log.error({ partition: gate.partition, offsets }, 'offsets_expired')
      vitals.expired.inc(offsets)
      gate.verify_appended_at_ms = undefined
      this.#append(gate, offsets, Date.now(), { gap: 'expired', offsets }, 0)
    } else if (gate.verify_appended_at_ms !== undefined && end.low >= gate.next) {
      gate.verify_appended_at_ms = undefined
    }
    vitals.seeks.inc()
    log.debug({ partition: gate.partition, fetched: fetched.fetched_offset, next: gate.next }, 'sent_back')
    source.seek(gate.partition, fetchPosition(gate))
  }

  async #foundOtherLog(gate: Gate): Promise<void> {
    const { store, topic } = this.#options
    const { incarnation } = await currentLog(store, topic)
    if (!this.#partitions.isCurrent(gate)) return
    const partitions = this.#partitions.numbers
    const what = `the record before offset ${gate.next} is not the one that was stored`
    try {
      await acceptOtherLog(this.#options, incarnation, gate.partition, what)
      this.#beginTerm(partitions)
    } catch (error) {
      this.#fatal(error)
    }
  }

  #append(
    gate: Gate,
    offsets: number,
    appended_at_ms: number,
    content: Parameters<Batch['append']>[1],
    bytes: number,
  ): void {
    if (!this.#lease) return
    const { vitals } = this.#options
    const position = {
      log_id: this.#lease.log_id,
      kafka_partition: gate.partition,
      kafka_offset: gate.next,
      appended_at_ms,
    }
    this.#batches.append(position, content, bytes)
    gate.next += offsets
    if ('refusal' in content) vitals.rejects.inc({ reason: content.refusal.reason })
    else if ('event' in content) {
      if (content.extensions > 0) vitals.extensions.inc(content.extensions)
    }
  }

  // — batches out —

  #flushAge_ms(): number {
    const { age_ms } = this.#options.flush
    return this.#isBeyondABatch() ? Math.max(age_ms, FLUSH_AGE_CATCHING_UP_MS) : age_ms
  }

  /** Delivers the batch, commits what was read back, and gives the partitions up where another writer owns them. */
  async #store(batch: Batch, term: number, reason: FlushReason): Promise<void> {
    const { store, vitals, log } = this.#options
    const lease = this.#lease
    const current = () => this.#term === term
    if (!lease || !current()) return
    const begun = performance.now()
    const { stored, fenced } = await deliver(batch, {
      store,
      lease,
      current,
      onLease: renewed => {
        if (current()) this.#lease = renewed
      },
      onRetry: (error, attempt) => {
        vitals.insertFailures.inc({ code: String(errorCode(error) ?? 'network') })
        this.#reportRetry(error, attempt, 'insert_failed')
      },
    })
    if (stored.size > 0) {
      // Not before: a settler that looked while the rows were on their way would find nothing to do there, and not look again.
      this.#oldestAt_ms = Math.min(this.#oldestAt_ms, batch.oldest_at_ms)
      vitals.insertSeconds.observe((performance.now() - begun) / 1000)
      if (batch.oldest_appended_at_ms !== undefined) {
        this.#storedAge_ms = Math.max(0, Date.now() - batch.oldest_appended_at_ms)
        vitals.freshnessSeconds.observe(this.#storedAge_ms / 1000)
      }
      vitals.batches.inc({ reason })
      for (const [partition, range] of stored) {
        vitals.rows.inc(range.next - range.first)
        this.#partitions.noteStored(partition, { next: range.next, last_appended_at_ms: range.last_appended_at_ms })
      }
      this.#reportLag()
      await this.#commit(stored, current)
    }
    if (fenced && current()) {
      vitals.fenced.inc()
      log.warn({ partitions: batch.ranges.size }, 'fenced')
      this.#beginTerm(this.#partitions.numbers, true)
    }
  }

  async #commit(done: ReadonlyMap<number, OffsetRange>, current: () => boolean): Promise<void> {
    const { source, store, log } = this.#options
    if (current()) {
      await source
        .commit(new Map([...done].map(([partition, range]) => [partition, range.next])))
        .catch(error => log.debug({ error: String(error) }, 'commit_failed'))
    }
    const now = Date.now()
    const lease = this.#lease
    if (!lease || now - this.#progressNoted_at_ms < NOTE_PROGRESS_EVERY_MS) return
    try {
      await noteProgress(store, lease.log_id, this.#partitions.stored)
      this.#progressNoted_at_ms = now
    } catch (error) {
      if (!worthRetrying(error)) throw error
      log.warn({ error: String(error) }, 'note_progress_failed')
    }
  }

  #reportRetry(error: unknown, attempt: number, event: string): void {
    const code = errorCode(error)
    const fields = {
      code: code ?? 'network',
      attempt,
      error: error instanceof Error ? error.message.slice(0, 300) : String(error),
    }
    if (code === DISK_FULL) this.#options.log.error(fields, 'clickhouse_disk_full')
    else if (attempt === 0) this.#options.log.warn(fields, event)
    else this.#options.log.debug(fields, event)
  }

  #fatal(error: unknown): void {
    if (this.#stopping) return
    this.#options.onFatal(error instanceof Error ? error : new Error(String(error)))
  }

  /** Accepts nothing new, stores what is in hand and notes how far that went. */
  async stop(): Promise<void> {
    this.#stopping = true
    await this.#batches.flush()
    const lease = this.#lease
    if (lease) await noteProgress(this.#options.store, lease.log_id, this.#partitions.stored)
  }
}
