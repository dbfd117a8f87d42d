/**
 * The loop from Kafka to the table: fetched batches in, one fenced insert at a time out, offsets committed only after the rows were
 * read back. Two batches exist: one is filled while the other is inserted; when both are full, Kafka waits. Memory is bounded by that.
 *
 * A *term* is the time between two joins of the group. Everything begun in an earlier term notices that at its next step and stops:
 * its rows are dropped (they will be read again, by us or by the next owner) or, if already sent, found by the next take.
 */
import { setTimeout as sleep } from 'node:timers/promises'
import type { TimeLimits } from '../contract/clock.ts'
import type { FlushReason, IngestVitals } from '../runtime/vitals.ts'
import { Batch, type OffsetRange } from '../store/batch.ts'
import { DISK_FULL, errorCode, worthRetrying } from '../store/clickhouse.ts'
import { currentLog, type Lease, NotAssigned, noteProgress, type Progress } from '../store/owner.ts'
import { createAdmission } from './admit.ts'
import { decode } from './decode.ts'
import { backOff, deliver } from './deliver.ts'
import { compareEnds, fetchPosition, type Gate, place, verifySameLog } from './gate.ts'
import type { FetchedBatch, Listener } from './kafka.ts'
import { acceptOtherLog, type TakeOptions, TopicRecreated, takePartitions } from './take.ts'

export interface LoaderOptions extends TakeOptions {
  readonly flush: { readonly rows: number; readonly bytes: number; readonly age_ms: number }
  readonly limits: TimeLimits
  readonly vitals: IngestVitals
  /** The loader cannot go on: the process must end. Kafka remembers what is not stored. */
  readonly onFatal: (error: Error) => void
}

