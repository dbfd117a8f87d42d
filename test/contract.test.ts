/**
 * The contract: what is accepted, what is refused and why. zod is the definition, ajv's compiled checkers are what runs: one verdict.
 */
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { check, checkParsed } from '../ingest/contract/check.ts'
import { CLOCK_STEP_MS, checkTime, checkUnit, clockShift } from '../ingest/contract/clock.ts'
import { CONTEXT_FIELDS, EVENT_SCHEMAS, type Kind } from '../ingest/contract/events.ts'
import { MESSAGE_MAX_BYTES, REASONS, type Reason } from '../ingest/contract/refusal.ts'

const SESSION = '0f8fad5b-d9cb-469f-a165-70867728950e'
const envelope = {
  v: 1,
  session_id: SESSION,
  source: 'client',
  seq: 0,
  started_at_ms: 1_795_000_000_000,
  sent_at_ms: 1_795_000_001_000,
  context: {},
}
const frames = { ...envelope, kind: 'frame_times', target_fps: 60, frame_time_us: [16_667, 16_666] }
const bitrate = { ...envelope, kind: 'bitrate', interval_ms: 1_000, bitrate_kbps: 15_000 }
const session = { ...envelope, kind: 'session', state: 'connecting' }
const decision = {
  ...envelope,
  kind: 'abr_decision',
  source: 'controller',
  decision_id: SESSION,
  policy: 'aimd',
  policy_version: '3',
  to_rung: '720p60-5m',
  target_bitrate_kbps: 5_000,
}

const bytes = (value: unknown): Buffer => Buffer.from(JSON.stringify(value))
const reasonOf = (value: Buffer | null): Reason | undefined => check(value).refusal?.reason

describe('an event is accepted', () => {
  test.each([frames, bitrate, session, decision])('when its kind is $kind and it says only what is required', event => {
    expect(check(bytes(event))).toEqual({ event, extensions: 0 })
  })

  test('whatever was learnt of its context before', () => {
    const withContext = { ...frames, context: { game: 'a', isp: 'b}c', country: '“DE”' } }
    for (let i = 0; i < 3; i++) expect(check(bytes(withContext)).event).toEqual(withContext)
  })

  test('and its ext_ fields are ignored and counted, in the event and in its context', () => {
    const newer = { ...frames, ext_hdr: { deep: [1] }, context: { game: 'a', ext_colour: 1 } }
    expect(check(bytes(newer))).toEqual({ event: { ...frames, context: { game: 'a' } }, extensions: 2 })
  })
})

