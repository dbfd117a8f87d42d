/**
 * One player's minutes: every frame, the bitrate against what was available and asked for, round trips and loss, on one axis of time
 * with one cursor; what stood still and when; and what all of it adds up to.
 */
import { useEffect, useMemo } from 'preact/hooks'
import { type Asked, useAsked } from '../asked.ts'
import { FrameChart } from '../charts/frames.tsx'
import { Lines } from '../charts/lines.tsx'
import { Zoom } from '../charts/zoom.ts'
import { Go } from '../controls.tsx'
import { useDesk } from '../desk.ts'
import { count } from '../format.ts'
import { useFrames } from '../frames-asked.ts'
import { Answered, Empty, Failed, Panel } from '../panel.tsx'
import { DEFAULTS, viewOf } from '../place.ts'
import { sessionQuestion, timelineQuestion } from '../questions.ts'
import { Happened } from './happened.tsx'
import { SpanMenu } from './session-span.tsx'
import { Summary } from './session-summary.tsx'

type Answer = Awaited<ReturnType<ReturnType<typeof timelineQuestion>['load']>>
type Timeline = Answer['data'][number]

/** What the API gives frame by frame. */
const FRAMES_SPAN_MAX_MS = 3_600_000 + 20_000
const SHARED = 'session'
const SAVED_AFTER_MS = 250

export function Session() {
  const { api, place } = useDesk()
  const { id } = place
  const summary = useAsked(sessionQuestion(api, id))
  // A session has a range of its own: the API's default is its last minutes.
  const span = {
    from: place.from === DEFAULTS.from ? '' : place.from,
    to: place.to === DEFAULTS.to ? '' : place.to,
  }
  const timeline = useAsked(timelineQuestion(api, id, span))
  const session = summary.data?.data[0]
  return (
    <>
      <div class="bar">
        <Go to="sessions">← Sessions</Go>
        <h1>
          Session <code>{id}</code>
        </h1>
        {session && <SpanMenu started_at={session.started_at} last_seen_at={session.last_seen_at} />}
      </div>
      <Answered asked={summary} height={120}>
        {({ data, meta }) => data[0] && <Summary session={data[0]} meta={meta} url={summary.url} />}
      </Answered>
      {summary.failure?.kind !== 'unknown' && <OverTime id={id} asked={timeline} />}
    </>
  )
}

function OverTime({ id, asked }: { readonly id: string; readonly asked: Asked<Answer> }) {
  const { beat, place, go } = useDesk()
  const { from, to } = asked.data?.meta ?? { from: null, to: null }
  const whole = useMemo(
    () => (from === null || to === null ? undefined : { min: Date.parse(from) / 1_000, max: Date.parse(to) / 1_000 }),
    [from, to],
  )
  // The URL says where to begin; from there on the zoom says it to the URL.
  const zoom = useMemo(() => whole && new Zoom(whole, viewOf(place)), [whole])
  const short = from !== null && to !== null && Date.parse(to) - Date.parse(from) <= FRAMES_SPAN_MAX_MS
  const frames = useFrames(id, short ? { from, to } : undefined, beat)

  useEffect(() => {
    let saving: ReturnType<typeof setTimeout> | undefined
    const unfollow = zoom?.follow(span => {
      clearTimeout(saving)
      const view = zoom.isWhole ? '' : `${Math.round(span.min * 1_000)}-${Math.round(span.max * 1_000)}`
      saving = setTimeout(() => go({ view }, 'replace'), SAVED_AFTER_MS)
    })
    return () => {
      unfollow?.()
      clearTimeout(saving)
    }
  }, [zoom, go])

  return (
    <Answered asked={asked} height={600}>
      {({ data: [timeline], meta }) =>
        timeline &&
        zoom && (
          <div class="grid">
            <Panel
              title="Frame times"
              url={frames.url === '' ? asked.url : frames.url}
              wide
              tools={<ZoomButtons zoom={zoom} />}
            >
              {!short ? (
                <FromCells timeline={timeline} zoom={zoom} step_s={meta.step_s} />
              ) : frames.frames && frames.frames.count > 0 ? (
                <FrameChart frames={frames.frames} zoom={zoom} shared={SHARED} />
              ) : frames.failure ? (
                <Failed failure={frames.failure} />
              ) : frames.frames ? (
                <FromCells timeline={timeline} zoom={zoom} step_s={meta.step_s} />
              ) : (
                <div class="state waiting" style={{ minHeight: '260px' }} />
              )}
            </Panel>
            <Stream timeline={timeline} zoom={zoom} url={asked.url} />
            <Happened timeline={timeline} zoom={zoom} url={asked.url} />
          </div>
        )
      }
    </Answered>
  )
}

