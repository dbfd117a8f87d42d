/** Can the numbers be trusted? What arrives, how late, what is refused, and whether every offset is there once. */
import type { Retention } from '../../../ingest/store/migrate.ts'
import type { Described } from '../layout.ts'
import { stat, table, timeseries } from '../panels.ts'
import { overallTarget, stepsTarget } from '../sql/metrics.ts'
import {
  auditTarget,
  freshnessTarget,
  rejectReasonsTarget,
  rejectSamplesTarget,
  storedTarget,
} from '../sql/pipeline.ts'
import { EVERYBODY } from '../sql/subject.ts'
import { pipelineVariables } from '../variables.ts'
import { UIDS } from './uids.ts'

export const pipeline = (kept: Retention): Described => ({
  uid: UIDS.pipeline,
  title: 'Pipeline',
  question: 'Can the numbers be trusted? What arrives, how late, what is refused, and is every offset there once?',
  from: 'now-1h',
  refresh: '30s',
  variables: pipelineVariables(kept),
  rows: [
    {
      title: 'Is everything there?',
      panels: [
        ...(['completeness_pct', 'resent_pct', 'late_event_pct', 'clock_shifted_pct'] as const).map(id =>
          stat(overallTarget([id], EVERYBODY), { width: 6 }),
        ),
        timeseries(
          storedTarget(),
          { width: 12 },
          {
            title: 'Stored, by minute',
            description: 'Rows by the minute they were stored in: events, refused messages, gaps.',
          },
        ),
        timeseries(
          freshnessTarget(),
          { width: 12 },
          {
            title: 'From Kafka to the table',
            description: 'How long an event took from Kafka’s append to being stored.',
          },
        ),
        timeseries(stepsTarget(['completeness_pct'], EVERYBODY), { width: 12 }),
        timeseries(stepsTarget(['late_event_pct', 'resent_pct'], EVERYBODY), { width: 12 }),
      ],
    },
    {
      title: 'What is refused?',
      panels: [
        table(
          rejectReasonsTarget(),
          { width: 8 },
          { title: 'Refused messages by reason', description: 'Of the range, by Kafka’s append time.' },
        ),
        table(
          rejectSamplesTarget(),
          { width: 16 },
          {
            title: 'The newest of each reason',
            description: 'With their place in Kafka. Whole messages: `GET /v1/rejects`; sent again: `npm run replay`.',
          },
        ),
      ],
    },
    {
      title: 'Is every offset there once?',
      panels: [
        table(
          auditTarget(),
          { width: 24 },
          {
            title: 'Partitions',
            description:
              'From the first offset stored in the range on: offsets that no row covers, or two do. Both must be 0. The age of the newest record tells a quiet partition from a stuck one only together with Kafka’s lag, which is the ingester’s vital `ingest_lag_records`.',
          },
        ),
      ],
    },
  ],
})
