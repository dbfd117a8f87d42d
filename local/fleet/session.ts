/**
 * One simulated session from `connecting` to `ended`, as what its client (and, after a crash, its host) would say. It is asked once
 * a second and answers with drafts; who numbers, stamps and sends them is not its concern.
 */

import type { BitrateEvent, Context, FrameTimesEvent, SessionEvent } from '../../ingest/contract/events.ts'
import type { Draft, Source } from '../../ingest/emit/emitter.ts'
import { FrameCollector } from '../../ingest/emit/frames.ts'
import { chance } from '../../query/statistics/weights.ts'
import { type Block, Cadence } from './captures.ts'
import { type Controller, ladderFor, RateController, type Rung } from './controller.ts'
import { Link } from './link.ts'
import { Playout } from './playout.ts'
import { drawPerson, type Person } from './population.ts'
import { between, drawUuid, exponential, mixSeed, pick, type Random } from './random.ts'
import { bitrate, measures } from './report.ts'
import { Stream } from './stream.ts'
import type { Trace } from './traces.ts'

/** The measured data that sessions are made from. */
export interface Material {
  readonly blocks: readonly Block[]
  readonly traces: readonly Trace[]
}

/** A player decides nothing. */
type PlayedDraft = Draft<FrameTimesEvent | BitrateEvent | SessionEvent>

export interface Said {
  readonly source: Source
  readonly draft: PlayedDraft
}

type EndReason = 'user_quit' | 'network' | 'host_failure' | 'client_crash' | 'timeout'

/** What an experiment holds fixed that is drawn otherwise. */
export interface Terms {
  readonly trace?: Trace
  /** Plays for so long after its first frame: it neither fails nor is given up. */
  readonly plays_ms?: number
  /** Made when the first frame is due. */
  readonly controllerOn?: (ladder: readonly Rung[]) => Controller
}

/** Sessions last this long on average, beyond the shortest. */
const LENGTH_MIN_S = 30
const LENGTH_MEAN_S = 600
const HOST_FAILURE_MEAN_S = 20_000
const CLIENT_CRASH_MEAN_S = 15_000
const START_FAILURE = { fixed: 0.01, '4g': 0.03, '3g': 0.15 } as const
const START_GIVEN_UP_MS = 8_000
/** A player leaves a picture that has stood for this long. */
const PATIENCE_US = 10_000_000
/** The first event may cover less than a second, but no less than the contract's shortest interval several times over. */
const FIRST_SPAN_MIN_MS = 300

export class Session {
  readonly id: string
  readonly context: Context
  readonly network: Trace['kind']
  readonly #person: Person
  readonly #seed: number
  readonly #random: Random
  readonly #material: Material
  readonly #terms: Terms
  readonly #began_ms: number
  readonly #startup_ms: number
  readonly #end: { readonly at_ms: number; readonly reason: EndReason }
  #streaming: { readonly stream: Stream; readonly frames: FrameCollector; readonly from_ms: number } | undefined
  #spoke = false
  #covered_to_ms = 0
  #said: Said[] = []
  #ended = false

