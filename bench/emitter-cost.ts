/**
 * What a frame costs the game: `emitter-cost.ts <frames>`, run with a young generation so large that nothing is collected meanwhile, so
 * that the heap's growth is what was allocated. Our collector and emitter with a sender that drops, against what one would write
 * instead: an object a frame, all of a second as JSON. Prints `{ emitter, naive }`, each in ns and bytes per frame.
 */
import { setImmediate as turn } from 'node:timers/promises'
import { createEmitter } from '../ingest/emit/emitter.ts'
import { FrameCollector } from '../ingest/emit/frames.ts'

const FPS = 60
const FRAME_US = 1e6 / FPS
/** The emitter hands over on the loop's turn, as it would in a game that yields once a frame. */
const SECONDS_PER_TURN = 20
const frames = Number(process.argv[2] ?? 0)
const seconds = Math.ceil(frames / FPS)
const session_id = '00000000-0000-4000-8000-000000000001'
const context = { game: 'game-1', platform: 'windows', client_version: '4.12.1', isp: 'isp-7', region: 'eu-1' }
const collectGarbage = globalThis.gc ?? (() => {})
/** Something must depend on what is sent, or it need not be made. */
let handed_over = 0

async function emitter(): Promise<void> {
  const emitting = createEmitter({
    session_id,
    source: 'client',
    context,
    send: async messages => {
      for (const { value } of messages) handed_over += value.length
    },
  })
  const collector = new FrameCollector({
    target_fps: FPS,
    epoch_ms: Date.now(),
    onEvent: draft => emitting.emit(draft),
  })
  let at_us = 0
  for (let second = 0; second < seconds; second++) {
    for (let frame = 0; frame < FPS; frame++) {
      at_us += FRAME_US + (frame % 7) * 100
      collector.present(at_us)
    }
    collector.close(at_us)
    if (second % SECONDS_PER_TURN === 0) await turn()
  }
  await emitting.close(5_000)
}

async function naive(): Promise<void> {
  let gathered: { t: number; frame_time_us: number }[] = []
  let at_us = 0
  for (let second = 0; second < seconds; second++) {
    for (let frame = 0; frame < FPS; frame++) {
      const frame_time_us = Math.round(FRAME_US + (frame % 7) * 100)
      at_us += frame_time_us
      gathered.push({ t: at_us, frame_time_us })
    }
    handed_over += JSON.stringify({ session_id, ...context, frames: gathered }).length
    gathered = []
    if (second % SECONDS_PER_TURN === 0) await turn()
  }
}

async function cost(act: () => Promise<void>): Promise<{ ns: number; bytes: number }> {
  await act()
  collectGarbage()
  const heap = process.memoryUsage().heapUsed
  const before = process.cpuUsage()
  await act()
  const { user, system } = process.cpuUsage(before)
  const bytes = process.memoryUsage().heapUsed - heap
  return { ns: ((user + system) * 1e3) / (seconds * FPS), bytes: bytes / (seconds * FPS) }
}

const found = { emitter: await cost(emitter), naive: await cost(naive) }
if (handed_over === 0) throw new Error('nothing was handed over')
console.log(JSON.stringify(found))