const ZoomButtons = ({ zoom }: { readonly zoom: Zoom }) => (
  <span class="buttons">
    <button type="button" onClick={() => zoom.pan(-0.5)} aria-label="Earlier">
      ←
    </button>
    <button type="button" onClick={() => zoom.scale(0.5)} aria-label="Closer">
      +
    </button>
    <button type="button" onClick={() => zoom.scale(2)} aria-label="Wider">
      −
    </button>
    <button type="button" onClick={() => zoom.pan(0.5)} aria-label="Later">
      →
    </button>
    <button type="button" onClick={() => zoom.reset()}>
      All
    </button>
  </span>
)

interface ChartProps {
  readonly timeline: Timeline
  readonly zoom: Zoom
}

/** Where single frames are not to be had: too long a span, or one that only cells remember. */
function FromCells({ timeline, zoom, step_s }: ChartProps & { readonly step_s: number | null }) {
  const { times, lines } = useMemo(
    () => ({
      times: timesOf(timeline),
      lines: [
        { label: 'Longest', values: timeline.points.map(point => point.frame_time_max_us), colour: 1 },
        { label: 'p95', values: timeline.points.map(point => point.frame_time_p95_us), colour: 0 },
      ],
    }),
    [timeline],
  )
  if (lines.every(({ values }) => values.every(value => value === null))) return <Empty>No frames in this range.</Empty>
  return (
    <>
      <p class="fine">
        A point is {count(step_s)} s: single frames are shown for up to an hour, as long as raw events are kept.
      </p>
      <Lines title="Frame times" times={times} lines={lines} unit="us" zoom={zoom} shared={SHARED} />
    </>
  )
}

const timesOf = ({ points }: Timeline): number[] => points.map(({ t }) => Date.parse(t) / 1_000)

function Stream({ timeline, zoom, url }: ChartProps & { readonly url: string }) {
  const charts = useMemo(() => {
    const { points } = timeline
    return {
      times: timesOf(timeline),
      rates: [
        { label: 'Received', values: points.map(point => point.bitrate_kbps), colour: 0 },
        { label: 'Available', values: points.map(point => point.available_kbps), colour: 2 },
        {
          label: 'Asked of the encoder',
          values: points.map(point => point.target_bitrate_kbps),
          steps: true,
          colour: 1,
        },
      ].filter(({ values }) => values.some(value => value !== null)),
      delays: [
        { label: 'Round trip', values: points.map(point => point.rtt_us), colour: 0 },
        { label: 'Jitter', values: points.map(point => point.jitter_us), colour: 1 },
      ].filter(({ values }) => values.some(value => value !== null)),
      losses: [{ label: 'Packets lost', values: points.map(point => point.packet_loss_pct), colour: 7 }].filter(
        ({ values }) => values.some(value => value !== null),
      ),
    }
  }, [timeline])
  const { times, rates, delays, losses } = charts
  const common = { times, zoom, shared: SHARED, height: 200 }
  return (
    <>
      <Panel title="Bitrate" url={url} wide>
        {rates.length === 0 ? (
          <Empty>No bitrate was reported in this range.</Empty>
        ) : (
          <Lines title="Bitrate" lines={rates} unit="kbps" {...common} />
        )}
      </Panel>
      <Panel title="Network delay" url={url} wide>
        {delays.length === 0 ? (
          <Empty>No delay was reported in this range.</Empty>
        ) : (
          <Lines title="Network delay" lines={delays} unit="us" {...common} />
        )}
      </Panel>
      <Panel title="Packets lost" url={url} wide>
        {losses.length === 0 ? (
          <Empty>No loss was reported in this range.</Empty>
        ) : (
          <Lines title="Packets lost" lines={losses} unit="pct" {...common} height={140} />
        )}
      </Panel>
    </>
  )
}
