/** What of the frames is bad: how long they take, how even they come, and in which stage the time goes. */
import type { Retention } from '../../../ingest/store/migrate.ts'
import type { Described } from '../layout.ts'
import { buckets, stat, timeseries } from '../panels.ts'
import { heatmapTarget } from '../sql/heatmap.ts'
import { groupedStepsTarget, overallTarget, stepsTarget } from '../sql/metrics.ts'
import { fleetVariables } from '../variables.ts'
import { UIDS } from './uids.ts'

const STAGES = [
  ...(['stage_host_us', 'stage_encode_us', 'stage_network_us'] as const),
  ...(['stage_jitter_buffer_us', 'stage_decode_us', 'stage_present_us'] as const),
]

export const frames = (kept: Retention): Described => ({
  uid: UIDS.frames,
  title: 'Frames',
  question: 'How long do frames take, how evenly do they come, and in which stage does the time go?',
  from: 'now-1h',
  refresh: '30s',
  variables: fleetVariables(kept),
  rows: [
    {
      title: 'How fast?',
      panels: [
        stat(overallTarget(['fps_avg']), { width: 6 }),
        stat(overallTarget(['fps_p1']), { width: 6 }),
        stat(overallTarget(['fps_low1']), { width: 6 }),
        stat(overallTarget(['frame_time_max_us']), { width: 6 }),
        timeseries(stepsTarget(['fps_avg', 'fps_p1', 'fps_low1']), { width: 12 }),
        timeseries(stepsTarget(['fps_rendered_avg', 'frames_generated_pct']), { width: 12 }),
      ],
    },
    {
      title: 'The whole distribution',
      panels: [
        timeseries(
          stepsTarget([
            ...(['frame_time_p50_us', 'frame_time_p90_us', 'frame_time_p95_us'] as const),
            ...(['frame_time_p99_us', 'frame_time_p999_us'] as const),
          ]),
          { width: 12, height: 9 },
        ),
        buckets(
          heatmapTarget('frame_time_buckets'),
          'us',
          { width: 12, height: 9 },
          {
            title: 'Frame times',
            description:
              'How many frames took how long, step by step; rows are 20 % wide. Counts are exact, whichever tier they come from.',
          },
        ),
      ],
    },
    {
      title: 'How evenly?',
      panels: [
        timeseries(stepsTarget(['stutter_time_pct', 'freeze_time_pct']), { width: 8 }),
        timeseries(stepsTarget(['stutters_per_minute', 'freezes_per_minute']), { width: 8 }),
        timeseries(stepsTarget(['late_frame_pct', 'frames_dropped_pct']), { width: 8 }),
        timeseries(stepsTarget(['frame_jitter_us']), { width: 12 }),
        timeseries(groupedStepsTarget('frame_time_p99_us', 'game'), { width: 12 }),
      ],
    },
    {
      title: 'Where does the time go?',
      panels: [
        timeseries(
          stepsTarget(STAGES),
          { width: 16, height: 9 },
          { title: 'From the game to the screen, stage by stage' },
          { stacked: true },
        ),
        timeseries(stepsTarget(['input_latency_us']), { width: 8, height: 9 }),
      ],
    },
  ],
})
