/**
 * ClickHouse's lexer, as far as the front needs it: where words, quoted names, literals and comments begin and end.
 * What it cannot be sure to read as the engine would (an open quote, a stray character outside quotes) it refuses,
 * because a statement the two read differently could carry past the front what the front exists to stop.
 */
import { Failure } from './failure.ts'

export interface Token {
  readonly kind: 'word' | 'name' | 'string' | 'number' | 'sign'
  /** Word and sign: as written. Name (quoted identifier) and string: unescaped. */
  readonly value: string
  /** Offsets in the source. */
  readonly start: number
  readonly end: number
}

interface Comment {
  readonly start: number
  readonly end: number
}

export interface Lexed {
  readonly tokens: readonly Token[]
  readonly comments: readonly Comment[]
}

const BLANK = /[ \t\n\r\f\v]+/y
const LINE_COMMENT = /(?:--|\/\/|#[ !])[^\n]*/y
const NUMBER = /(?:0[xX][0-9a-fA-F_]+|(?:\d[\d_]*)?\.?\d[\d_]*(?:[eE][+-]?\d+)?)/y
const WORD = /[A-Za-z0-9_$]+/y
const SIGN = /->|::|\|\||@@|[<>!=]=|<>|[-+*/%=<>?:|@!()[\]{},;.^~&#\\]/y
/** As the engine reads them: `\N` is nothing at all, and what is no escape keeps its backslash. */
const ESCAPES: Readonly<Record<string, string>> = {
  ...{ n: '\n', t: '\t', r: '\r', b: '\b', f: '\f', v: '\v', a: '\x07', e: '\x1b', '0': '\0', N: '' },
  ...{ '\\': '\\', "'": "'", '"': '"', '`': '`', '/': '/' },
}

/** Where the multi-line comment that opens at `start` ends; they nest. */
function blockCommentEnd(sql: string, start: number): number {
  let depth = 1
  let at = start + 2
  while (at + 2 <= sql.length) {
    const two = sql.slice(at, at + 2)
    if (two === '/*') depth++
    if (two === '*/' && --depth === 0) return at + 2
    at += two === '/*' || two === '*/' ? 2 : 1
  }
  throw Failure.of(62, 'Syntax error: multiline comment is not closed.')
}

/** Reads the quoted literal or name at `start`; a doubled quote and a backslash both escape. */
function quoted(sql: string, start: number): { value: string; end: number } {
  const quote = sql[start]
  let value = ''
  for (let at = start + 1; at < sql.length; at++) {
    const char = sql.charAt(at)
    if (char === '\\') {
      const next = sql.charAt(++at)
      const hex = next === 'x' ? /^[0-9a-fA-F]{2}/.exec(sql.slice(at + 1, at + 3)) : null
      if (hex) at += 2
      value += hex ? String.fromCharCode(Number.parseInt(hex[0], 16)) : (ESCAPES[next] ?? `\\${next}`)
    } else if (char === quote) {
      if (sql[at + 1] !== quote) return { value, end: at + 1 }
      value += char
      at++
    } else value += char
  }
  throw Failure.of(62, 'Syntax error: a quote is not closed.')
}

/** `$tag$ … $tag$`, or undefined where the dollar is something else. */
function heredoc(sql: string, start: number): { value: string; end: number } | undefined {
  const nameEnd = sql.indexOf('$', start + 1)
  if (nameEnd < 0) return undefined
  const tag = sql.slice(start, nameEnd + 1)
  const close = sql.indexOf(tag, nameEnd + 1)
  return close < 0 ? undefined : { value: sql.slice(nameEnd + 1, close), end: close + tag.length }
}

function match(pattern: RegExp, sql: string, at: number): string | undefined {
  pattern.lastIndex = at
  return pattern.exec(sql)?.[0]
}

/** Where the token or comment at `at` ends, and what it is; undefined for what the front does not read. */
function next(
  sql: string,
  at: number,
): (Pick<Token, 'kind' | 'value'> & { end: number }) | { comment: number } | undefined {
  const line = match(LINE_COMMENT, sql, at)
  if (line !== undefined) return { comment: at + line.length }
  if (sql.startsWith('/*', at)) return { comment: blockCommentEnd(sql, at) }
  const char = sql.charAt(at)
  if (char === "'") return { kind: 'string', ...quoted(sql, at) }
  if (char === '`' || char === '"') return { kind: 'name', ...quoted(sql, at) }
  const document = char === '$' ? heredoc(sql, at) : undefined
  if (document) return { kind: 'string', ...document }
  const word = match(WORD, sql, at)
  const number = match(NUMBER, sql, at)
  if (number !== undefined && number.length >= (word?.length ?? 0))
    return { kind: 'number', value: number, end: at + number.length }
  if (word !== undefined) return { kind: 'word', value: word, end: at + word.length }
  const sign = match(SIGN, sql, at)
  return sign === undefined ? undefined : { kind: 'sign', value: sign, end: at + sign.length }
}

/**
 * @param stop called with each token; true ends the reading there (what follows may be data, not SQL)
 * @throws Failure 62
 */
export function lex(sql: string, stop: (tokens: readonly Token[]) => boolean = () => false): Lexed {
  const tokens: Token[] = []
  const comments: Comment[] = []
  for (let at = 0; at < sql.length; ) {
    const blank = match(BLANK, sql, at)
    if (blank !== undefined) {
      at += blank.length
      continue
    }
    const found = next(sql, at)
    if (found === undefined) throw Failure.of(62, `Syntax error: unexpected character at position ${at + 1}.`)
    if ('comment' in found) {
      comments.push({ start: at, end: found.comment })
      at = found.comment
      continue
    }
    tokens.push({ kind: found.kind, value: found.value, start: at, end: found.end })
    at = found.end
    if (stop(tokens)) break
  }
  return { tokens, comments }
}
