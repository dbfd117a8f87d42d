/**
 * The broker's configuration: one node that is broker and controller, on loopback, sized for two cores beside the
 * other parts. Anything not named here is Kafka's default.
 *
 * What an acknowledgement means here: the record is in the page cache of this machine. Killing the broker loses none of
 * it, the kernel keeps the pages and the restarted broker finds them; a power cut or a kernel crash can lose the last
 * seconds, since Kafka relies on replicas instead of fsync and this is one node. Who needs more runs a cluster.
 */

export interface BrokerProperties {
  readonly port: number
  readonly controller_port: number
  readonly log_dir: string
  readonly retention_hours: number
}

const NODE_ID = 1
/** As the topic asks: far above what the contract accepts, so that an oversized event arrives and is refused with a reason. */
const MAX_MESSAGE_BYTES = 20_000_000
/** Per partition. With the default four partitions the disk holds at most 8 GiB of events, whatever their age. */
const RETENTION_BYTES = 2 * 1024 ** 3
/** Retention deletes whole segments: small enough that the two limits above mean something. */
const SEGMENT_BYTES = 256 * 1024 ** 2

export function brokerProperties({ port, controller_port, log_dir, retention_hours }: BrokerProperties): string {
  const properties: Record<string, string | number | boolean> = {
    'process.roles': 'broker,controller',
    'node.id': NODE_ID,
    listeners: `PLAINTEXT://127.0.0.1:${port},CONTROLLER://127.0.0.1:${controller_port}`,
    'advertised.listeners': `PLAINTEXT://127.0.0.1:${port}`,
    'listener.security.protocol.map': 'PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT',
    'inter.broker.listener.name': 'PLAINTEXT',
    'controller.listener.names': 'CONTROLLER',
    // A static quorum of one is not written into the data, so the controller may take another port on each start.
    'controller.quorum.voters': `${NODE_ID}@127.0.0.1:${controller_port}`,
    'log.dirs': log_dir,

    // A broker that was killed may register again only once its old session is over: the default of 9 s would be a
    // restart of 14 s. The session lives in the same JVM, so a shorter one risks no false alarm over a network.
    'broker.session.timeout.ms': 3_000,
    'broker.heartbeat.interval.ms': 500,

    'auto.create.topics.enable': false,
    'message.max.bytes': MAX_MESSAGE_BYTES,
    'replica.fetch.max.bytes': MAX_MESSAGE_BYTES,
    'log.retention.hours': retention_hours,
    'log.retention.bytes': RETENTION_BYTES,
    'log.segment.bytes': SEGMENT_BYTES,
    'log.retention.check.interval.ms': 60_000,

    // A lone consumer need not wait for others to join.
    'group.initial.rebalance.delay.ms': 0,
    // Tests freeze a consumer past its session; six seconds each would be most of their time.
    'group.min.session.timeout.ms': 1_000,

    // Kafka's own topics: one node can hold one replica, and one partition of them is plenty.
    'offsets.topic.replication.factor': 1,
    'offsets.topic.num.partitions': 1,
    'transaction.state.log.replication.factor': 1,
    'transaction.state.log.min.isr': 1,
    'transaction.state.log.num.partitions': 1,
    'share.coordinator.state.topic.replication.factor': 1,
    'share.coordinator.state.topic.min.isr': 1,
    'share.coordinator.state.topic.num.partitions': 1,

    'num.network.threads': 2,
    'num.io.threads': 4,
    'background.threads': 2,
    'log.cleaner.threads': 1,
    // By default 128 MB of heap; what is compacted here is one small topic of offsets.
    'log.cleaner.dedupe.buffer.size': 4 * 1024 ** 2,
    // Requests waiting for a thread are held in the heap: with messages of 20 MB, 500 of them (the default) would not fit.
    'queued.max.request.bytes': 128 * 1024 ** 2,
  }
  return Object.entries(properties)
    .map(([name, value]) => `${name}=${escaped(String(value))}\n`)
    .join('')
}

/** In a Java properties file a backslash escapes, and the file is read as Latin-1. */
const escaped = (value: string): string =>
  value
    .replaceAll('\\', '\\\\')
    .replace(/[^\x20-\x7e]/g, unit => `\\u${unit.charCodeAt(0).toString(16).padStart(4, '0')}`)
