-- A question about one session read everybody's maps, since a granule of the order (t, session_id) holds each session twice. So a session's minutes
-- lie side by side, by ten minutes. Ten, and not sixty: the cube reads a minute of everybody, once a minute. The key has no `t` itself: only then does
-- ClickHouse hold a condition on t to toStartOfTenMinutes(t), and whoever reads by t needs to know nothing of this.
--
-- One statement, since it puts the copy in the place of the table at once or not at all: it can be repeated, and by two at a time.
CREATE OR REPLACE TABLE quality_per_minute_v1
(
    t DateTime('UTC') CODEC(Delta(4), ZSTD(1)),
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
    frame_time_buckets Map(UInt16, UInt64) CODEC(LZ4),
    late_frames UInt64 CODEC(T64, ZSTD(1)),
    stutters UInt64 CODEC(T64, ZSTD(1)),
    stutter_time_us UInt64 CODEC(T64, ZSTD(1)),
    freezes UInt64 CODEC(T64, ZSTD(1)),
    freeze_time_us UInt64 CODEC(T64, ZSTD(1)),
    frames_dropped UInt64 CODEC(T64, ZSTD(1)),
    frames_dropped_of UInt64 CODEC(T64, ZSTD(1)),
    frames_dropped_known UInt64 CODEC(T64, ZSTD(1)),
    frame_steps_sum_us UInt64 CODEC(T64, ZSTD(1)),
    frame_steps UInt64 CODEC(T64, ZSTD(1)),
    frames_generated UInt64 CODEC(T64, ZSTD(1)),
    frames_generated_of UInt64 CODEC(T64, ZSTD(1)),
    frames_generated_of_us UInt64 CODEC(T64, ZSTD(1)),
    stage_host_sum_us UInt64 CODEC(T64, ZSTD(1)),
    stage_host_frames UInt64 CODEC(T64, ZSTD(1)),
    stage_encode_sum_us UInt64 CODEC(T64, ZSTD(1)),
    stage_encode_frames UInt64 CODEC(T64, ZSTD(1)),
    stage_network_sum_us UInt64 CODEC(T64, ZSTD(1)),
    stage_network_frames UInt64 CODEC(T64, ZSTD(1)),
    stage_jitter_buffer_sum_us UInt64 CODEC(T64, ZSTD(1)),
    stage_jitter_buffer_frames UInt64 CODEC(T64, ZSTD(1)),
    stage_decode_sum_us UInt64 CODEC(T64, ZSTD(1)),
    stage_decode_frames UInt64 CODEC(T64, ZSTD(1)),
    stage_present_sum_us UInt64 CODEC(T64, ZSTD(1)),
    stage_present_frames UInt64 CODEC(T64, ZSTD(1)),
    input_latency_sum_us UInt64 CODEC(T64, ZSTD(1)),
    input_latency_frames UInt64 CODEC(T64, ZSTD(1)),
    intervals UInt64 CODEC(T64, ZSTD(1)),
    interval_ms UInt64 CODEC(T64, ZSTD(1)),
    received_bits UInt64 CODEC(T64, ZSTD(1)),
    bitrate_buckets Map(UInt16, UInt64) CODEC(LZ4),
    received_of_target_bits UInt64 CODEC(T64, ZSTD(1)),
    target_bits UInt64 CODEC(T64, ZSTD(1)),
    rtt_buckets Map(UInt16, UInt64) CODEC(LZ4),
    packets_received UInt64 CODEC(T64, ZSTD(1)),
    packets_lost UInt64 CODEC(T64, ZSTD(1)),
    available_intervals UInt64 CODEC(T64, ZSTD(1)),
    available_buckets Map(UInt16, UInt64) CODEC(LZ4),
    jitter_buckets Map(UInt16, UInt64) CODEC(LZ4),
    rung_switches UInt64 CODEC(T64, ZSTD(1)),
    rung_switches_of_ms UInt64 CODEC(T64, ZSTD(1)),
    rung_switches_known UInt64 CODEC(T64, ZSTD(1)),
    rung_time_ms Map(String, UInt64) CODEC(ZSTD(1)),
    rung_intervals Map(String, UInt64) CODEC(ZSTD(1)),
    rung_packets_lost Map(String, UInt64) CODEC(ZSTD(1)),
    rung_packets_received Map(String, UInt64) CODEC(ZSTD(1)),
    rung_frames Map(String, UInt64) CODEC(ZSTD(1)),
    rung_frame_time_us Map(String, UInt64) CODEC(ZSTD(1)),
    rung_stutter_time_us Map(String, UInt64) CODEC(ZSTD(1)),
    mos_cells UInt64 CODEC(T64, ZSTD(1)),
    mos_sum_millionths UInt64 CODEC(T64, ZSTD(1)),
    mos_hundredths Map(UInt16, UInt64) CODEC(ZSTD(1)),
    mos_outside_cells UInt64 CODEC(T64, ZSTD(1)),
    mos_outside_sum_millionths UInt64 CODEC(T64, ZSTD(1)),
    mos_outside_hundredths Map(UInt16, UInt64) CODEC(ZSTD(1)),
    mos_flags Map(String, UInt64) CODEC(ZSTD(1)),
    startup_ms Nullable(UInt32) CODEC(T64, ZSTD(1)),
    end_reason LowCardinality(String),
    startup_buckets Map(UInt16, UInt64) CODEC(ZSTD(1)),
    connects UInt64 CODEC(T64, ZSTD(1)),
    first_frames UInt64 CODEC(T64, ZSTD(1)),
    ends UInt64 CODEC(T64, ZSTD(1)),
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
    active_10s UInt64 CODEC(T64, ZSTD(1)),
    received UInt64 CODEC(T64, ZSTD(1)),
    late_events UInt64 CODEC(T64, ZSTD(1)),
    clock_shifted_events UInt64 CODEC(T64, ZSTD(1)),
    settled_at DateTime64(6, 'UTC') CODEC(Delta(8), ZSTD(1)),
    INDEX session_id_seen session_id TYPE bloom_filter(0.01) GRANULARITY 1
)
ENGINE = ReplacingMergeTree(settled_at)
PARTITION BY toYYYYMM(t)
ORDER BY (toStartOfTenMinutes(t), session_id, toMinute(t))
TTL t + INTERVAL 400 DAY
SETTINGS index_granularity = 512, ttl_only_drop_parts = 1
AS SELECT * FROM quality_per_minute_v1
SETTINGS max_partitions_per_insert_block = 1000;

-- What an ingester of before wrote meanwhile went with the old table: minutes settled since the newest that was copied are settled again.
-- A settling ends within a minute or is given up.
INSERT INTO settled_v1 (tier, t, rows, settled_at)
SELECT DISTINCT tier, t, 0, now64(6, 'UTC') FROM settled_v1
WHERE tier = 'minute' AND settled_at >= (SELECT max(settled_at) - INTERVAL 10 MINUTE FROM quality_per_minute_v1)
SETTINGS async_insert = 0, max_partitions_per_insert_block = 1000;