  constructor(seed: number, began_ms: number, material: Material, terms: Terms = {}) {
    const random = chance(seed)
    this.#seed = seed
    this.#random = random
    this.#material = material
    this.#terms = terms
    this.#began_ms = began_ms
    this.id = drawUuid(random)
    this.#person = drawPerson(random)
    this.context = this.#person.context
    this.network = this.#person.network
    const startup_ms = Math.round(
      between(random, 700, 1_800) + (this.#person.profile.base_rtt_us / 1000) * between(random, 8, 20),
    )
    const fails = random() < START_FAILURE[this.network] && terms.plays_ms === undefined
    this.#startup_ms = fails ? Number.POSITIVE_INFINITY : startup_ms
    this.#end = fails ? this.#failToStart() : this.#drawEnd(startup_ms)
  }

  /** Milliseconds from its beginning to its first frame. */
  get startup_ms(): number {
    return this.#startup_ms
  }

  get ended(): boolean {
    return this.#ended
  }

  /** The steps it can be sent at. */
  get ladder(): Rung[] {
    return ladderFor(this.#person.target_fps, this.#person.max_kbps)
  }

  /** What is said at `now_ms`, a second after the last time. */
  tick(now_ms: number): Said[] {
    this.#said = []
    if (!this.#spoke) this.#say('client', { kind: 'session', state: 'connecting', started_at_ms: this.#began_ms })
    this.#spoke = true
    const first_frame_ms = this.#began_ms + this.#startup_ms
    if (!this.#streaming && now_ms >= first_frame_ms + FIRST_SPAN_MIN_MS) this.#firstFrame(first_frame_ms)
    const due = now_ms >= this.#end.at_ms
    const gone = due && this.#end.reason === 'client_crash'
    if (this.#streaming && !gone) this.#span(now_ms, due)
    if (due && !this.#ended) this.#finish(now_ms, this.#end.reason)
    return this.#said
  }

  #say(source: Source, draft: PlayedDraft): void {
    this.#said.push({ source, draft })
  }

  #firstFrame(at_ms: number): void {
    const { profile, player, target_fps, host_load } = this.#person
    const { trace, controllerOn = ladder => new RateController(ladder) } = this.#terms
    // Each part has chance of its own: what the link does to one bitrate is no other luck for the host's frames.
    const randomOf = (part: number): Random => chance(mixSeed(this.#seed, part))
    const random = randomOf(0)
    const drawn = pick(
      random,
      this.#material.traces.filter(one => one.kind === this.network),
    )
    this.#streaming = {
      from_ms: at_ms,
      stream: new Stream({
        cadence: new Cadence(this.#material.blocks, target_fps, randomOf(1), host_load),
        link: new Link(trace ?? drawn, profile, between(random, 0, 600_000_000), randomOf(2)),
        controller: controllerOn(this.ladder),
        playout: new Playout(player, profile.base_rtt_us, randomOf(3)),
        base_rtt_us: profile.base_rtt_us,
        random: randomOf(4),
      }),
      frames: new FrameCollector({
        target_fps,
        epoch_ms: at_ms,
        onEvent: draft => this.#say('client', draft),
      }),
    }
    this.#covered_to_ms = at_ms
    this.#say('client', { kind: 'session', state: 'first_frame', started_at_ms: at_ms, startup_ms: this.#startup_ms })
  }

  /** Everything since the last span, as one `frame_times` and one `bitrate` event. */
  #span(now_ms: number, last: boolean): void {
    if (!this.#streaming) return
    const { stream, frames, from_ms } = this.#streaming
    const now_us = (now_ms - from_ms) * 1000
    const span = stream.advance(now_us)
    for (const at_us of span.shown_at_us) frames.present(at_us)
    frames.drop(span.frames_dropped)
    const patient = this.#terms.plays_ms !== undefined
    const gives_up = !last && !patient && frames.openFor(now_us) >= PATIENCE_US
    frames.close(now_us, measures(span, this.#person), last || gives_up)
    this.#say('client', bitrate(span, this.#person, this.#covered_to_ms, now_ms))
    this.#covered_to_ms = now_ms
    if (gives_up) this.#finish(now_ms, 'network')
  }

  /** A client that crashed says nothing any more: its host does. */
  #finish(now_ms: number, end_reason: EndReason): void {
    this.#ended = true
    this.#say(end_reason === 'client_crash' ? 'host' : 'client', {
      kind: 'session',
      state: 'ended',
      started_at_ms: now_ms,
      end_reason,
    })
  }

  #failToStart() {
    const reason: EndReason = this.#random() < 0.5 ? 'timeout' : 'host_failure'
    return { at_ms: this.#began_ms + START_GIVEN_UP_MS, reason }
  }

  #drawEnd(startup_ms: number): { readonly at_ms: number; readonly reason: EndReason } {
    const { plays_ms } = this.#terms
    if (plays_ms !== undefined) return { at_ms: this.#began_ms + startup_ms + plays_ms, reason: 'user_quit' }
    const quit_s = LENGTH_MIN_S + exponential(this.#random, LENGTH_MEAN_S)
    const failure_s = exponential(this.#random, HOST_FAILURE_MEAN_S)
    const crash_s = exponential(this.#random, CLIENT_CRASH_MEAN_S)
    const seconds = Math.min(quit_s, failure_s, crash_s)
    const reason: EndReason =
      seconds === crash_s ? 'client_crash' : seconds === failure_s ? 'host_failure' : 'user_quit'
    return { at_ms: this.#began_ms + startup_ms + seconds * 1000, reason }
  }
}

/** The session that a place in the fleet holds, of all that it will hold. */
export const sessionSeed = (seed: number, place: number, generation: number): number => mixSeed(seed, place, generation)
