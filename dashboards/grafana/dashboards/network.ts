/** Is it the network: what was sent, what could have been, how long it took, what was lost? */
import type { Retention } from '../../../ingest/store/migrate.ts'
import type { Described } from '../layout.ts'
import { stat, table, timeseries } from '../panels.ts'
import { groupedStepsTarget, groupsTarget, overallTarget, stepsTarget } from '../sql/metrics.ts'
import { rungsTarget } from '../sql/rungs.ts'
import { fleetVariables } from '../variables.ts'
import { UIDS } from './uids.ts'

export const network = (kept: Retention): Described => ({
  uid: UIDS.network,
  title: 'Network and bitrate',
  question: 'Is it the network: what was sent, what could have been, how long did it take, what was lost?',
  from: 'now-1h',
  refresh: '30s',
  variables: fleetVariables(kept),
  rows: [
    {
      title: 'Bitrate',
      panels: [
        stat(overallTarget(['bitrate_avg_kbps']), { width: 6 }),
        stat(overallTarget(['bitrate_utilisation_pct']), { width: 6 }),
        stat(overallTarget(['data_gb_per_hour']), { width: 6 }),
        stat(overallTarget(['rung_switches_per_minute']), { width: 6 }),
        timeseries(stepsTarget(['bitrate_p5_kbps', 'bitrate_p50_kbps', 'bitrate_p95_kbps']), { width: 8 }),
        timeseries(stepsTarget(['available_p5_kbps', 'available_p50_kbps']), { width: 8 }),
        timeseries(stepsTarget(['bitrate_utilisation_pct']), { width: 8 }),
      ],
    },
    {
      title: 'The ladder',
      panels: [
        table(rungsTarget('rung_time_share_pct'), { width: 8 }),
        table(rungsTarget('stutter_time_pct'), { width: 8 }, { title: 'Time in stutters, by rung' }),
        table(rungsTarget('packet_loss_pct'), { width: 8 }, { title: 'Packets lost, by rung' }),
        timeseries(stepsTarget(['rung_switches_per_minute']), { width: 12 }),
        timeseries(groupedStepsTarget('bitrate_avg_kbps', 'access'), { width: 12 }),
      ],
    },
    {
      title: 'The way there',
      panels: [
        timeseries(stepsTarget(['rtt_p50_us', 'rtt_p95_us']), { width: 8 }),
        timeseries(stepsTarget(['jitter_p50_us', 'jitter_p95_us']), { width: 8 }),
        timeseries(stepsTarget(['packet_loss_pct']), { width: 8 }),
        table(groupsTarget('packet_loss_pct', 'isp'), { width: 12 }),
        table(groupsTarget('rtt_p95_us', 'region'), { width: 12 }),
      ],
    },
  ],
})
