/** What was this player's session like, second by second? */
import type { Retention } from '../../../ingest/store/migrate.ts'
import type { Described } from '../layout.ts'
import { stat, timeseries } from '../panels.ts'
import { overallTarget } from '../sql/metrics.ts'
import { FREEZES_SQL, STATES_SQL, secondsTarget } from '../sql/sessions.ts'
import { ONE_SESSION } from '../sql/subject.ts'
import { sessionVariables } from '../variables.ts'
import { UIDS } from './uids.ts'

const SECONDS = 'Second by second from raw events, each counted once; as long as those are kept.'

export const session = (kept: Retention): Described => ({
  uid: UIDS.session,
  title: 'Session',
  question: 'What was this player’s session like, second by second?',
  from: 'now-1h',
  refresh: '',
  variables: sessionVariables(kept),
  marks: [
    { name: 'States', sql: STATES_SQL, color: 'purple' },
    { name: 'Freezes', sql: FREEZES_SQL, color: 'red' },
  ],
  rows: [
    {
      title: 'As a whole, in this range',
      panels: (
        ['mos_avg', 'fps_avg', 'frame_time_p99_us', 'stutter_time_pct', 'freeze_time_pct', 'packet_loss_pct'] as const
      ).map(id => stat(overallTarget([id], ONE_SESSION), { width: 4 })),
    },
    {
      title: 'Second by second',
      panels: [
        timeseries(
          secondsTarget(['frame_time_p95_us', 'frame_time_max_us']),
          { width: 24 },
          { title: 'Frame time', description: SECONDS },
        ),
        timeseries(secondsTarget(['fps']), { width: 12 }, { title: 'Frames per second', description: SECONDS }),
        timeseries(
          secondsTarget(['bitrate_kbps', 'available_kbps']),
          { width: 12 },
          { title: 'Bitrate, and what was available', description: SECONDS },
        ),
        timeseries(
          secondsTarget(['rtt_us', 'jitter_us']),
          { width: 12 },
          { title: 'Round trips and jitter', description: SECONDS },
        ),
        timeseries(secondsTarget(['packet_loss_pct']), { width: 12 }, { title: 'Packets lost', description: SECONDS }),
      ],
    },
  ],
})