describe('a message is refused', () => {
  const cases: readonly (readonly [name: string, value: Buffer | null, reason: Reason, path?: string])[] = [
    ['without a value', null, 'tombstone'],
    ['empty', Buffer.alloc(0), 'not_json'],
    ['truncated', Buffer.from(JSON.stringify(frames).slice(0, -5)), 'not_json'],
    ['not UTF-8', Buffer.from([0x7b, 0x22, 0xff, 0x22, 0x3a, 0x31, 0x7d]), 'not_json'],
    ['beginning with a byte order mark', Buffer.concat([Buffer.from([0xef, 0xbb, 0xbf]), bytes(frames)]), 'not_json'],
    ['of NUL bytes', Buffer.alloc(100), 'not_json'],
    ['an array', Buffer.from('[]'), 'not_an_object'],
    ['a string', Buffer.from('"x"'), 'not_an_object'],
    ['null', Buffer.from('null'), 'not_an_object'],
    ['nested ten thousand deep', Buffer.from('['.repeat(10_000) + ']'.repeat(10_000)), 'not_an_object'],
    ['nested too deep to parse', Buffer.from('['.repeat(120_000)), 'not_json'],
    ['larger than allowed', Buffer.alloc(MESSAGE_MAX_BYTES + 1, 0x20), 'too_large'],
    ['of another version', bytes({ ...frames, v: 2 }), 'unknown_version'],
    ['of a version that is text', bytes({ ...frames, v: '1' }), 'unknown_version'],
    ['of another kind', bytes({ ...frames, kind: 'frames' }), 'unknown_kind'],
    ['of a kind named like an object method', bytes({ ...frames, kind: 'toString' }), 'unknown_kind'],
    ['with an unknown field', bytes({ ...frames, fps: 60 }), 'bad_shape', 'fps'],
    ['with an unknown context field', bytes({ ...frames, context: { city: 'x' } }), 'bad_shape', 'context.city'],
    [
      'with __proto__',
      Buffer.from(JSON.stringify(frames).replace('{', '{"__proto__":{"a":1},')),
      'bad_shape',
      '__proto__',
    ],
    [
      'with __proto__ in its context',
      Buffer.from(JSON.stringify(frames).replace('"context":{}', '"context":{"__proto__":{}}')),
      'bad_shape',
      'context.__proto__',
    ],
    ['without its session', bytes({ ...frames, session_id: undefined }), 'bad_shape', 'session_id'],
    [
      'with an upper-case session id',
      bytes({ ...frames, session_id: SESSION.toUpperCase() }),
      'bad_shape',
      'session_id',
    ],
    ['with -1 in an unsigned field', bytes({ ...bitrate, bitrate_kbps: -1 }), 'bad_shape', 'bitrate_kbps'],
    ['with 1e40', Buffer.from(JSON.stringify(bitrate).replace('15000', '1e40')), 'bad_shape', 'bitrate_kbps'],
    [
      'with an integer above 2^53',
      Buffer.from(JSON.stringify(bitrate).replace('15000', '9007199254740993')),
      'bad_shape',
      'bitrate_kbps',
    ],
    ['with a fraction', bytes({ ...frames, frame_time_us: [16_666.5] }), 'bad_shape', 'frame_time_us.0'],
    ['with a frame time of 0', bytes({ ...frames, frame_time_us: [1, 0] }), 'bad_shape', 'frame_time_us.1'],
    ['with 2,049 frames', bytes({ ...frames, frame_time_us: new Array(2_049).fill(1) }), 'bad_shape', 'frame_time_us'],
    [
      'with a control character in its context',
      bytes({ ...frames, context: { isp: 'a\u0000b' } }),
      'bad_shape',
      'context.isp',
    ],
    ['with an empty context value', bytes({ ...frames, context: { isp: '' } }), 'bad_shape', 'context.isp'],
    ['that decides without being a controller', bytes({ ...decision, source: 'client' }), 'bad_shape', 'source'],
    ['of a policy with a colon', bytes({ ...decision, policy: 'a:b' }), 'bad_shape', 'policy'],
    ['of a decision without its id', bytes({ ...decision, decision_id: undefined }), 'bad_shape', 'decision_id'],
    ['with a null where a number may be absent', bytes({ ...bitrate, rtt_us: null }), 'bad_shape', 'rtt_us'],
  ]

  test.each(cases.map(([name, value, reason, path]) => ({ name, value, reason, path })))(
    '$name',
    ({ value, reason, path }) => {
      const { refusal } = check(value)
      expect(refusal?.reason).toBe(reason)
      if (path) expect(refusal?.detail).toMatch(new RegExp(`^${path.replaceAll('.', '\\.')}: `))
    },
  )

  test('without its value appearing in the reason', () => {
    const secret = 'player-name-in-a-field'
    expect(check(bytes({ ...frames, target_fps: secret })).refusal?.detail).not.toContain(secret)
  })

  test('for every reason there is, one case', () => {
    const shown = new Set([...cases.map(([, , reason]) => reason), 'too_old', 'from_future'])
    expect([...shown].sort()).toEqual([...REASONS].sort())
  })
})

