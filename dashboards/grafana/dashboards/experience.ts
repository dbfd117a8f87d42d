/** Is it smooth now, and for whom is it not? */
import type { Retention } from '../../../ingest/store/migrate.ts'
import type { Described } from '../layout.ts'
import { stat, table, timeseries } from '../panels.ts'
import { BY, groupedStepsTarget, groupsTarget, overallTarget, stepsTarget } from '../sql/metrics.ts'
import { worstSessionsTarget } from '../sql/sessions.ts'
import { byVariable, fleetVariables } from '../variables.ts'
import { UIDS } from './uids.ts'

const TO_SESSION = {
  column: 'session',
  title: 'This session, second by second',
  url: `/d/${UIDS.session}?var-session=\${__data.fields.session}&from=\${__data.fields.first_ms}&to=\${__data.fields.last_ms}`,
}

export const experience = (kept: Retention): Described => ({
  uid: UIDS.experience,
  title: 'Player experience',
  question: 'Is it smooth now, and for whom is it not?',
  from: 'now-1h',
  refresh: '30s',
  variables: [...fleetVariables(kept), byVariable('isp')],
  rows: [
    {
      title: 'Is it smooth?',
      panels: [
        stat(overallTarget(['good_session_pct']), { width: 4 }),
        stat(overallTarget(['mos_avg']), { width: 4 }),
        stat(overallTarget(['frame_time_p99_us']), { width: 4 }),
        stat(overallTarget(['stutter_time_pct']), { width: 4 }),
        stat(overallTarget(['freeze_time_pct']), { width: 4 }),
        stat(overallTarget(['sessions']), { width: 4 }),
        timeseries(stepsTarget(['stutter_time_pct', 'freeze_time_pct']), { width: 12 }),
        timeseries(stepsTarget(['mos_avg', 'mos_p5']), { width: 12 }),
        timeseries(stepsTarget(['concurrent_sessions']), { width: 12 }),
        timeseries(stepsTarget(['good_session_pct', 'mos_below_3_pct']), { width: 12 }),
      ],
    },
    {
      title: 'For whom is it not?',
      panels: [
        table(groupsTarget('stutter_time_pct', BY), { width: 12 }),
        timeseries(groupedStepsTarget('stutter_time_pct', BY), { width: 12 }),
        table(groupsTarget('freeze_time_pct', BY), { width: 12 }),
        timeseries(groupedStepsTarget('freeze_time_pct', BY), { width: 12 }),
      ],
    },
    {
      title: 'Do sessions begin and end as they should?',
      panels: [
        timeseries(stepsTarget(['start_failure_pct', 'unexpected_end_pct']), { width: 12 }),
        timeseries(stepsTarget(['startup_p50_ms', 'startup_p95_ms']), { width: 12 }),
      ],
    },
    {
      title: 'Who has it worst?',
      panels: [
        table(
          worstSessionsTarget('stutter_time_pct'),
          { width: 24, height: 10 },
          {
            title: 'Sessions with the most time in stutters',
            description:
              'The worst first, as `GET /v1/sessions?order=stutter_time_pct` lists them. A session leads to its own dashboard.',
          },
          [TO_SESSION],
          ['first_ms', 'last_ms'],
        ),
      ],
    },
  ],
})
