/**
 * One statement, understood only as far as the front must: what it does, whether its data follow in the body, where
 * they begin, and which placeholders it has. Comments are blanked (same offsets), so that nothing can hide in one.
 */
import { Failure } from './failure.ts'
import { lex, type Token } from './tokens.ts'

export interface Statement {
  /** The source up to the end of the statement, comments blanked, without a closing semicolon. */
  readonly sql: string
  readonly tokens: readonly Token[]
  /** First word in capitals; `SELECT` for a parenthesis. */
  readonly verb: string
  /** Output format named in the statement. */
  readonly format: string | undefined
  /** Names of `{name:Type}`. */
  readonly placeholders: readonly string[]
  readonly data: StatementData | undefined
}

/** An INSERT whose rows are not in the statement but after it. */
interface StatementData {
  /** Where in the source the rows begin; the request's body follows. */
  readonly offset: number
  readonly format: string
  /** Where in `sql` the words `FROM INFILE` would go: behind table and columns. */
  readonly source: number
  /** Where `FORMAT x` or `VALUES` begins. */
  readonly clause: number
  /** The `input('…')` calls to be replaced; empty for a plain INSERT. */
  readonly inputs: readonly InputCall[]
}

interface InputCall {
  readonly start: number
  readonly end: number
  readonly structure: string
}

export const isWord = (token: Token | undefined, ...words: readonly string[]): boolean =>
  token?.kind === 'word' && words.includes(token.value.toUpperCase())
export const isSign = (token: Token | undefined, sign: string): boolean =>
  token?.kind === 'sign' && token.value === sign
export const isNamed = (token: Token | undefined): token is Token => token?.kind === 'word' || token?.kind === 'name'

/** After one of these, FORMAT is a column's name and not the clause. */
const BEFORE_AN_EXPRESSION = ['SELECT', 'WHERE', 'PREWHERE', 'HAVING', 'AS', 'BY', 'ON', 'AND', 'OR', 'NOT', 'DISTINCT']

function isFormatClause(tokens: readonly Token[], at: number): boolean {
  const before = tokens[at - 1]
  if (!isWord(tokens[at], 'FORMAT') || tokens[at + 1]?.kind !== 'word' || before === undefined) return false
  if (before.kind === 'sign') return [')', ']', '}', '*'].includes(before.value)
  return !isWord(before, ...BEFORE_AN_EXPRESSION)
}

/** Index of the token behind `INSERT INTO [TABLE] [FUNCTION f(…)] name [(columns)]`. */
function behindTarget(tokens: readonly Token[]): number {
  let at = tokens.findIndex(token => isWord(token, 'INTO')) + 1
  if (at === 0) return -1
  if (isWord(tokens[at], 'TABLE') && isNamed(tokens[at + 1])) at++
  if (isWord(tokens[at], 'FUNCTION')) at++
  at = behindName(tokens, at)
  while (isSign(tokens[at], '.')) at = behindName(tokens, at + 1)
  return isSign(tokens[at], '(') && !isWord(tokens[at + 1], 'SELECT', 'WITH') ? behindBracket(tokens, at) : at
}

const behindName = (tokens: readonly Token[], at: number): number =>
  isSign(tokens[at], '{') ? behindBracket(tokens, at) : at + 1

/** Index behind the bracket that closes the one at `open`; the end where none does. */
function behindBracket(tokens: readonly Token[], open: number): number {
  let depth = 0
  for (let at = open; at < tokens.length; at++) {
    if (['(', '[', '{'].some(sign => isSign(tokens[at], sign))) depth++
    if ([')', ']', '}'].some(sign => isSign(tokens[at], sign)) && --depth === 0) return at + 1
  }
  return tokens.length
}

/** `input('structure')` wherever a table may stand. */
function inputCalls(tokens: readonly Token[]): InputCall[] {
  return tokens.flatMap((token, at) => {
    const [open, structure, close] = tokens.slice(at + 1, at + 4)
    if (!isNamed(token) || token.value.toLowerCase() !== 'input' || !isWord(tokens[at - 1], 'FROM', 'JOIN')) return []
    if (!isSign(open, '(') || structure?.kind !== 'string' || !close || !isSign(close, ')')) return []
    return [{ start: token.start, end: close.end, structure: structure.value }]
  })
}

/** The data of an INSERT, if the tokens so far end right where data begin. */
function dataOf(sql: string, tokens: readonly Token[]): StatementData | undefined {
  const last = tokens.length - 1
  const source = tokens[behindTarget(tokens)]
  const end = tokens[last]?.end
  if (!isWord(tokens[0], 'INSERT') || source === undefined || end === undefined) return undefined
  if (
    isWord(tokens[last], 'VALUES') &&
    !tokens.some(token => isWord(token, 'SELECT')) &&
    source.start <= (tokens[last]?.start ?? 0)
  )
    return { offset: end, format: 'Values', source: source.start, clause: tokens[last]?.start ?? end, inputs: [] }
  const clause = tokens[last - 1]
  if (clause === undefined || clause.start < source.start || !isFormatClause(tokens, last - 1) || bracketsOpen(tokens))
    return undefined
  const inputs = inputCalls(tokens)
  const selects =
    isWord(source, 'SELECT', 'WITH') || isSign(source, '(') || tokens.some(token => isWord(token, 'SELECT'))
  if (selects && inputs.length === 0) return undefined
  const gap = /^[ \t\f]*;?[ \t\f]*\r?\n?/.exec(sql.slice(end))?.[0].length ?? 0
  return { offset: end + gap, format: tokens[last]?.value ?? '', source: source.start, clause: clause.start, inputs }
}

const bracketsOpen = (tokens: readonly Token[]): boolean =>
  tokens.filter(token => isSign(token, '(')).length !== tokens.filter(token => isSign(token, ')')).length

/** Only then is it worth asking whether data begin here. */
const mayStartData = (tokens: readonly Token[]): boolean =>
  isWord(tokens[0], 'INSERT') && (isWord(tokens.at(-1), 'VALUES') || isWord(tokens.at(-2), 'FORMAT'))

/**
 * @param source SQL, and for an INSERT perhaps the beginning of its data
 * @throws Failure 62 for an empty or unreadable statement, or more than one
 */
export function understand(source: string): Statement {
  let data: StatementData | undefined
  const { tokens, comments } = lex(source, sofar => {
    data = mayStartData(sofar) ? dataOf(source, sofar) : undefined
    return data !== undefined
  })
  const close = tokens.findIndex(token => isSign(token, ';'))
  if (close >= 0 && tokens.slice(close).some(token => !isSign(token, ';')))
    throw Failure.of(62, 'Syntax error (Multi-statements are not allowed).')
  const own = close < 0 ? tokens : tokens.slice(0, close)
  const [first] = own
  if (first === undefined) throw Failure.of(62, 'Syntax error: Empty query.')
  const blanked = comments.reduce(
    (sql, { start, end }) => sql.slice(0, start) + ' '.repeat(end - start) + sql.slice(end),
    source,
  )
  const formatAt = own.findLastIndex((_, at) => isFormatClause(own, at))
  return {
    sql: blanked.slice(0, own.at(-1)?.end),
    tokens: own,
    verb: isSign(first, '(') ? 'SELECT' : first.value.toUpperCase(),
    format: own[formatAt + 1] && formatAt >= 0 ? own[formatAt + 1]?.value : undefined,
    placeholders: own.flatMap((token, at) =>
      isSign(token, '{') && own[at + 1]?.kind === 'word' && isSign(own[at + 2], ':') ? [own[at + 1]?.value ?? ''] : [],
    ),
    data,
  }
}
