/**
 * Columns in ClickHouse's Native format: typed arrays written as one block without conversion.
 * Own code because nothing on npm writes Native from columns, and row formats cost ClickHouse a parse per row.
 * Knows types, not our tables (`columns.ts`) and not HTTP.
 *
 * A column starts out with every row at its type's default (0, '', [], NULL); a row is written only where it has a value. So what an
 * event does not say costs nothing. Rows are written in ascending order.
 *
 * Layout: varint columns, varint rows, then per column: name, type, data. Numbers are little-endian, as is every machine we run on.
 */

export interface Column {
  readonly type: string
  /** Makes room for `rows` rows; to be called before they are set. */
  reserve(rows: number): void
  /** Bytes of the first `rows` rows, as views: valid until the next set or clear. */
  chunks(rows: number): Uint8Array[]
  /** Sets the first `rows` rows back to the default. */
  clear(rows: number): void
}

type Words = Uint8Array | Uint16Array | Uint32Array

const asBytes = (values: Words, length: number): Uint8Array =>
  new Uint8Array(values.buffer, values.byteOffset, length * values.BYTES_PER_ELEMENT)

function grown<A extends Words>(values: A, length: number): A {
  const larger = new (values.constructor as new (length: number) => A)(length)
  larger.set(values)
  return larger
}

/** UInt8/16/32, Bool, Enum8, and a pair or quadruple of words for wider types. */
class WordColumn<A extends Words> implements Column {
  readonly type: string
  protected values: A
  readonly #perRow: number

  constructor(type: string, none: A, perRow = 1) {
    this.type = type
    this.values = none
    this.#perRow = perRow
  }