const HEARTBEAT_EVERY_MS = 1_000
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
  #filling: Batch
  #spare: Batch
  #inserting: Promise<void> | undefined
  #flushTimer: NodeJS.Timeout | undefined

  /** Rises with every join and every loss of partitions. */
  #term = 0
  #taking: Promise<void> = Promise.resolve()
  #lease: Lease | undefined
  readonly #gates = new Map<number, Gate>()
  #topicPartitions = 1
  #heartbeats = 0

  readonly #progress = new Map<number, Progress>()
  readonly #highWatermarks = new Map<number, number>()
  #oldestAt_ms = Number.POSITIVE_INFINITY
  #progressNoted_at_ms = 0
  /** How long the oldest record of the last batch had waited. */
  #storedAge_ms = 0
  #stopping = false

  constructor(options: LoaderOptions) {
    this.#options = options
    const admit = createAdmission(field => options.vitals.contextOther.inc({ field }))
    this.#filling = new Batch(admit)
    this.#spare = new Batch(admit)
  }

  /** Undefined once partitions are taken; otherwise what is being waited for. */
  notReady(): string | undefined {
    return this.#lease ? undefined : 'waiting for partitions to be assigned and taken'
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
      unstored: this.#behind(partition => this.#progress.get(partition)?.next),
      stored_age_ms: this.#storedAge_ms,
      passed_ms: this.#passed_ms(),
    }
  }

  #passed_ms(): number {
    let passed_ms = Date.now()
    for (const partition of this.#gates.keys()) {
      const high = this.#highWatermarks.get(partition)
      const { next = 0, last_appended_at_ms = Number.NEGATIVE_INFINITY } = this.#progress.get(partition) ?? {}
      if (high === undefined || next < high) passed_ms = Math.min(passed_ms, last_appended_at_ms)
    }
    return passed_ms
  }

  /** Of work that any ingester could do: whether the `n`th piece is ours. Pieces go around the topic's partitions. */
  hasTurn(n: number): boolean {
    return this.#gates.has(n % this.#topicPartitions)
  }

  #isBeyondABatch(): boolean {
    return this.#behind(partition => this.#gates.get(partition)?.next) > this.#options.flush.rows
  }

  /** Records that Kafka has from there on, in all partitions of which that is known. */
  #behind(next: (partition: number) => number | undefined): number {
    let behind = 0
    for (const [partition, high] of this.#highWatermarks) behind += high - (next(partition) ?? high)
    return behind
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
    this.#gates.clear()
    this.#highWatermarks.clear()
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
    await this.#inserting
    this.#discardFilling()
    this.#progress.clear()
    if (afterHeartbeat) {
      // Another writer has claimed what we thought ours: only the group can say that it is.
      const seen = this.#heartbeats
      while (current() && this.#heartbeats === seen) await sleep(100)
    }
    if (partitions.length === 0) return
    for (let attempt = 0; current(); attempt++) {
      try {
        const { lease, gates, progress, topic_partitions } = await takePartitions(this.#options, partitions, current)
        if (!current()) return
        this.#topicPartitions = topic_partitions
        this.#lease = lease
        for (const [partition, at] of progress) this.#progress.set(partition, at)
        for (const gate of gates) {
          this.#gates.set(gate.partition, gate)
          source.seek(gate.partition, fetchPosition(gate))
        }
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
      if (++decoded % YIELD_EVERY === 0 || this.#isFull()) {
        await this.#room(fetched.heartbeat)
        // A new term has its own gates: the rest of this fetch is not wanted any more.
        if (this.#gates.get(gate.partition) !== gate) return
      }
    }
    if (fetched.last_offset >= gate.next && gate.verify_appended_at_ms === undefined) {
      const offsets = fetched.last_offset + 1 - gate.next
      this.#append(gate, offsets, Date.now(), { gap: 'control', offsets }, 0)
    }
    this.#highWatermarks.set(gate.partition, fetched.high_watermark)
    this.#reportLag()
  }

  onUndelivered(partition: number, first: number, last: number): void {
    const gate = this.#gates.get(partition)
    // Anywhere but where we stand: what follows will come from ahead, and be sent back.
    if (!gate || first !== gate.next || gate.verify_appended_at_ms !== undefined) return
    const offsets = last + 1 - first
    this.#append(gate, offsets, Date.now(), { gap: 'control', offsets }, 0)
  }

  /** Records that Kafka has and the table has not. Known once a partition was fetched in this term. */
  #reportLag(): void {
    const { vitals } = this.#options
    for (const [partition, high] of this.#highWatermarks) {
      const stored = this.#progress.get(partition)?.next
      if (stored !== undefined) vitals.lag.set({ partition }, Math.max(0, high - stored))
    }
    vitals.lagUnknown.set(this.#gates.size - this.#highWatermarks.size)
  }

  /** The gate of the partition, waiting for a take in progress; undefined if the partition is not ours. */
  async #gateOf({ partition, heartbeat }: FetchedBatch): Promise<Gate | undefined> {
    for (;;) {
      const gate = this.#gates.get(partition)
      if (gate || this.#stopping) return gate
      const taking = this.#taking
      await heartbeating(taking, heartbeat)
      if (taking === this.#taking) return this.#gates.get(partition)
    }
  }

  async #sendBack(gate: Gate, fetched: FetchedBatch): Promise<void> {
    const { source, vitals, log } = this.#options
    const end = (await source.logEnds()).get(gate.partition)
    if (this.#gates.get(gate.partition) !== gate || !end) return
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
    if (this.#gates.get(gate.partition) !== gate) return
    const partitions = [...this.#gates.keys()]
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
    this.#filling.append(position, content, bytes)
    gate.next += offsets
    if ('refusal' in content) vitals.rejects.inc({ reason: content.refusal.reason })
    else if ('event' in content) {
      if (content.extensions > 0) vitals.extensions.inc(content.extensions)
    }
    this.#flushTimer ??= setTimeout(() => this.#flushNow('age'), this.#flushAge_ms())
  }

  #flushAge_ms(): number {
    const { age_ms } = this.#options.flush
    return this.#isBeyondABatch() ? Math.max(age_ms, FLUSH_AGE_CATCHING_UP_MS) : age_ms
  }

  // — batches out —

  #isFull(): boolean {
    const { rows, bytes } = this.#options.flush
    return this.#filling.rows >= rows || this.#filling.bytes >= bytes
  }

  /** Lets other work run, and returns once the batch in the making can take more. */
  async #room(heartbeat: () => Promise<void>): Promise<void> {
    await new Promise<void>(resolve => setImmediate(resolve))
    while (this.#isFull()) {
      if (!this.#inserting) this.#flushNow(this.#filling.rows >= this.#options.flush.rows ? 'rows' : 'bytes')
      else await heartbeating(this.#inserting, heartbeat)
    }
  }

  /** Sends the batch in the making, unless one is under way: then it follows as soon as that is done. */
  #flushNow(reason: FlushReason): void {
    clearTimeout(this.#flushTimer)
    this.#flushTimer = undefined
    if (this.#inserting || this.#filling.rows === 0) return
    const batch = this.#filling
    this.#filling = this.#spare
    this.#spare = batch
    this.#inserting = this.#store(batch, this.#term, reason)
      .catch(error => this.#fatal(error))
      .finally(() => {
        batch.clear()
        this.#inserting = undefined
        const begun = this.#filling.begun_at_ms
        if (begun === undefined) return
        const wait = begun + this.#flushAge_ms() - Date.now()
        if (this.#isFull() || wait <= 0) this.#flushNow(this.#isFull() ? 'rows' : 'age')
        else this.#flushTimer ??= setTimeout(() => this.#flushNow('age'), wait)
      })
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
        this.#progress.set(partition, { next: range.next, last_appended_at_ms: range.last_appended_at_ms })
      }
      this.#reportLag()
      await this.#commit(stored, current)
    }
    if (fenced && current()) {
      vitals.fenced.inc()
      log.warn({ partitions: batch.ranges.size }, 'fenced')
      this.#beginTerm([...this.#gates.keys()], true)
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
      await noteProgress(store, lease.log_id, this.#progress)
      this.#progressNoted_at_ms = now
    } catch (error) {
      if (!worthRetrying(error)) throw error
      log.warn({ error: String(error) }, 'note_progress_failed')
    }
  }

  #discardFilling(): void {
    clearTimeout(this.#flushTimer)
    this.#flushTimer = undefined
    this.#filling.clear()
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
    while (this.#inserting || this.#filling.rows > 0) {
      this.#flushNow('stop')
      await this.#inserting
    }
    const lease = this.#lease
    if (lease) await noteProgress(this.#options.store, lease.log_id, this.#progress)
  }
}

/** Waits for `work` while keeping the membership of the group. Throws what the heartbeat throws: the group rebalances. */
async function heartbeating(work: Promise<unknown>, heartbeat: () => Promise<void>): Promise<void> {
  let done = false
  const finished = work.then(() => {
    done = true
  })
  while (!done) {
    const timer = new AbortController()
    await Promise.race([finished, sleep(HEARTBEAT_EVERY_MS, undefined, { signal: timer.signal }).catch(() => {})])
    timer.abort()
    await heartbeat()
  }
}