describe('zod and the compiled checker give the same verdict', () => {
  const label = fc.oneof(
    fc.string({ minLength: 0, maxLength: 70 }),
    fc.constantFrom('wifi', 'x', 'ä', '\u202e', '}', '","'),
  )
  const number = fc.oneof(
    fc.nat(70_000),
    fc.constantFrom(
      -1,
      0,
      0.5,
      2 ** 32,
      2 ** 32 - 1,
      2 ** 53,
      1e40,
      10,
      480,
      481,
      60_000_000,
      60_000_001,
      1_795_000_000_000,
    ),
  )
  const anything = fc.oneof(
    number,
    label,
    fc.boolean(),
    fc.constant(null),
    fc.array(number, { maxLength: 3 }),
    fc.object({ maxDepth: 1 }),
  )
  const mutate = fc.record({
    field: fc.nat(40),
    value: anything,
    remove: fc.boolean(),
    extra: fc.option(label),
    context: fc.dictionary(fc.constantFrom(...CONTEXT_FIELDS, 'city'), label, { maxKeys: 3 }),
  })

  test.each(Object.keys(EVENT_SCHEMAS) as Kind[])('on generated %s events, good and bad', kind => {
    const schema = EVENT_SCHEMAS[kind]
    const fields = Object.keys(schema.shape).filter(field => field !== 'kind' && field !== 'v')
    const base = { frame_times: frames, bitrate, session, abr_decision: decision }[kind]
    let good = 0
    let bad = 0
    fc.assert(
      fc.property(mutate, fc.boolean(), ({ field, value, remove, extra, context }, leave) => {
        const event: Record<string, unknown> = { ...base, context }
        const name = fields[field % fields.length] ?? 'seq'
        if (!leave && remove) delete event[name]
        else if (!leave) event[name] = value
        if (extra !== null && !extra.startsWith('ext_')) event[extra] = 1
        const text = JSON.stringify(event)
        const parsed: unknown = JSON.parse(text)
        const zod = schema.safeParse(parsed)
        const verdict = check(Buffer.from(text))
        expect(verdict.event !== undefined).toBe(zod.success)
        expect(checkParsed(parsed).event !== undefined).toBe(zod.success)
        if (zod.success) {
          good++
          expect(verdict.event).toEqual(zod.data)
        } else {
          bad++
          expect(verdict.refusal?.reason).toBe(event.kind === kind ? 'bad_shape' : 'unknown_kind')
        }
      }),
      { numRuns: 2_000 },
    )
    expect(Math.min(good, bad)).toBeGreaterThan(100)
  })

  test('on any JSON at all, without an exception', () => {
    const refusedByReason = (value: Buffer): boolean => REASONS.some(reason => reason === reasonOf(value))
    fc.assert(
      fc.property(fc.json(), text => refusedByReason(Buffer.from(text))),
      { numRuns: 2_000 },
    )
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), raw => refusedByReason(Buffer.from(raw))),
      { numRuns: 2_000 },
    )
  })

  test('a context text inside another string is not mistaken for the context', () => {
    const learnt = '{"game":"learnt"}'
    check(Buffer.from(JSON.stringify({ ...frames, context: { game: 'learnt' } })))
    const disguised = JSON.stringify({ ext_note: `"context":${learnt}`, ...frames, context: { game: 'true' } })
    expect(check(Buffer.from(disguised)).event?.context).toEqual({ game: 'true' })
    const nested = JSON.stringify({ ext_note: { context: { game: 'learnt' } }, ...frames, context: { game: 'true' } })
    expect(check(Buffer.from(nested)).event?.context).toEqual({ game: 'true' })
    const twice = JSON.stringify({ ...frames, context: { game: 'learnt' } }).replace(
      /}$/,
      ',"context":{"game":"last"}}',
    )
    expect(check(Buffer.from(twice)).event?.context).toEqual({ game: 'last' })
  })
})

describe('the time axis', () => {
  const now = 1_795_000_000_000
  const limits = { too_old_ms: 7 * 86_400_000, from_future_ms: 300_000 }

  test('is the speaker’s own clock as long as that is within five minutes', () => {
    expect(clockShift(now, now + CLOCK_STEP_MS - 1)).toBe(0)
    expect(clockShift(now, now - CLOCK_STEP_MS + 1)).toBe(0)
  })

  test('is moved in steps of five minutes, so a session is never reordered', () => {
    fc.assert(
      fc.property(fc.integer({ min: -1e10, max: 1e10 }), difference => {
        const shift = clockShift(now, now + difference)
        expect(Math.abs(shift % CLOCK_STEP_MS)).toBe(0)
        expect(Math.abs(difference - shift)).toBeLessThan(CLOCK_STEP_MS)
      }),
    )
  })

  test('refuses what began too long ago or in the future, against Kafka’s append time', () => {
    expect(checkTime(now, now, limits)).toBeUndefined()
    expect(checkTime(now - limits.too_old_ms - 1, now, limits)?.reason).toBe('too_old')
    expect(checkTime(now + limits.from_future_ms + 1, now, limits)?.reason).toBe('from_future')
    expect(checkTime(Math.floor(now / 1000), now, limits)?.reason).toBe('too_old')
    expect(checkUnit(Math.floor(now / 1000), now, limits)?.reason).toBe('bad_shape')
    expect(checkUnit(now, now, limits)).toBeUndefined()
    // A clock that begins in 1970 is a wrong clock.
    expect(checkUnit(60_000, now, limits)).toBeUndefined()
  })
})
