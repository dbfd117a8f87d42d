/**
 * Requests made from the document alone: for every parameter what fits, what nearly fits, and what would do harm if anything but a
 * bound parameter carried it.
 */
import fc from 'fast-check'
import { type Document, type Endpoint, endpointsOf, type Parameter, resolved, type Schema } from './document.ts'

export interface FuzzRequest {
  readonly endpoint: Endpoint
  /** Path and query. */
  readonly target: string
  readonly body: string | undefined
  /** With a key that may do everything, or with one that may do nothing here. */
  readonly allowed: boolean
}

type Pair = [string, string]

const HOSTILE = [
  ...["'", '"', '`', '\\', "\\'", ';', '--', '/*', '\0', '\r\n', '\t', ' ', '%', '%%', '{', '}', '$1', '?'],
  ...["' OR 1=1 --", "'; DROP TABLE events_v1; --", "1' UNION ALL SELECT * FROM system.tables --", '1) OR (1=1'],
  ...["x') FORMAT TSV --", "'||(SELECT 1)||'", 'sleep(3)', "url('http://127.0.0.1/')", "file('/etc/passwd')"],
  ...['null', 'undefined', 'NaN', 'Infinity', '-Infinity', 'true', '[]', '{}', '__proto__', 'constructor'],
  ...['0', '-1', '-0', '1e308', '1e-400', '9007199254740993', '18446744073709551616', '0x10', '1_000', '٣', '１'],
  ...['4102444800000', '4102444800001', '0000000000000', '9999999999999', 'now-0s', 'now-999999d', 'now+1h'],
  ...['1970-01-01', '2038-01-19T03:14:08Z', '2100-01-01T00:00:00Z', '2026-02-30T00:00:00Z', '10000-01-01'],
  ...['☃', '\u202e', '\ufeff', 'ÅÄÖ', '𝒳', 'e\u0301', '\ud800', '../../etc/passwd', '..%2f..', '<script>'],
  ...[':', '::', '!', '!:', ',', ',,', 'region:', ':x', '!region:\0', 'session_id:', '{from:UInt32}'],
  ...['a'.repeat(257), 'b'.repeat(3_000), '9'.repeat(400), ','.repeat(300)],
]
const hostile = fc.oneof(fc.constantFrom(...HOSTILE), fc.string({ unit: 'binary', maxLength: 40 }), fc.string())

const UNKNOWN_NAMES = [
  'debug',
  'sql',
  'from[]',
  'FROM',
  '',
  'filter[0]',
  '__proto__',
  'constructor',
  'format',
  'settings',
]

/** Every word that the document itself knows, of any parameter or answer. */
function vocabularyOf(node: unknown): string[] {
  if (Array.isArray(node)) return node.flatMap(vocabularyOf)
  if (typeof node !== 'object' || node === null) return []
  const said = ['enum', 'example', 'default'].flatMap(name => [Reflect.get(node, name)].flat())
  const own = said.filter(word => typeof word === 'string')
  return [...new Set([...own, ...Object.values(node).flatMap(vocabularyOf)])]
}

export function requests(document: Document, words: readonly string[]): fc.Arbitrary<FuzzRequest> {
  // What is erased is gone for everybody's requests: one of the known sessions is there for that.
  const knownTo = ({ method }: Endpoint): readonly string[] => (method === 'DELETE' ? words.slice(0, 1) : words)
  return fc.oneof(...endpointsOf(document).map(endpoint => requestsTo(document, endpoint, knownTo(endpoint))))
}

const UUID = /^[0-9a-f]{8}-/

