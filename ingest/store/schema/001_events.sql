-- What did Kafka deliver, offset by offset?
-- One row per offset, whatever it was: an event, a refused message, or a run of offsets that Kafka never delivers (`gap`).
-- Per log and partition: sum(offsets) = max(kafka_offset + offsets) - min(kafka_offset), and no two rows overlap.
CREATE TABLE IF NOT EXISTS events_v1
(
    -- Where it came from. `offsets` is 1, and more only for a gap, whose `kafka_offset` is the first of them.
    log_id LowCardinality(String),
    kafka_partition UInt32 CODEC(ZSTD(1)),
    kafka_offset UInt64 CODEC(T64, ZSTD(1)),
    offsets UInt64 CODEC(T64, ZSTD(1)),
    appended_at DateTime64(3, 'UTC') CODEC(T64, ZSTD(1)),
    ingested_at DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),

    -- Whose it is and when it was. `at` is the speaker's clock, moved by `clock_shift_ms` where that was wrong by minutes.
    kind Enum8('frame_times' = 1, 'bitrate' = 2, 'session' = 3, 'rejected' = 101, 'gap' = 102),
    session_id UUID,
    source Enum8('' = 0, 'client' = 1, 'host' = 2, 'controller' = 3),
    seq UInt32 CODEC(T64, ZSTD(1)),
    at DateTime64(3, 'UTC') CODEC(T64, ZSTD(1)),
    sent_at DateTime64(3, 'UTC') CODEC(T64, ZSTD(1)),
    clock_shift_ms Int64 CODEC(ZSTD(1)),
    extensions UInt16 CODEC(ZSTD(1)),
    t10 DateTime('UTC') MATERIALIZED toDateTime(intDiv(toUnixTimestamp(at), 10) * 10, 'UTC') CODEC(Delta, ZSTD(1)),

    -- What the session is; '' is unknown.
    game LowCardinality(String),
    platform LowCardinality(String),
    device LowCardinality(String),
    client_version LowCardinality(String),
    codec LowCardinality(String),
    access LowCardinality(String),
    isp LowCardinality(String),
    country LowCardinality(String),
    region LowCardinality(String),
    host LowCardinality(String),
    host_version LowCardinality(String),
    experiment LowCardinality(String),

    -- kind = 'frame_times'
    target_fps UInt16 CODEC(ZSTD(1)),
    frame_time_us Array(UInt32) CODEC(T64, ZSTD(1)),
    open_frame_us Nullable(UInt32) CODEC(T64, ZSTD(1)),
    final Bool CODEC(ZSTD(1)),
    paused Bool CODEC(ZSTD(1)),
    frames_dropped Nullable(UInt32) CODEC(T64, ZSTD(1)),
    frames_generated Nullable(UInt32) CODEC(T64, ZSTD(1)),
    stage_host_us Nullable(UInt32) CODEC(T64, ZSTD(1)),
    stage_encode_us Nullable(UInt32) CODEC(T64, ZSTD(1)),
    stage_network_us Nullable(UInt32) CODEC(T64, ZSTD(1)),
    stage_jitter_buffer_us Nullable(UInt32) CODEC(T64, ZSTD(1)),
    stage_decode_us Nullable(UInt32) CODEC(T64, ZSTD(1)),
    stage_present_us Nullable(UInt32) CODEC(T64, ZSTD(1)),
    input_latency_us Nullable(UInt32) CODEC(T64, ZSTD(1)),

    -- kind = 'bitrate'
    interval_ms UInt32 CODEC(T64, ZSTD(1)),
    bitrate_kbps UInt32 CODEC(T64, ZSTD(1)),
    target_bitrate_kbps Nullable(UInt32) CODEC(T64, ZSTD(1)),
    available_kbps Nullable(UInt32) CODEC(T64, ZSTD(1)),
    rung LowCardinality(String),
    rung_switches Nullable(UInt16) CODEC(ZSTD(1)),
    width Nullable(UInt16) CODEC(ZSTD(1)),
    height Nullable(UInt16) CODEC(ZSTD(1)),
    encoded_fps Nullable(UInt16) CODEC(ZSTD(1)),
    rtt_us Nullable(UInt32) CODEC(T64, ZSTD(1)),
    jitter_us Nullable(UInt32) CODEC(T64, ZSTD(1)),
    packets_received Nullable(UInt32) CODEC(T64, ZSTD(1)),
    packets_lost Nullable(UInt32) CODEC(T64, ZSTD(1)),

    -- kind = 'session'
    state Enum8('' = 0, 'connecting' = 1, 'first_frame' = 2, 'ended' = 3),
    startup_ms Nullable(UInt32) CODEC(T64, ZSTD(1)),
    end_reason Enum8('' = 0, 'user_quit' = 1, 'network' = 2, 'host_failure' = 3, 'client_crash' = 4, 'timeout' = 5, 'unknown' = 6),

    -- kind = 'rejected': why, and its bytes (the first 64 KiB); kind = 'gap': 'expired' or 'control'
    reason LowCardinality(String),
    detail String CODEC(ZSTD(1)),
    kafka_key String CODEC(ZSTD(1)),
    bytes String CODEC(ZSTD(3)),
    bytes_total UInt32 CODEC(T64, ZSTD(1))
)
ENGINE = MergeTree
PARTITION BY toDate(ingested_at)
-- A bucket's settling and a session's timeline are ranges of this key. `t10` is a column because an expression here prunes nothing.
ORDER BY (t10, session_id, kind, at)
TTL toDateTime(ingested_at) + INTERVAL 30 DAY
SETTINGS index_granularity = 2048, ttl_only_drop_parts = 1,
    -- Kafka may delete what we said we have.
    fsync_after_insert = 1, fsync_part_directory = 1,
    -- A batch is one file of all columns, synced once, until it is merged: a fifth less CPU per inserted row.
    min_bytes_for_wide_part = 256000000,
    -- Merging costs as much as inserting, since batches interleave by session: ten parts at a time instead of five.
    min_parts_to_merge_at_once = 10;
