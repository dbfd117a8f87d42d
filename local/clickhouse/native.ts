/**
 * Native blocks as they are written to a client that names its protocol version. The engine is a library and writes version 0, whoever
 * asks; from 1 on a block begins with its info, and from 54454 on a byte before each column's data says how it is serialised. Go's
 * client, which Grafana's plugin speaks with, always names its version. Data are passed on as they are: only their lengths are read.
 */
import { Failure } from './failure.ts'

const CUSTOM_SERIALIZATION_FROM = 54_454
/** Field 1, overflows: no; field 2, bucket: -1; no more fields. */
const BLOCK_INFO = Buffer.from([1, 0, 2, 0xff, 0xff, 0xff, 0xff, 0])
const DEFAULT_SERIALIZATION = Buffer.from([0])

const FIXED: ReadonlyMap<string, number> = new Map([
  ...['UInt8', 'Int8', 'Bool', 'Enum8', 'Nothing'].map(name => [name, 1] as const),
  ...['UInt16', 'Int16', 'Date', 'Enum16', 'BFloat16'].map(name => [name, 2] as const),
  ...['UInt32', 'Int32', 'Float32', 'DateTime', 'Date32', 'IPv4', 'Decimal32', 'Time'].map(name => [name, 4] as const),
  ...['UInt64', 'Int64', 'Float64', 'DateTime64', 'Decimal64', 'Time64'].map(name => [name, 8] as const),
  ...['UInt128', 'Int128', 'UUID', 'IPv6', 'Decimal128'].map(name => [name, 16] as const),
  ...['UInt256', 'Int256', 'Decimal256'].map(name => [name, 32] as const),
])
/** Bytes of an index of a LowCardinality column, by the lowest byte of its head. */
const INDEX_BYTES = [1, 2, 4, 8]

interface Type {
  readonly name: string
  readonly inner: readonly Type[]
  /** Of a Decimal or FixedString its first parameter. */
  readonly size: number
}

/** Where the arguments of a type are divided: at commas outside brackets and quotes. */
function split(text: string): string[] {
  const parts: string[] = []
  let depth = 0
  let begin = 0
  for (const { 0: found, index } of text.matchAll(/'(?:[^'\\]|\\.)*'|`(?:[^`\\]|\\.)*`|[(),]/g)) {
    if (found === '(') depth++
    else if (found === ')') depth--
    else if (found === ',' && depth === 0) {
      parts.push(text.slice(begin, index))
      begin = index + 1
    }
  }
  return [...parts, text.slice(begin)].map(part => part.trim())
}

const NESTING = ['Array', 'Tuple', 'Map', 'Nullable', 'LowCardinality']

function typeOf(text: string): Type {
  const [, name = text, parameters] = /^(\w+)\((.*)\)$/s.exec(text) ?? []
  const parts = parameters === undefined ? [] : split(parameters)
  if (name === 'SimpleAggregateFunction') return typeOf(parts[1] ?? '')
  if (name === 'Decimal') return { name: `Decimal${decimalBits(Number(parts[0]))}`, inner: [], size: 0 }
  // An element of a tuple may have a name.
  const types = parts.map(part => (name === 'Tuple' ? part.replace(/^(?:`(?:[^`\\]|\\.)*`|\w+)\s+(?=\w)/, '') : part))
  return { name, inner: NESTING.includes(name) ? types.map(typeOf) : [], size: Number(parts[0] ?? 0) }
}

const decimalBits = (digits: number): number => 32 * 2 ** [9, 18, 38, 76].findIndex(most => digits <= most)

class Reader {
  readonly bytes: Buffer
  at = 0

  constructor(bytes: Buffer) {
    this.bytes = bytes
  }

  skip(bytes: number): void {
    this.at += bytes
  }

  varint(): number {
    let value = 0
    for (let scale = 1; ; scale *= 128) {
      const byte = this.bytes.readUInt8(this.at++)
      value += (byte & 0x7f) * scale
      if (byte < 0x80) return value
    }
  }

  text(): string {
    const length = this.varint()
    this.at += length
    return this.bytes.toString('utf8', this.at - length, this.at)
  }

  uint64(): number {
    this.at += 8
    return Number(this.bytes.readBigUInt64LE(this.at - 8))
  }
}

/** What comes once, before all data, wherever a LowCardinality is inside. */
function skipPrefix(reader: Reader, { name, inner }: Type): void {
  if (name === 'LowCardinality') reader.at += 8
  else for (const one of inner) skipPrefix(reader, one)
}

function skipData(reader: Reader, type: Type, rows: number): void {
  const { name, inner, size } = type
  const [first, second] = inner
  const fixed = FIXED.get(name)
  if (fixed !== undefined) reader.at += fixed * rows
  else if (name === 'String') for (let i = 0; i < rows; i++) reader.skip(reader.varint())
  else if (name === 'FixedString') reader.at += size * rows
  else if (name === 'Nullable' && first) {
    reader.at += rows
    skipData(reader, first, rows)
  } else if (name === 'Tuple') for (const one of inner) skipData(reader, one, rows)
  else if ((name === 'Array' || name === 'Map') && first) {
    const total = rows === 0 ? 0 : lastOffset(reader, rows)
    for (const one of name === 'Map' && second ? [first, second] : [first]) skipData(reader, one, total)
  } else if (name === 'LowCardinality' && first) {
    if (rows > 0) skipLowCardinality(reader, first)
  } else throw Failure.of(48, `Native for a client of version ${CUSTOM_SERIALIZATION_FROM} with a column of ${name}`)
}

function lastOffset(reader: Reader, rows: number): number {
  reader.at += 8 * (rows - 1)
  return reader.uint64()
}

function skipLowCardinality(reader: Reader, dictionary: Type): void {
  const bytes = INDEX_BYTES[reader.uint64() & 0xff] ?? 8
  const [nullable] = dictionary.name === 'Nullable' ? dictionary.inner : []
  skipData(reader, nullable ?? dictionary, reader.uint64())
  reader.skip(bytes * reader.uint64())
}

/**
 * @param bytes blocks of version 0
 * @throws Failure 48 for a column of a type whose length is not known here
 */
export function nativeForVersion(bytes: Uint8Array, version: number): Uint8Array {
  if (version === 0) return bytes
  const reader = new Reader(Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength))
  const parts: Uint8Array[] = []
  while (reader.at < reader.bytes.length) {
    parts.push(BLOCK_INFO)
    let begin = reader.at
    const columns = reader.varint()
    const rows = reader.varint()
    for (let i = 0; i < columns; i++) {
      reader.text()
      const type = typeOf(reader.text())
      if (version >= CUSTOM_SERIALIZATION_FROM) {
        parts.push(reader.bytes.subarray(begin, reader.at), DEFAULT_SERIALIZATION)
        begin = reader.at
      }
      if (rows === 0) continue
      skipPrefix(reader, type)
      skipData(reader, type, rows)
    }
    parts.push(reader.bytes.subarray(begin, reader.at))
  }
  return Buffer.concat(parts)
}
