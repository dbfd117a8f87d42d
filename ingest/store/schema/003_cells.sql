-- How was a session in these ten seconds? Settled from events_v1: a function of the set of its events, computed again whenever that grows.
CREATE TABLE IF NOT EXISTS quality_per_10s_v1
(
    t DateTime('UTC') CODEC(Delta, ZSTD(1)),
    session_id UUID,
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
    frames UInt64 CODEC(T64, ZSTD(1)),
    frame_time_sum_us UInt64 CODEC(T64, ZSTD(1)),
    frame_time_min_us Nullable(UInt32) CODEC(T64, ZSTD(1)),
    frame_time_max_us Nullable(UInt32) CODEC(T64, ZSTD(1)),
    frame_time_buckets Map(UInt16, UInt64) CODEC(ZSTD(1)),
    late_frames UInt64 CODEC(T64, ZSTD(1)),
    stutters UInt64 CODEC(T64, ZSTD(1)),
    stutter_time_us UInt64 CODEC(T64, ZSTD(1)),
    freezes UInt64 CODEC(T64, ZSTD(1)),
    freeze_time_us UInt64 CODEC(T64, ZSTD(1)),
    frames_dropped UInt64 CODEC(T64, ZSTD(1)),
    frames_dropped_of UInt64 CODEC(T64, ZSTD(1)),
    frames_dropped_known UInt64 CODEC(T64, ZSTD(1)),
    intervals UInt64 CODEC(T64, ZSTD(1)),
    interval_ms UInt64 CODEC(T64, ZSTD(1)),
    received_bits UInt64 CODEC(T64, ZSTD(1)),
    bitrate_buckets Map(UInt16, UInt64) CODEC(ZSTD(1)),
    received_of_target_bits UInt64 CODEC(T64, ZSTD(1)),
    target_bits UInt64 CODEC(T64, ZSTD(1)),
    rtt_buckets Map(UInt16, UInt64) CODEC(ZSTD(1)),
    packets_received UInt64 CODEC(T64, ZSTD(1)),
    packets_lost UInt64 CODEC(T64, ZSTD(1)),
    startup_ms Nullable(UInt32) CODEC(T64, ZSTD(1)),
    end_reason LowCardinality(String),
    events UInt64 CODEC(T64, ZSTD(1)),
    client_seq_min Nullable(UInt32) CODEC(T64, ZSTD(1)),
    client_seq_max Nullable(UInt32) CODEC(T64, ZSTD(1)),
    client_seqs UInt64 CODEC(T64, ZSTD(1)),
    host_seq_min Nullable(UInt32) CODEC(T64, ZSTD(1)),
    host_seq_max Nullable(UInt32) CODEC(T64, ZSTD(1)),
    host_seqs UInt64 CODEC(T64, ZSTD(1)),
    controller_seq_min Nullable(UInt32) CODEC(T64, ZSTD(1)),
    controller_seq_max Nullable(UInt32) CODEC(T64, ZSTD(1)),
    controller_seqs UInt64 CODEC(T64, ZSTD(1)),
    -- Taken before the reading began: of two settlers of one bucket the later reader wins.
    settled_at DateTime64(6, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX session_id_seen session_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(settled_at)
PARTITION BY toYYYYMMDD(t)
ORDER BY (t, session_id)
TTL t + INTERVAL 30 DAY
SETTINGS index_granularity = 2048, ttl_only_drop_parts = 1;

-- How was a session in this minute? Settled from quality_per_10s_v1.
CREATE TABLE IF NOT EXISTS quality_per_minute_v1 AS quality_per_10s_v1
ENGINE = ReplacingMergeTree(settled_at)
PARTITION BY toYYYYMM(t)
ORDER BY (t, session_id)
TTL t + INTERVAL 400 DAY
SETTINGS index_granularity = 2048, ttl_only_drop_parts = 1;

-- Which buckets are settled, and from how many rows of the tier below? Written last: a settling that died is done again.
-- For tier '10s' `rows` counts events_v1 (all kinds); for 'minute' it is the sum of the rows that its ten-second buckets were settled from.
CREATE TABLE IF NOT EXISTS settled_v1
(
    tier Enum8('10s' = 1, 'minute' = 2),
    t DateTime('UTC'),
    rows UInt64,
    settled_at DateTime64(6, 'UTC')
)
ENGINE = ReplacingMergeTree(settled_at)
PARTITION BY toYYYYMM(t)
ORDER BY (tier, t)
TTL t + INTERVAL 400 DAY
SETTINGS ttl_only_drop_parts = 1;