  reserve(rows: number): void {
    if (rows * this.#perRow > this.values.length) this.values = grown(this.values, rows * this.#perRow)
  }

  set(row: number, value: number): void {
    this.values[row] = value
  }

  chunks(rows: number): Uint8Array[] {
    return [asBytes(this.values, rows * this.#perRow)]
  }

  clear(rows: number): void {
    this.values.fill(0, 0, rows * this.#perRow)
  }
}

export const uint8 = (type = 'UInt8') => new WordColumn(type, new Uint8Array(0))
export const uint16 = () => new WordColumn('UInt16', new Uint16Array(0))
export const uint32 = () => new WordColumn('UInt32', new Uint32Array(0))
/** An enum by its codes; 0 is the default. */
export const enum8 = (codes: Readonly<Record<string, number>>) =>
  uint8(
    `Enum8(${Object.entries(codes)
      .map(([name, code]) => `'${name}' = ${code}`)
      .join(', ')})`,
  )

const TWO_32 = 4_294_967_296

/** UInt64, Int64, DateTime64(3): from numbers within ±2^53, as two 32-bit halves (BigInt costs ten times as much). */
class LongColumn extends WordColumn<Uint32Array> {
  constructor(type: string) {
    super(type, new Uint32Array(0), 2)
  }

  override set(row: number, value: number): void {
    this.values[row * 2] = value
    this.values[row * 2 + 1] = Math.floor(value / TWO_32)
  }
}

export const int64 = () => new LongColumn('Int64')
export const uint64 = () => new LongColumn('UInt64')
/** From epoch milliseconds. */
export const dateTime64 = () => new LongColumn("DateTime64(3, 'UTC')")

const HEX = new Uint8Array(128)
for (let digit = 0; digit < 16; digit++) HEX[digit.toString(16).charCodeAt(0)] = digit
const DASH = '-'.charCodeAt(0)

/** The 32-bit word in text[from, to), hexadecimal, dashes skipped. */
function hexWord(text: string, from: number, to: number): number {
  let value = 0
  for (let i = from; i < to; i++) {
    const code = text.charCodeAt(i)
    if (code !== DASH) value = (value << 4) | (HEX[code] ?? 0)
  }
  return value
}

/** From lower-case text; two little-endian 64-bit halves. */
class UuidColumn extends WordColumn<Uint32Array> {
  constructor() {
    super('UUID', new Uint32Array(0), 4)
  }

  setText(row: number, text: string): void {
    const at = row * 4
    this.values[at] = hexWord(text, 9, 18)
    this.values[at + 1] = hexWord(text, 0, 8)
    this.values[at + 2] = hexWord(text, 28, 36)
    this.values[at + 3] = hexWord(text, 19, 28)
  }
}

export const uuid = () => new UuidColumn()

/** A null map, then the values. NULL until set. */
class NullableColumn implements Column {
  readonly type: string
  readonly #inner: WordColumn<Uint16Array> | WordColumn<Uint32Array>
  #nulls = new Uint8Array(0)

  constructor(inner: WordColumn<Uint16Array> | WordColumn<Uint32Array>) {
    this.type = `Nullable(${inner.type})`
    this.#inner = inner
  }

  reserve(rows: number): void {
    const before = this.#nulls.length
    if (rows > before) this.#nulls = grown(this.#nulls, rows).fill(1, before)
    this.#inner.reserve(rows)
  }

  set(row: number, value: number | undefined): void {
    if (value === undefined) return
    this.#nulls[row] = 0
    this.#inner.set(row, value)
  }

  chunks(rows: number): Uint8Array[] {
    return [asBytes(this.#nulls, rows), ...this.#inner.chunks(rows)]
  }

  clear(rows: number): void {
    this.#nulls.fill(1, 0, rows)
    this.#inner.clear(rows)
  }
}

export const nullable16 = () => new NullableColumn(uint16())
export const nullable32 = () => new NullableColumn(uint32())
export const nullableDateTime64 = () => new NullableColumn(dateTime64())

/** Cumulative lengths, then all values. */
class ArrayColumn implements Column {
  readonly type = 'Array(UInt32)'
  readonly #ends = uint64()
  #values = new Uint32Array(1_024)
  #length = 0
  /** Rows whose end is known. */
  #rows = 0

  reserve(rows: number): void {
    this.#ends.reserve(rows)
  }

  set(row: number, array: readonly number[]): void {
    this.#endRowsBefore(row)
    const from = this.#length
    this.#length = from + array.length
    if (this.#length > this.#values.length)
      this.#values = grown(this.#values, Math.max(this.#length, this.#values.length * 2))
    const values = this.#values
    for (let i = 0; i < array.length; i++) values[from + i] = array[i] as number
    this.#endRowsBefore(row + 1)
  }

  #endRowsBefore(row: number): void {
    while (this.#rows < row) this.#ends.set(this.#rows++, this.#length)
  }

  chunks(rows: number): Uint8Array[] {
    this.#endRowsBefore(rows)
    return [...this.#ends.chunks(rows), asBytes(this.#values, this.#length)]
  }

  clear(): void {
    this.#length = 0
    this.#rows = 0
  }
}

export const arrayOfUint32 = () => new ArrayColumn()

/** Bytes of any content, each with its length before it. */
class StringColumn implements Column {
  readonly type = 'String'
  #bytes = new Uint8Array(1_024)
  #length = 0
  #rows = 0

  reserve(): void {}

  set(row: number, value: Uint8Array): void {
    const most = this.#length + (row - this.#rows) + 5 + value.length
    if (most > this.#bytes.length) this.#bytes = grown(this.#bytes, Math.max(most, this.#bytes.length * 2))
    this.#emptyRowsBefore(row)
    this.#length = writeVarint(this.#bytes, this.#length, value.length)
    this.#bytes.set(value, this.#length)
    this.#length += value.length
    this.#rows++
  }

  #emptyRowsBefore(row: number): void {
    const missing = row - this.#rows
    this.#bytes.fill(0, this.#length, this.#length + missing)
    this.#length += missing
    this.#rows = row
  }

  chunks(rows: number): Uint8Array[] {
    const most = this.#length + (rows - this.#rows)
    if (most > this.#bytes.length) this.#bytes = grown(this.#bytes, most)
    this.#emptyRowsBefore(rows)
    return [asBytes(this.#bytes, this.#length)]
  }

  clear(): void {
    this.#length = 0
    this.#rows = 0
  }
}

export const string = () => new StringColumn()

/** Serialization version 1; flags: own additional keys (1 << 9), dictionary replaced (1 << 10), 32-bit indexes (2). */
const LOW_CARDINALITY_VERSION = 1n
const LOW_CARDINALITY_FLAGS = (1n << 9n) | (1n << 10n) | 2n

/** A dictionary of the block's distinct values, then an index a row. */
class LowCardinalityColumn implements Column {
  readonly type = 'LowCardinality(String)'
  readonly #admit: (value: string) => string
  readonly #indexOf = new Map<string, number>([['', 0]])
  #keys: string[] = ['']
  #indexes = new Uint32Array(0)

  constructor(admit: (value: string) => string) {
    this.#admit = admit
  }

  reserve(rows: number): void {
    if (rows > this.#indexes.length) this.#indexes = grown(this.#indexes, rows)
  }

  set(row: number, value: string | undefined): void {
    if (value !== undefined) this.#indexes[row] = this.index(value)
  }

  /** Where the value stands in the block's dictionary, until the next clear. */
  index(value: string): number {
    return this.#indexOf.get(value) ?? this.#add(value)
  }

  setIndex(row: number, index: number): void {
    this.#indexes[row] = index
  }

  #add(value: string): number {
    const admitted = this.#admit(value)
    const index = this.#indexOf.get(admitted) ?? this.#keys.push(admitted) - 1
    this.#indexOf.set(admitted, index).set(value, index)
    return index
  }

  chunks(rows: number): Uint8Array[] {
    const head = new BigUint64Array([LOW_CARDINALITY_VERSION, LOW_CARDINALITY_FLAGS, BigInt(this.#keys.length)])
    const count = new BigUint64Array([BigInt(rows)])
    return [
      new Uint8Array(head.buffer),
      ...this.#keys.map(text),
      new Uint8Array(count.buffer),
      asBytes(this.#indexes, rows),
    ]
  }

  clear(rows: number): void {
    this.#indexOf.clear()
    this.#indexOf.set('', 0)
    this.#keys = ['']
    this.#indexes.fill(0, 0, rows)
  }
}

/** `admit` may replace a value when a block sees it first. */
export const lowCardinality = (admit: (value: string) => string = value => value) => new LowCardinalityColumn(admit)

/** One Native block of `rows` rows. The chunks are views into the columns: send them before the next set. */
export function nativeBlock(columns: readonly (readonly [name: string, column: Column])[], rows: number): Uint8Array[] {
  const block: Uint8Array[] = [varint(columns.length), varint(rows)]
  for (const [name, column] of columns) {
    block.push(text(name), text(column.type))
    if (rows > 0) block.push(...column.chunks(rows))
  }
  return block
}

function text(value: string): Uint8Array {
  const bytes = Buffer.from(value)
  return Buffer.concat([varint(bytes.length), bytes])
}

function varint(value: number): Uint8Array {
  const bytes = new Uint8Array(5)
  return bytes.subarray(0, writeVarint(bytes, 0, value))
}

/** Unsigned LEB128, below 2^32. Returns the position behind it. */
function writeVarint(bytes: Uint8Array, at: number, value: number): number {
  let rest = value
  let position = at
  while (rest >= 0x80) {
    bytes[position++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  bytes[position++] = rest
  return position
}