function requestsTo(document: Document, endpoint: Endpoint, words: readonly string[]): fc.Arbitrary<FuzzRequest> {
  const vocabulary = fc.constantFrom(...vocabularyOf(document), ...words)
  const composed = fc.oneof(
    vocabulary,
    fc.tuple(vocabulary, vocabulary, fc.constantFrom(',', ':', '>', '<', '=')).map(([a, b, sign]) => a + sign + b),
    fc.tuple(fc.nat(5_000), fc.constantFrom('s', 'm', 'h', 'd')).map(([count, unit]) => `now-${count}${unit}`),
    fc.tuple(fc.nat(400), fc.constantFrom('0s', 'm', 'h', 'd')).map(([count, unit]) => `${count}${unit}`),
    fc.date({ noInvalidDate: true, min: new Date(0), max: new Date('2099-01-01') }).map(date => date.toISOString()),
    fc.uuid(),
  )

  /** Text that fits the schema of a parameter, as far as the schema says. `well`: nothing that may not. */
  const fitting = (given: Schema, well: boolean): fc.Arbitrary<string | string[]> => {
    const schema = resolved(document, given)
    const examples = [schema.example, schema.default, ...(schema.enum ?? [])]
      .flat()
      .filter(value => value !== undefined)
    const own = examples.length > 0 ? [{ arbitrary: fc.constantFrom(...examples.map(String)), weight: 5 }] : []
    if (schema.type === 'array')
      return fc.array(well ? fc.oneof(...own) : fc.oneof(...own, { arbitrary: composed, weight: 1 }), { maxLength: 4 })
    if (schema.type === 'integer' || schema.type === 'number') {
      const { minimum: min = 0, maximum: max = 100_000 } = schema
      return fc.integer({ min: Math.ceil(min), max: Math.floor(max) }).map(String)
    }
    if (schema.type === 'boolean') return fc.constantFrom('true', 'false')
    const known = schema.format === 'uuid' ? words.filter(word => UUID.test(word)) : own.length > 0 ? [] : words
    const some = known.length > 0 ? [{ arbitrary: fc.constantFrom(...known), weight: 3 }] : []
    return well ? fc.oneof(...own, ...some) : fc.oneof(...own, ...some, { arbitrary: composed, weight: 2 })
  }

  const json = (given: Schema, depth = 0): fc.Arbitrary<unknown> => {
    const schema = resolved(document, given)
    const choices = schema.anyOf ?? schema.oneOf
    const wild = fc.oneof(
      hostile,
      fc.double(),
      fc.constantFrom(null, true, [], {}, -1, 2 ** 60),
      fc.jsonValue({ maxDepth: 2 }),
    )
    const fits = (): fc.Arbitrary<unknown> => {
      if (choices && choices.length > 0) return fc.oneof(...choices.map(one => json(one, depth)))
      if (schema.enum) return fc.constantFrom(...schema.enum)
      if (schema.const !== undefined) return fc.constant(schema.const)
      const type = [schema.type].flat()[0]
      if (type === 'object' && depth < 5) {
        const properties: Record<string, fc.Arbitrary<unknown>> = Object.fromEntries(
          Object.entries(schema.properties ?? {}).map(([name, one]) => [name, json(one, depth + 1)]),
        )
        return fc.record(properties, { requiredKeys: [...(schema.required ?? [])] })
      }
      if (type === 'array' && depth < 5) return fc.array(json(schema.items ?? {}, depth + 1), { maxLength: 5 })
      if (type === 'integer' || type === 'number')
        return fc.integer({ min: Math.ceil(schema.minimum ?? -10), max: Math.floor(schema.maximum ?? 1_000_000) })
      if (type === 'boolean') return fc.boolean()
      return fitting(schema, false)
    }
    return fc.oneof({ arbitrary: fits(), weight: 30 }, { arbitrary: wild, weight: 1 })
  }

  const pairs = ({ name, schema, required }: Parameter, well: boolean): fc.Arbitrary<Pair[]> => {
    const said = (value: string | string[]): Pair[] => [value].flat().map((one): Pair => [name, one])
    if (well)
      return required
        ? fitting(schema, true).map(said)
        : fc.oneof(
            { arbitrary: fitting(schema, true).map(said), weight: 1 },
            { arbitrary: fc.constant<Pair[]>([]), weight: 3 },
          )
    return fc.oneof(
      { arbitrary: fitting(schema, false).map(said), weight: required ? 30 : 12 },
      { arbitrary: fc.constant<Pair[]>([]), weight: required ? 1 : 25 },
      { arbitrary: hostile.map(said), weight: 2 },
      { arbitrary: fc.array(fc.oneof(hostile, composed), { minLength: 2, maxLength: 60 }).map(said), weight: 1 },
    )
  }
  const unknown = fc.oneof(
    { arbitrary: fc.constant<Pair[]>([]), weight: 20 },
    { arbitrary: fc.tuple(fc.constantFrom(...UNKNOWN_NAMES), hostile).map((pair): Pair[] => [pair]), weight: 1 },
  )
  /** What no client of ours would send. */
  const tail = fc.oneof(
    { arbitrary: fc.constant(''), weight: 40 },
    fc.constantFrom('&%zz', '&from=%', '&%00=%ff', '&&=&', '#x'),
  )

  const requestOf = (well: boolean): fc.Arbitrary<FuzzRequest> => {
    const { parameters = [], requestBody } = endpoint.operation
    const path = fc
      .tuple(
        ...parameters
          .filter(one => one.in === 'path')
          .map(({ name, schema }) =>
            fc.tuple(
              fc.constant(name),
              well
                ? fitting(schema, true)
                : fc.oneof({ arbitrary: fitting(schema, false), weight: 12 }, { arbitrary: hostile, weight: 1 }),
            ),
          ),
      )
      .map(values =>
        values.reduce((path, [name, value]) => path.replace(`{${name}}`, segment(String(value))), endpoint.path),
      )
    const asked = parameters.filter(one => one.in === 'query').map(one => pairs(one, well))
    const query = fc.tuple(...asked, well ? fc.constant<Pair[]>([]) : unknown).map(all => all.flat())
    const schema = requestBody?.content['application/json']?.schema
    const body: fc.Arbitrary<string | undefined> = schema
      ? fc.oneof(
          { arbitrary: json(schema).map(value => JSON.stringify(value)), weight: 20 },
          fc.constantFrom('', '{', 'null', '[]', '"', '\0', '{"a":'.repeat(500), '9'.repeat(70_000)),
        )
      : fc.constant(undefined)
    const allowed = fc.oneof({ arbitrary: fc.constant(true), weight: 30 }, fc.constant(false))
    return fc
      .record({ path, query, tail: well ? fc.constant('') : tail, body, allowed })
      .map(({ path, query, tail, ...rest }) => {
        const search = new URLSearchParams(query).toString() + tail
        return { endpoint, target: search === '' ? path : `${path}?${search}`, ...rest }
      })
  }
  // Half of them mean well: what is refused at the door shows nothing of what lies behind it.
  return fc.oneof(requestOf(true), requestOf(false))
}

/** Half of a surrogate pair cannot be sent; a dot alone would be another path. */
const segment = (text: string): string => {
  const sent = encodeURIComponent(Buffer.from(text).toString())
  return sent === '' || /^\.+$/.test(sent) ? '%20' : sent
}
