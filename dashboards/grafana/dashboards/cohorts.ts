/** Did the release help? Releases, ISPs, experiments side by side. */
import type { Retention } from '../../../ingest/store/migrate.ts'
import type { Described } from '../layout.ts'
import { table, timeseries } from '../panels.ts'
import { intervalsTarget } from '../sql/intervals.ts'
import { BY, cohortsTarget, groupedStepsTarget } from '../sql/metrics.ts'
import { byVariable, fleetVariables } from '../variables.ts'
import { UIDS } from './uids.ts'

const INTERVAL =
  'With the 95 % interval over sessions by linearisation, from 30 sessions on. For the difference of two cohorts, whose interval holds for few sessions and skewed ones as well, ask `GET /v1/metrics/{id}/compare`.'

export const cohorts = (kept: Retention): Described => ({
  uid: UIDS.cohorts,
  title: 'Cohorts',
  question: 'Did the release help? Releases, ISPs, experiments side by side.',
  from: 'now-24h',
  refresh: '5m',
  variables: [...fleetVariables(kept), byVariable('client_version')],
  rows: [
    {
      title: 'Side by side',
      panels: [
        table(
          cohortsTarget([
            ...(['good_session_pct', 'mos_avg', 'fps_avg', 'frame_time_p99_us'] as const),
            ...(['stutter_time_pct', 'freeze_time_pct', 'bitrate_avg_kbps', 'packet_loss_pct'] as const),
          ]),
          { width: 24, height: 10 },
          { title: 'Cohorts, those with the most frames first' },
        ),
      ],
    },
    {
      title: 'How sure?',
      panels: (['stutter_time_pct', 'freeze_time_pct', 'late_frame_pct'] as const).map(id =>
        table(intervalsTarget(id), { width: 8 }, { description: INTERVAL }),
      ),
    },
    {
      title: 'Since when?',
      panels: [
        timeseries(groupedStepsTarget('stutter_time_pct', BY), { width: 12 }),
        timeseries(groupedStepsTarget('freeze_time_pct', BY), { width: 12 }),
        timeseries(groupedStepsTarget('frame_time_p99_us', BY), { width: 12 }),
        timeseries(groupedStepsTarget('sessions', BY), { width: 12 }),
      ],
    },
  ],
})
