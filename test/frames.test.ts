/** From presents to `frame_times` events: whole seconds, nothing lost between them, and within the contract whatever the presents. */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FRAME_TIME_MAX_US, FRAMES_MAX } from '../ingest/contract/events.ts'
import { createEmitter, type EventDraft } from '../ingest/emit/emitter.ts'
import { FrameCollector, type FrameTimesDraft } from '../ingest/emit/frames.ts'

const START = 1_795_000_000_000
const SESSION = '0f8fad5b-d9cb-469f-a165-70867728950e'

describe('frames', () => {
  function collector() {
    const events: FrameTimesDraft[] = []
    return {
      events,
      frames: new FrameCollector({ target_fps: 60, epoch_ms: START, onEvent: event => events.push(event) }),
    }
  }

  test('an interval belongs to the event in which it ends, and each event starts where the one before ended', () => {
    const { frames, events } = collector()
    for (const at_us of [0, 16_000, 33_000]) frames.present(at_us)
    frames.close(50_000)
    frames.present(66_000)
    frames.close(80_000)
    expect(events).toMatchObject([
      { started_at_ms: START, frame_time_us: [16_000, 17_000], open_frame_us: 17_000 },
      { started_at_ms: START + 33, frame_time_us: [33_000], open_frame_us: 14_000 },
    ])
  })

  test('a freeze in progress is said every second and counted once, when it ends', () => {
    const { frames, events } = collector()
    frames.present(0)
    frames.close(1_000_000)
    frames.close(2_000_000)
    frames.present(2_500_000)
    frames.close(3_000_000)
    expect(events.map(({ frame_time_us, open_frame_us }) => [frame_time_us, open_frame_us])).toEqual([
      [[], 1_000_000],
      [[], 2_000_000],
      [[2_500_000], 500_000],
    ])
  })

  test('nothing is said before the first frame', () => {
    const { frames, events } = collector()
    frames.close(1_000_000)
    expect(events).toEqual([])
  })

  test('an event that was paused at any time says so, and so do those until it is resumed', () => {
    const { frames, events } = collector()
    frames.present(0)
    frames.pause(true)
    frames.close(1_000_000)
    frames.pause(false)
    frames.close(2_000_000)
    frames.close(3_000_000)
    expect(events.map(({ paused }) => paused)).toEqual([true, true, undefined])
  })

  test('any presents make events of the contract whose intervals add up to the time between first and last', () => {
    fc.assert(
      fc.property(
        fc.array(
          fc.oneof(
            { weight: 50, arbitrary: fc.integer({ min: -50, max: 40_000 }) },
            fc.integer({ min: 0, max: 90_000_000 }),
          ),
          {
            maxLength: 3 * FRAMES_MAX,
          },
        ),
        gaps => {
          const { frames, events } = collector()
          let now_us = 0
          let last_us = 0
          let cut_us = 0
          frames.present(0)
          for (const gap of gaps) {
            now_us += gap
            frames.present(now_us)
            cut_us += Math.max(0, now_us - last_us - FRAME_TIME_MAX_US)
            last_us = Math.max(last_us, now_us)
          }
          frames.close(last_us)
          const sum = events
            .flatMap(({ frame_time_us }) => frame_time_us)
            .reduce((total, interval) => total + interval, 0)
          expect(sum).toBe(last_us - cut_us)
          for (const event of events) expect(checkDraft(event)).toBeUndefined()
        },
      ),
      { numRuns: 60 },
    )
  })
})

const checkDraft = (draft: EventDraft) =>
  createEmitter({ session_id: SESSION, source: 'client', context: {}, send: async () => {} }).emit(draft)
