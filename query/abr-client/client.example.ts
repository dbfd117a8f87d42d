/** A bitrate controller that is supervised: once a second it hears which rung to stay at or below, and says what it did. */
import type { Context } from '../../ingest/contract/events.ts'
import type { AbrAnswer, AbrClient } from './client.ts'

/** Of yours: whatever sets the encoder's rate. */
export interface Encoder {
  rung: string
  readonly since_ms: number
  readonly switches_last_minute: number
}

export async function superviseOnce(abr: AbrClient, session_id: string, encoder: Encoder): Promise<AbrAnswer> {
  const { rung: from_rung, since_ms, switches_last_minute } = encoder
  // 50 ms at most, and never an exception: with the API away it is the last state, and then what is safe.
  const answer = await abr.session(session_id, { rung: from_rung, since_ms, switches_last_minute })
  const { rung: to_rung, target_bitrate_kbps, reason } = answer.recommendation
  if (to_rung === from_rung) return answer
  encoder.rung = to_rung
  const policy = { policy: 'ours', policy_version: '1', as_of: answer.as_of, reason }
  abr.decided({ session_id, from_rung, to_rung, target_bitrate_kbps, ...policy })
  return answer
}

/** Before the first frame: where sessions like this one begin. */
export const firstRung = async (abr: AbrClient, context: Context): Promise<string> =>
  (await abr.start({ context })).recommendation.rung
