/**
 * One session of an arm in real time: the same session, link and controller as in `simulate.ts`, but what it says goes through Kafka, and
 * if it is supervised, what it should do is asked of the API and what it does is said to the ledger. Call `second` once a second.
 */
import type { Context, QualityEvent } from '../../ingest/contract/events.ts'
import { createEmitter, type Emitter } from '../../ingest/emit/emitter.ts'
import type { KafkaSender } from '../../ingest/emit/kafka.ts'
import type { AbrClient } from '../../query/abr-client/client.ts'
import { chance } from '../../query/statistics/weights.ts'
import type { Controller } from '../fleet/controller.ts'
import { drawUuid, mixSeed } from '../fleet/random.ts'
import { type Material, Session } from '../fleet/session.ts'
import { Account } from './outcome.ts'
import { type Arm, eventOf, type Play } from './simulate.ts'
import { ladderOf, Supervision } from './supervision.ts'

export interface LiveArm extends Arm {
  /** By which the ledger and every metric know it. */
  readonly policy: string
  readonly supervised: boolean
}

export interface PlayerParts {
  readonly material: Material
  readonly arm: LiveArm
  readonly play: Play
  readonly sender: Pick<KafkaSender, 'send'>
  readonly abr: AbrClient
}

const POLICY_VERSION = '1'

export class Player {
  readonly account = new Account()
  readonly trace: string
  readonly policy: string
  /** Why it moved, and how often. */
  readonly reasons = new Map<string, number>()
  /** Answers that were not the API's own. */
  unanswered = 0
  answered = 0
  readonly #session: Session
  readonly #id: string
  readonly #context: Context
  readonly #emitter: Emitter
  readonly #abr: AbrClient
  readonly #arm: LiveArm
  #controller: Controller | undefined
  #supervision: Supervision | undefined
  #start_kbps: number | undefined
  #told_rung: string | undefined
  #seq = 0
  readonly #began_ms: number

  constructor({ material, arm, play, sender, abr }: PlayerParts, began_ms: number) {
    this.trace = play.trace.name
    this.policy = arm.policy
    this.#arm = arm
    this.#abr = abr
    this.#began_ms = began_ms
    this.#session = new Session(play.seed, began_ms, material, {
      ...{ trace: play.trace, plays_ms: play.plays_ms },
      controllerOn: rungs => this.#begin(arm.controllerOn(rungs, this.#start_kbps)),
    })
    // The same person plays in every arm, at once: as another session.
    this.#id = drawUuid(chance(mixSeed(play.seed, began_ms, ...Buffer.from(arm.policy))))
    this.#context = { ...this.#session.context, experiment: `abr-${arm.policy}` }
    this.#emitter = createEmitter({ session_id: this.#id, source: 'client', context: this.#context, send: sender.send })
    if (arm.supervised) void this.#askWhereToBegin()
  }

  get ended(): boolean {
    return this.#session.ended
  }

  second(now_ms: number): void {
    const said = this.#session.tick(now_ms)
    const events: QualityEvent[] = []
    for (const { source, draft } of said) {
      this.#emitter.emit(draft)
      events.push(eventOf(this.#session, source, this.#seq++, draft, now_ms))
    }
    this.account.hear(events, now_ms - 1_000 - this.#began_ms - this.#session.startup_ms)
    if (!this.#controller || this.ended) return
    if (this.#supervision) void this.#heed(this.#supervision)
    else this.#tell(this.#controller.rung.name, this.#controller.rung.kbps, 'local', null)
  }

  close(deadline_ms: number): Promise<number> {
    this.#abr.forget(this.#id)
    return this.#emitter.close(deadline_ms)
  }

  /** While it connects: there is a second or two. */
  async #askWhereToBegin(): Promise<void> {
    const { recommendation, problem } = await this.#abr.start({
      context: this.#context,
      ladder: ladderOf(this.#session.ladder),
    })
    this.#note(problem)
    this.#start_kbps ??= recommendation.target_bitrate_kbps
  }

  #begin(controller: Controller): Controller {
    this.#controller = controller
    const start_kbps = this.#start_kbps ?? controller.rung.kbps
    if (!this.#arm.supervised) return controller
    const start = { rung: controller.rung.name, target_bitrate_kbps: start_kbps }
    this.#supervision = new Supervision(ladderOf(this.#session.ladder), start, Date.now())
    const { rung } = this.#supervision.standing(Date.now())
    this.#tell(rung, this.#supervision.start_kbps, 'cold_start', null)
    return this.#supervision.over(controller)
  }

  async #heed(supervision: Supervision): Promise<void> {
    const asking = { context: this.#context, ladder: ladderOf(this.#session.ladder) }
    const { recommendation, problem, as_of } = await this.#abr.session(
      this.#id,
      supervision.standing(Date.now()),
      asking,
    )
    this.#note(problem)
    const moved = supervision.heed(recommendation, Date.now())
    if (moved) this.#tell(moved.to.name, moved.to.bitrate_kbps, recommendation.reason, as_of)
  }

  #note(problem: string | undefined): void {
    if (problem === undefined) this.answered++
    else this.unanswered++
  }

  /** Says to the ledger where it is now, if it was elsewhere. */
  #tell(to_rung: string, target_bitrate_kbps: number, reason: string, as_of: string | null): void {
    const from_rung = this.#told_rung
    if (to_rung === from_rung) return
    this.#told_rung = to_rung
    this.reasons.set(reason, (this.reasons.get(reason) ?? 0) + 1)
    this.#abr.decided({
      ...{ session_id: this.#id, policy: this.policy, policy_version: POLICY_VERSION },
      ...(from_rung === undefined ? {} : { from_rung }),
      ...{ to_rung, target_bitrate_kbps, reason, as_of },
    })
  }
}
