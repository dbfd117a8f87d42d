/** Where the dashboards are found; links and alerts name them. */
export const UIDS = {
  experience: 'quality-experience',
  frames: 'quality-frames',
  network: 'quality-network',
  cohorts: 'quality-cohorts',
  session: 'quality-session',
  pipeline: 'quality-pipeline',
} as const
