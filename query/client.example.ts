/** Who has it worst right now? The groups that hold most of all the time players spend in stutters. */
import { answer, type Client } from './client.ts'

export async function worstRightNow(api: Client): Promise<string[]> {
  const { data } = await answer(
    api.v1.metrics[':id'].breakdown.$get({
      param: { id: 'stutter_time_pct' },
      query: { by: 'isp,access', order: 'impact', from: 'now-15m', limit: 5 },
    }),
  )
  return data.map(
    ({ isp, access, value, share_of_bad, sessions }) =>
      `${isp ?? 'unknown'} ${access ?? 'unknown'}: ${value?.toFixed(2) ?? '?'} % of the time in stutters, ${((share_of_bad ?? 0) * 100).toFixed(0)} % of all there is, ${sessions} sessions`,
  )
}
