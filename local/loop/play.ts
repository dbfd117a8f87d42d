/**
 * `npm run demo -- --abr`: the closed loop for real. Sessions over half of the traces are told as of two hours ago, so that there are priors; then the
 * same people play over the other half in three arms at once, through Kafka, the ingester and the API, and what became of it is printed:
 * as their players saw it, and as the ledger has it. Bandwidth, players and frames are simulated; everything else is the service.
 */
import { readFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'
import { z } from 'zod'
import { createKafkaSender, type KafkaSender } from '../../ingest/emit/kafka.ts'
import { type AbrClient, createAbrClient } from '../../query/abr-client/client.ts'
import { readMaterial } from '../fleet/fleet.ts'
import type { Material } from '../fleet/session.ts'
import { type Api, ask, table } from '../fleet/summary.ts'
import type { Service } from '../service.ts'
import { FIXED, LOCAL } from './arms.ts'
import { report } from './compare.ts'
import type { Outcome } from './outcome.ts'
import { type LiveArm, Player } from './player.ts'
import { fleetOver, playsOver, strataOf, tracesOf } from './scenario.ts'
import { simulate } from './simulate.ts'

export interface LoopOptions {
  readonly service: Pick<Service, 'config' | 'api_url' | 'key_file'>
  /** Of all three arms together. */
  readonly sessions: number
  readonly seed: number
  readonly for_ms: number
  readonly signal: AbortSignal
  readonly say: (text: string) => void
}

const ARMS: readonly LiveArm[] = [
  { ...FIXED, policy: 'fixed', supervised: false },
  { ...LOCAL, policy: 'local', supervised: false },
  { ...LOCAL, name: `${LOCAL.name}, supervised`, policy: 'supervised', supervised: true },
]
const [, AGAINST, MINE] = ARMS.map(({ name }) => name)

const HISTORY = { people: 600, plays_ms: 60_000 }
const TOLD_BEFORE_MS = 2 * 3_600_000
/** Cells, hours, sessions, and then the API reads once a minute. */
const PRIORS_WITHIN_MS = 400_000
const LOOK_EVERY_MS = 2_000
const STEP_MS = 20
const LINE_EVERY_MS = 10_000
const GOODBYE_MS = 10_000
/** What a decision did is known ten seconds later, and stored and answered some after that. */
const JUDGED_AFTER_MS = 20_000

/** @returns false if a caller was not told what to do, or the ledger says nothing */
export async function playLoop({ service, sessions, seed, for_ms, signal, say }: LoopOptions): Promise<boolean> {
  const { brokers, KAFKA_TOPIC: topic } = service.config
  const api = { url: service.api_url, key: readFileSync(service.key_file, 'utf8').trim() }
  const material = readMaterial()
  const sender = createKafkaSender({ brokers, topic, client_id: 'stream-quality-loop' })
  const abr = createAbrClient(api)
  try {
    await sender.connect()
    const told = await tellHistory(material, sender, seed)
    say(
      `a simulation: ${told} sessions of two hours ago are told; waiting until the API knows what they sustained, ${Math.ceil(PRIORS_WITHIN_MS / 60_000)} minutes at most`,
    )
    if (!(await priorsAreThere(abr, signal))) say('it does not, in time: sessions begin without')
    const began_ms = Date.now()
    const people = Math.max(1, Math.round(sessions / ARMS.length / tracesOf(material, 'report').length))
    const plays = [...playsOver(material, tracesOf(material, 'report'), { seed, per_trace: people, plays_ms: for_ms })]
    const parts = { material, sender, abr }
    const players = plays.flatMap(play => ARMS.map(arm => new Player({ ...parts, arm, play }, began_ms)))
    say(`${plays.length} people play for ${for_ms / 1_000} s in each of ${ARMS.length} arms, in real time`)
    await playAll(players, began_ms, signal, say)
    await Promise.all(players.map(player => player.close(GOODBYE_MS)))
    if (signal.aborted) return true
    say(tableOf(players, material))
    say('what the ledger says of the decisions (too high: stutter or freeze within 10 s; too low: headroom unused):')
    await sleep(JUDGED_AFTER_MS, undefined, { signal }).catch(() => {})
    const regrets = await regretOf(api, began_ms)
    say(regrets.text)
    say(`the supervised ones moved for these reasons: ${reasonsOf(players)}`)
    const asked = players.reduce((sum, { answered, unanswered }) => sum + answered + unanswered, 0)
    const unanswered = players.reduce((sum, { unanswered }) => sum + unanswered, 0)
    say(
      `${asked} questions to the API, ${unanswered} of them answered from what was known, since the API took too long`,
    )
    return regrets.policies === ARMS.length
  } finally {
    await abr.close()
    await sender.disconnect()
  }
}

/** All at once: sessions are settled when they are first heard of, and then not again for minutes. */
async function tellHistory(material: Material, sender: KafkaSender, seed: number): Promise<number> {
  const plays = fleetOver(material, tracesOf(material, 'development'), { ...HISTORY, seed: seed + 1 })
  const played = [...plays].map(play => simulate(material, LOCAL, play).events)
  const shift_ms = Date.now() - TOLD_BEFORE_MS
  const sent_at_ms = Date.now()
  await Promise.all(
    played.map(events =>
      sender.sendRaw(
        events.map(event => ({
          key: event.session_id,
          value: JSON.stringify({ ...event, started_at_ms: event.started_at_ms + shift_ms, sent_at_ms }),
        })),
      ),
    ),
  )
  return played.length
}

async function priorsAreThere(abr: AbrClient, signal: AbortSignal): Promise<boolean> {
  const until = Date.now() + PRIORS_WITHIN_MS
  while (Date.now() < until && !signal.aborted) {
    const { prior } = await abr.start({ context: { access: 'wifi' } })
    if (prior?.level === 'access' && prior.start_bitrate_kbps !== null) return true
    await sleep(LOOK_EVERY_MS, undefined, { signal }).catch(() => {})
  }
  return false
}

/** Each once a second, at a moment of its own. */
async function playAll(
  players: readonly Player[],
  began_ms: number,
  signal: AbortSignal,
  say: (text: string) => void,
): Promise<void> {
  const next_ms = players.map((_, i) => began_ms + Math.floor((1_000 * (i + 0.5)) / players.length))
  for (let line_at = began_ms + LINE_EVERY_MS; !signal.aborted && players.some(({ ended }) => !ended); ) {
    const now = Date.now()
    for (const [i, player] of players.entries())
      for (let due = next_ms[i] ?? now; due <= now && !player.ended; due = next_ms[i] ?? now) {
        player.second(due)
        next_ms[i] = due + 1_000
      }
    if (now >= line_at) {
      say(`${Math.round((now - began_ms) / 1_000)} s: ${players.filter(({ ended }) => !ended).length} sessions play`)
      line_at += LINE_EVERY_MS
    }
    await sleep(STEP_MS)
  }
}

function tableOf(players: readonly Player[], material: Material): string {
  const traces = tracesOf(material, 'report')
  const arms = new Map<string, Map<string, readonly Outcome[]>>(
    ARMS.map(({ name, policy }) => [
      name,
      new Map(
        traces.map(trace => {
          const of = players.filter(player => player.policy === policy && player.trace === trace.name)
          return [trace.name, of.map(({ account }) => account.outcome)]
        }),
      ),
    ]),
  )
  return `as their players saw it (a simulation; each kind of network counts as in the fleet):

${report(arms, strataOf(material, traces), [AGAINST ?? '', MINE ?? ''])}`
}

function reasonsOf(players: readonly Player[]): string {
  const all = new Map<string, number>()
  for (const { policy, reasons } of players)
    if (policy === 'supervised') for (const [reason, times] of reasons) all.set(reason, (all.get(reason) ?? 0) + times)
  return [...all].map(([reason, times]) => `${reason} ${times}`).join(', ')
}

const regrets = z.array(
  z.object({
    policy: z.string(),
    decisions: z.number(),
    regret: z.record(z.string(), z.number().nullable()),
  }),
)

async function regretOf(api: Api, from_ms: number): Promise<{ readonly text: string; readonly policies: number }> {
  const rows = regrets.parse(await ask(api, '/v1/abr/regret', { from: String(from_ms), to: 'now' }))
  const mine = rows.filter(({ policy }) => ARMS.some(arm => arm.policy === policy))
  const names = Object.keys(mine[0]?.regret ?? {})
  const lines = mine.map(({ policy, decisions, regret }) => [
    policy,
    String(decisions),
    ...names.map(name => regret[name]?.toFixed(2) ?? '–'),
  ])
  return { text: table([['policy', 'decisions', ...names], ...lines]), policies: mine.length }
}
