/**
 * A refusal or failure in ClickHouse's own terms: a code, a name, a sentence, and the HTTP status a server answers with.
 * Clients classify by the code alone, so every fault that leaves the front, ours or the engine's, is one of these.
 */

/** The codes the front itself answers with. The engine's own arrive with their names. */
const NAMES = {
  48: 'NOT_IMPLEMENTED',
  62: 'SYNTAX_ERROR',
  115: 'UNKNOWN_SETTING',
  164: 'READONLY',
  202: 'TOO_MANY_SIMULTANEOUS_QUERIES',
  210: 'NETWORK_ERROR',
  236: 'ABORTED',
  243: 'NOT_ENOUGH_SPACE',
  307: 'TOO_MANY_BYTES',
  354: 'ZLIB_INFLATE_FAILED',
  497: 'ACCESS_DENIED',
  516: 'AUTHENTICATION_FAILED',
  1002: 'UNKNOWN_EXCEPTION',
} as const

export type FailureCode = keyof typeof NAMES

/** Appended to every message as a server does. One engine version is pinned by the package. */
const VERSION = '(version 26.7.2.1)'

export class Failure extends Error {
  override readonly name = 'Failure'
  readonly code: number
  /** The whole body of the answer: `Code: N. DB::Exception: … (NAME) (version …)`. */
  readonly body: string

  private constructor(code: number, body: string) {
    super(body)
    this.code = code
    this.body = body
  }

  static of(code: FailureCode, sentence: string): Failure {
    return new Failure(code, `Code: ${code}. DB::Exception: ${sentence} (${NAMES[code]}) ${VERSION}\n`)
  }

  /** From the engine, whose messages lack only the version. */
  static ofEngine(code: number | undefined, message: string): Failure {
    if (code === undefined) return Failure.of(1002, message)
    return new Failure(code, `${message.trimEnd()} ${VERSION}\n`)
  }

  get status(): number {
    return httpStatus(this.code)
  }
}

/** As in ClickHouse's `exceptionCodeToHTTPStatus`; what is not listed is the server's fault, 500. */
const STATUS: ReadonlyMap<number, readonly number[]> = new Map([
  [
    400,
    [6, 8, 15, 25, 26, 27, 36, 38, 41, 43, 44, 53, 62, 69, 72, 117, 167, 168, 223, 224, 237, 376, 427, 441, 675, 676],
  ],
  [401, [194, 516]],
  [403, [192, 193, 497, 512]],
  [404, [46, 47, 50, 56, 60, 63, 73, 78, 81, 115, 183, 336, 511]],
  [408, [159]],
  [411, [381]],
  [413, [307]],
  [501, [48]],
  [503, [76, 209, 439]],
])

function httpStatus(code: number): number {
  for (const [status, codes] of STATUS) if (codes.includes(code)) return status
  return 500
}
